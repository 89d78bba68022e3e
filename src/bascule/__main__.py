"""The entry point of ``bascule`` and ``python -m bascule``: it prepares the process, then runs the command.

Rules of this file: it does only what cannot wait until the command line is imported.
"""

import signal

from bascule import stdio
from bascule.supervisor import early

__all__ = ["main"]


def main() -> None:
    """Run the command of this process."""
    stdio.open_closed()
    early.catch()
    try:
        # The import system has callbacks in which what a signal raises is printed and lost.
        with early.held():
            from bascule.cli import main as run

        run()
    except early.Stopped as stopped:
        stopped.end()
    except KeyboardInterrupt:  # while modules are loaded: a command that runs has its own answer to it
        early.Stopped(signal.SIGINT).end()


if __name__ == "__main__":
    main()
