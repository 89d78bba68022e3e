"""Request targets and the route table."""

from __future__ import annotations

from bascule.configuration.config import RouteConfig
from bascule.policy.routes import BadTarget, RouteTable
from fuzz.running import run

_TABLE = RouteTable(
    [
        RouteConfig(name="root", path="/", upstream="http://127.0.0.1:1"),
        RouteConfig(name="lab", path="/lab/", upstream="http://127.0.0.1:2"),
        RouteConfig(name="app", path="/apps/{app}/", upstream="http://{app}.example:80", strip_prefix=True,
                    where={"app": "[a-z0-9-]+"}),
    ]
)  # fmt: skip


def check(data: bytes) -> None:
    """A target is routed or refused; what goes on is a piece of what came."""
    try:
        match = _TABLE.match(data)
    except BadTarget:
        return
    if match is None:
        return
    target = match.target
    assert target in data or (target[:1] == b"/" and target[1:] in data)
    assert b".." not in target.partition(b"?")[0].split(b"/")
    if match.route.name == "lab":
        assert (target.startswith(b"/") and b"lab" in target.lower()) or b"%" in target


if __name__ == "__main__":
    run(check)
