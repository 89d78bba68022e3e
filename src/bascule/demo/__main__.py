"""``python -m bascule.demo``: the demo, also with real tools from virtual environments that have them."""

import argparse
import os
import sys
from pathlib import Path

from bascule.demo.main import run
from bascule.demo.tools import Tools
from bascule.errors import ConfigError
from bascule.policy.loading import load


def main() -> int:
    """Run the demo; exit status 2 when the configuration cannot be used."""
    parser = argparse.ArgumentParser(prog="bascule demo", description=__doc__)
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the page is (127.0.0.1:8080)")
    parser.add_argument("--jupyter", type=Path, metavar="VENV", help="virtual environment with JupyterLab")
    parser.add_argument("--streamlit", type=Path, metavar="VENV", help="virtual environment with Streamlit")
    arguments = parser.parse_args()
    if (arguments.jupyter is None) != (arguments.streamlit is None):
        parser.error("--jupyter and --streamlit go together")
    tools = Tools(arguments.jupyter.absolute(), arguments.streamlit.absolute()) if arguments.jupyter else None
    try:
        return run(load((), os.environ, {"listen": arguments.listen} if arguments.listen else {}), tools)
    except (ConfigError, TimeoutError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is the command
        return 2


if __name__ == "__main__":
    sys.exit(main())
