"""``python -m bench``: install the peers, run the scenarios, publish the figures.

python -m bench install
python -m bench run [--quick] [--only messages,idle] [--proxies bascule,nginx]
python -m bench run --publish     the whole run, into docs/; any run with --into FOLDER
python -m bench show [FILE]       the tables of a raw file again
python -m bench publish FILE      charts, tables and page from a raw file
python -m bench list              scenarios and proxies

What BENCH_ARGS holds in the environment is added to the options of ``run``, as in
BENCH_ARGS="--only idle" make bench-quick.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from bench import congestion, processors, publish, report, surroundings, targets
from bench.generators import build
from bench.install import install
from bench.peers import PEERS
from bench.places import RESULTS, WORK
from bench.progress import Progress
from bench.results import Results
from bench.scenarios import SCENARIOS
from bench.scenarios.base import Context
from bench.stands import Fleet


def words(text: str) -> list[str]:
    """A comma-separated list."""
    return [word for word in text.split(",") if word]


def chosen(kind: str, known: list[str], wanted: list[str]) -> list[str]:
    """The wanted names, all of them known."""
    for name in wanted:
        if name not in known:
            raise SystemExit(f"no {kind} is called {name!r}; there are: {', '.join(known)}")
    return [name for name in known if not wanted or name in wanted]


def run(options: argparse.Namespace) -> int:
    """Measure under a steady congestion control, before other programs."""
    if options.publish:
        publish.demand_whole(extent(options), options.into)  # ten minutes before it would be too late
    with congestion.steady() as name, processors.ahead():
        return measure(options, name)


def extent(options: argparse.Namespace) -> dict[str, Any]:
    """How much of the suite is run."""
    size = "smoke" if options.smoke else "quick" if options.quick else "full"
    return {"size": size, "only": options.only, "proxies": options.proxies}


def measure(options: argparse.Namespace, congestion_control: str) -> int:
    """Measure; print the tables, keep the raw file, publish when asked to."""
    scenario_names = chosen("scenario", [s.name for s in SCENARIOS], options.only)
    scenarios = [s for s in SCENARIOS if s.name in scenario_names]
    peer_names = chosen("proxy", [p.name for p in PEERS], options.proxies)
    results = Results()
    peers = []
    for peer in PEERS:
        if peer.name in peer_names:
            reason = peer.missing()
            if reason:
                results.absent[peer.name] = reason
                print(f"absent: {peer.name}: {reason}", file=sys.stderr)
            else:
                peers.append(peer)
    if not peers:
        raise SystemExit("none of the proxies is installed: python -m bench install")
    for name in ("echo", "load", "relay"):
        build(name)
    results.about = surroundings.describe(options.given, peers)
    results.about |= extent(options)
    shutil.rmtree(WORK, ignore_errors=True)
    busy = results.about["load_average_before"]
    if busy > 0.5:
        results.note(
            f"the computer was busy before this run (load {busy}): CPU figures stand that, latencies do not"
        )
    if congestion_control != congestion.WANTED:
        results.note(
            f"congestion control is {congestion_control}, and only root may change it: figures of large "
            "messages differ from run to run"
        )
    fleet = Fleet(peers, results)
    progress = Progress(1)
    context = Context(fleet, results, progress, options.quick, options.smoke)
    progress.total = sum(scenario.steps(context) for scenario in scenarios)
    try:
        for scenario in scenarios:
            results.titles[scenario.name] = scenario.title
            progress.show(scenario.title)
            scenario.run(context)
    finally:
        fleet.stop()
        progress.close()
    results.about["took_seconds"] = round(
        (datetime.datetime.now(datetime.UTC) - _when(results)).total_seconds()
    )
    print(report.terminal(results))
    print(targets.terminal(results))
    RESULTS.mkdir(parents=True, exist_ok=True)
    raw = RESULTS / f"{_when(results):%Y%m%d-%H%M%S}-{results.about['size']}.json"
    results.save(raw)
    shutil.copyfile(raw, RESULTS / "last.json")
    print(f"\nraw figures: {raw}")
    if options.publish:
        print(f"published: {publish.publish(results, options.into)}")
    return 0


def _when(results: Results) -> datetime.datetime:
    return datetime.datetime.fromisoformat(results.about["when"])


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Bascule's benchmark suite.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="fetch the peers")
    commands.add_parser("list", help="scenarios and proxies")
    measure = commands.add_parser("run", help="measure")
    measure.add_argument("--quick", action="store_true", help="about two minutes instead of ten")
    measure.add_argument(
        "--smoke", action="store_true", help="seconds: does everything work? The figures mean nothing"
    )
    measure.add_argument("--only", type=words, default=[], metavar="SCENARIO[,…]")
    measure.add_argument("--proxies", type=words, default=[], metavar="NAME[,…]")
    measure.add_argument(
        "--publish",
        action="store_true",
        help="rewrite what docs/ shows of the last run: a whole run only",
    )
    for name, text in (
        ("show", "tables of a raw file"),
        ("publish", "charts, tables and page from a raw file"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("file", nargs="?", type=Path, default=RESULTS / "last.json")
    for command in (measure, commands.choices["publish"]):
        command.add_argument(
            "--into",
            type=Path,
            metavar="FOLDER",
            help="publish there and leave docs/ alone: any run may",
        )
    given = sys.argv[1:]
    if given[:1] == ["run"]:
        given += shlex.split(os.environ.get("BENCH_ARGS", ""))
    options = parser.parse_args(given, argparse.Namespace(given=given))
    if options.command == "run" and options.into and not options.publish:
        parser.error("--into FOLDER says where to --publish")
    signal.signal(signal.SIGTERM, _terminate)
    if options.command == "install":
        return install()
    if options.command == "list":
        for scenario in SCENARIOS:
            print(f"{scenario.name:12} {scenario.title}")
        print()
        for peer in PEERS:
            reason = peer.missing()
            print(f"{peer.name:16} {'absent: ' + reason if reason else peer.about}")
        return 0
    if options.command == "run":
        return run(options)
    results = Results.load(options.file)
    if options.command == "show":
        print(report.terminal(results))
        print(targets.terminal(results))
    else:
        print(f"published: {publish.publish(results, options.into)}")
    return 0


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(143)  # so that the proxies are stopped on the way out


if __name__ == "__main__":
    sys.exit(main())
