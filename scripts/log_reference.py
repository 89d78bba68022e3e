"""The page `docs/reference/log.md`: every line that our processes write, read from the calls that do."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EVENTS", "MORE", "Written", "outputs", "written"]

_ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = _ROOT / "docs/reference/log.md"
_SOURCE: Final = _ROOT / "src/bascule"
_LEVELS: Final = ("debug", "info", "warning", "error")

_WHOSE: Final = ("route", "kind", "client", "upstream", "user", "request_id")

MORE: Final[dict[str, tuple[str, ...]]] = {
    "session ended": (
        "id", *_WHOSE, "ended_by", "cause", "duration_seconds", "bytes_inbound", "bytes_outbound",
        "frames_inbound", "frames_outbound", "close_code", "close_reason", "forwarder",
    ),
    "session refused": ("reason", *_WHOSE, "status", "close_code", "held_seconds", "detail"),
    "request failed": (*_WHOSE, "status"),
    "request answered": _WHOSE,
    "request refused": ("client", "request_id"),
    "drain ends": ("natural", "closed", "aborted"),
    "a process died": ("sessions",),
    "listening": ("open", "redirect", "status_page"),
}  # fmt: skip
"""Fields that the call of an event does not spell out."""

_ADDED: Final = ("route added", "route removed")

EVENTS: Final[dict[str, dict[str, str]]] = {
    "Sessions and requests": {
        "session ended": "A session that was admitted is over: [who ended it and why](close-table.md), how long it "
        "lasted, how much it carried. What nobody knows is missing. After a gateway's death a few may come twice, "
        "with the same `id`; they are counted once.",
        "session refused": "An upgrade became no session: `reason` is that of "
        "[`bascule_refusals_total`](metrics.md#labels), or `cap` or `unreachable`.",
        "request failed": "An upstream failed a plain HTTP request: `reason` is `unreachable`, `timeout`, `bad_answer` or "
        "`broken_off`; or `no_room`, and it is this host that had no descriptor, memory or port left.",
        "request answered": "Any other plain HTTP request: the upstream's answer has passed whole. Path and query are not "
        "told.",
        "request refused": "We answered a plain HTTP request ourselves, since it led nowhere. Scanners cause many of them.",
        "a connection without a PROXY header": "A load balancer listed in "
        "[`proxyProtocolFrom`](configuration.md#proxyprotocolfrom) put no valid header in front of a connection, which was "
        "closed. At most once a minute.",
        "a certificate is not accepted": "A TLS handshake with `client` failed: over its certificate, since it showed none "
        "([`tls.clientCa`](configuration.md#tlsclientca), [`adminTls.clientCa`](configuration.md#admintlsclientca)), or "
        "over ours. At most once a minute for each `problem`; `times` counts all.",
        "accepting pauses": "No descriptor, no memory or no epoll watch is left for another connection. At most once a minute; `pauses` "
        "counts all.",
    },
    "Start, stop and drain": {
        "listening": "It serves. `public` and `admin` are the addresses; `open` and `status_page` are what a browser on this host can open, the first with the path of the first route unless `/` is served; they are missing for a Unix socket.",
        "a setting is doubtful": "It is allowed, but nearly always a mistake; `problem` says why. `bascule check` says so too.",
        "certificates of upstreams are not checked": "`key` has switched the check off. That protects no better than plain "
        "HTTP: anybody on the way can read and change everything.",
        "waiting for an address that is in use": "Another process has the address of `field`: an earlier proxy that is "
        "still stopping, as a rule.",
        "the open-file limit is too low for maxSessionsPerApp": "Sessions beyond what fits will be refused as `no_room`.",
        "stopping": "A signal ends the proxy.",
        "drain begins": "From now on no session is admitted, and those that are open are told to reconnect.",
        "drain.timeout is too short for drain.rate": "So these `sessions`, the rest, are told faster than at that rate.",
        "drain ends": "`left` sessions are cut off; the others ended by themselves (`natural`) or were told to (`closed`).",
        "waiting for a last scrape": "The drain is over; each of the `readers`, such as Prometheus, may read `/metrics` once more: see "
        "[`drain.lastScrape`](configuration.md#drainlastscrape).",
        "no last scrape": "These `readers` did not come in time, so they do not know what has ended since their last one.",
        "second signal: stopping at once": "Open sessions are cut, and have no line of their own.",
        "signal ignored": "Somebody sent `signal`, which means nothing to the proxy.",
        "stopped": "All processes have ended. This is the last line.",
        "configuration cannot be used": "The proxy does not start, or keeps its former configuration; `problem` names the key.",
    },
    "Reload": {
        "a configuration file has changed": "With `reloadOnChange`. A reload begins.",
        "a file was renewed": "A certificate, a key or a token. A reload begins.",
        "configuration reloaded": "A new gateway serves. `former` is the process that still finishes what it had begun.",
        "configuration not reloaded": "The former configuration stays in force. Each `problem` has a line.",
        "a former gateway has left": "After a reload: it has finished everything it had begun, or its time was up.",
        "a former gateway's time is up": "With `formerGatewayTimeout`. It has worked on for so many seconds since a reload, and cuts what it still "
        "has: downloads, and sessions over TLS.",
        "a forwarder that starts will take no session": "At a reload: somebody has lowered the supervisor's open-file "
        "limit. Those that run go on.",
        "the listening sockets keep their old options": "At a reload: the kernel did not take the new ones.",
        "not told of the intervals": "At a reload: a forwarder could not be told the new heartbeat interval and idle time, since its channel is full. "
        "It is tried again.",
        "sessions taken over": "A gateway starts, and goes on counting the sessions that the forwarders have kept.",
    },
    "Processes": {
        "started": "A process was started; it is not ready yet.",
        "a process is back": "It was started again, and is ready.",
        "a process died": "`status` is its exit status, or the signal that ended it. It is started again; `sessions` were lost with it.",
        "a process hangs": "It has stood still for `watchdog` seconds. It is made to print where, and killed.",
        "a process printed": "What it wrote that is no line of the log: as a rule its `stack`, because it has crashed or hangs. To report.",
        "a process could not be started": "It is tried again in `retry_in` seconds. At the start the proxy ends with status 1 "
        "instead.",
        "log lines lost": "So many `lines` of this process, since its last one, could not be written: nobody read standard error, or "
        "its disk was full.",
        "forwarder lost": "Its sessions are over; a line `session ended` follows for each.",
        "serving without some forwarders": "A gateway has started, and `unheard` of its `of` forwarders have not yet said which sessions "
        "they carry. Until they do, the count is too low.",
        "forwarders did not list their sessions in time": "The session list, or a drain, leaves out the sessions of these `slots`.",
        "channel failed": "Gateway and forwarder: one could not read what the other said. No session ends, and they get "
        "another channel. To report.",
        "sessions lost on their way to a forwarder": "It could not read what it was given: see `channel failed`. "
        "A line `session ended` follows for each.",
        "no channel": "A forwarder cannot be reached by the gateway. It is tried again.",
        "no descriptors left for a forwarder's channel": "The open-file limit is too low.",
        "no descriptors left for the gateway's channel": "The open-file limit is too low.",
    },
    "JupyterHub": {
        "route added": "By JupyterHub, or `by` another instance that it has told.",
        "route removed": "By JupyterHub or `by` another instance. Its sessions go on.",
        "JupyterHub's routes taken over": "A gateway starts with the routes of the one before.",
        "a route was not taken over": "The configuration has changed, and no longer allows it.",
        "routes taken over from a peer": "JupyterHub had told these `changes` to another instance only.",
        "a peer does not share its routes": "See [the runbook](../runbooks/hub-routes-not-shared.md). Once, until it does "
        "again.",
        "a peer shares its routes again": "It answers again, and the routes are the same.",
        "a peer's route cannot be had here": "The configuration here does not allow it, and that of the other instance does.",
        "no memory to rewrite the routes": "They are kept, and take more memory than they need.",
    },
    "Faults of ours": {
        "an admin call failed": "To report, with its `stack`.",
        "a plain HTTP request failed: …": "To report, with its traceback.",
        "a request from … cannot be parsed: …": "It was answered with an error.",
        "an unwanted body breaks off: …": "The request had been answered before its body had come, and then the client stopped sending.",
        "status snapshot failed": "The status page shows old figures. To report.",
        "internal error": "A fault of ours or of a library. What was going on has failed: a request, a reload or a whole process. "
        "To report.",
        "a connection was cut before its TLS had ended": "An upstream did not end TLS properly after a plain request, as many do not. No fault.",
        "unknown control message": "To report.",
        "a control message cannot be read": "All goes on. To report.",
        "task failed": "To report, with its traceback.",
    },
}
"""What each event means, by what it belongs to."""


class Written(NamedTuple):
    """What one call writes.

    Attributes:
        event: Its text, with an ellipsis for what varies.
        level: Of the call.
        fields: Those it names.
    """

    event: str
    level: str
    fields: tuple[str, ...]


def written() -> Iterator[Written]:
    """Read all calls from the source."""
    for path in sorted(_SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (level := _level(node.func)) is not None and node.args:
                for event in _events(node.args[0]):
                    yield Written(event, level, tuple(word.arg for word in node.keywords if word.arg))


def _level(function: ast.expr) -> str | None:
    """Return the level of a call to a logger, which is called `_log` everywhere."""
    if not isinstance(function, ast.Attribute):
        return None
    whose = function.value
    name = whose.id if isinstance(whose, ast.Name) else whose.attr if isinstance(whose, ast.Attribute) else ""
    level = "error" if function.attr == "exception" else function.attr
    return level if name == "_log" and level in _LEVELS else None


def _events(text: ast.expr) -> tuple[str, ...]:
    if isinstance(text, ast.Constant):
        return (str(text.value).replace("%s", "…"),)
    return _ADDED  # the one text that is chosen between two


def page() -> str:
    """Return the page's text.

    Raises:
        ValueError: An event has no meaning here, or a meaning no event.
    """
    levels: dict[str, set[str]] = {}
    fields: dict[str, dict[str, None]] = {}
    for event, level, names in written():
        levels.setdefault(event, set()).add(level)
        fields.setdefault(event, {}).update(dict.fromkeys(names))
    known = [event for events in EVENTS.values() for event in events]
    if unknown := set(levels) ^ set(known):
        raise ValueError(f"scripts/log_reference.py and the source differ in {sorted(unknown)}")
    parts = [_HEAD]
    for title, events in EVENTS.items():
        parts.append(f"\n## {title}\n\n| event | level | fields | means |\n|---|---|---|---|\n")
        for event, meaning in events.items():
            every = dict.fromkeys((*MORE.get(event, ()), *fields[event]))
            told = ", ".join(f"`{name}`" for name in every if name != "exc_info")
            level = ", ".join(sorted(levels[event], key=_LEVELS.index))
            parts.append(f"| `{event}` | {level} | {told} | {meaning} |\n")
    return "".join(parts)


def outputs() -> dict[Path, str]:
    """Return the files and what they should hold."""
    return {PAGE: page()}


_HEAD: Final = """\
# Log lines

<!-- Generated by scripts/log_reference.py from the calls in src/bascule. Do not edit. -->

Every event is one line on standard error: JSON, or a form for people where standard error is a terminal (`log.format`). Each line begins with
`time` (ISO 8601, UTC), `level`, `process` (`supervisor` or `gateway`; a forwarder has no log) and `event`; further fields follow. A field without
a value is left out. The words below, and the names of the fields of *Sessions and requests*, change only with a major version.

No reader of the log can hold up the proxy. If nobody reads any more, one line waits for a second, and those after it are dropped at once until
somebody reads again. A reader that is only slow is waited for, but for no more than a tenth of the time. Dropped lines are counted in
`log lines lost`.

`request_id` is what the ingress calls the request, with which its own log names it too: the last `X-Request-ID`, or else the trace of
`traceparent`, of a proxy in [`trustedProxies`](configuration.md#trustedproxies).

A line never holds a cookie, a token, a query string or what was in a frame, and control characters in what peers say are escaped.
What libraries log comes in the same form, at level `warning` and above. *To report* means that the line shows a fault of ours.

Who was turned away, in Loki's language:

```logql
{app="bascule"} | json | event="session refused" | reason="cap" | line_format "{{.time}} {{.client}} {{.user}}"
```
"""
