"""``python -m bascule.demo``: what ``bascule demo`` runs, for where the command is not installed."""

import argparse
import os
import sys

from bascule.demo.main import run
from bascule.demo.tools import Tools
from bascule.errors import ConfigError
from bascule.policy.loading import load


def main() -> int:
    """Run the demo; exit status 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="bascule demo", description=__doc__)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the page is (127.0.0.1:8080)")
    parser.add_argument("--jupyter", action="store_true", help="with a real JupyterLab and Streamlit")
    arguments = parser.parse_args()
    try:
        loaded = load((), os.environ, {"listen": arguments.listen} if arguments.listen else {})
        return run(loaded, Tools.find() if arguments.jupyter else None)
    except (ConfigError, TimeoutError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is the command
        return 2


if __name__ == "__main__":
    sys.exit(main())
