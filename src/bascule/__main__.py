"""``bascule``, and ``python -m bascule``: what concerns the whole process, then the command line.

Rules of this file: what is done here cannot wait until the command line is imported.
"""

from bascule import standard
from bascule.supervisor import early

__all__ = ["main"]


def main() -> None:
    """Run the command of this process."""
    standard.open_closed()
    early.catch()
    try:
        from bascule.cli import main as run

        run()
    except early.Stopped as stopped:
        stopped.end()


if __name__ == "__main__":
    main()
