"""Do a whole proxy violence in every way there is, and say whether every invariant held.

Some dozens of sessions and requests come and go through ``bascule serve`` and check every byte, while its
processes are killed and stopped, and its configuration and its upstreams change. All choices come from the
seed; what the machine does beside them does not, so a seed may find a fault only now and then. Configuration,
log and deeds of a run that found something stay. Exit status 1 if it did.

Usage: python -m tests.chaos [--variant plain|tls|hub|unix] [--seed N] [--minutes M]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.run import Run
from tests.chaos.scene import VARIANTS

SHOWN = 40


def main() -> int:
    """Run as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--variant", choices=VARIANTS, default="plain")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--minutes", type=float, default=5.0)
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of writes that come too late
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the proxy ends, too
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup: the proxy would not reload either
        signal.signal(signal.SIGHUP, lambda *_: None)
    print(f"chaos: variant {arguments.variant}, seed {arguments.seed}", flush=True)
    home = Path(tempfile.mkdtemp(prefix="bascule-chaos-"))
    run = Run(arguments.variant, arguments.seed, arguments.minutes * 60, home)
    wrongs = asyncio.run(run.run())
    print(run.summary)
    for wrong, times in [*Counter(wrongs).items()][:SHOWN]:
        print(f"WRONG {wrong}" + (f" ({times} times)" if times > 1 else ""))
    if wrongs:
        print(f"chaos: {len(wrongs)} times an invariant did not hold; seed {arguments.seed}; see {home}")
        return 1
    shutil.rmtree(home)
    print(f"chaos: every invariant held; seed {arguments.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
