"""A forwarder to whose epoll only every other channel can be added, as at the user's limit of watches.

Run as a module, in place of `bascule.forwarder`.
"""

import errno
import itertools
import os

from bascule.forwarder import main
from bascule.forwarder.hot import Engine

_TIMES = itertools.count()


class FewWatches(Engine):
    """Refuses to watch the first gateway's channel, the third's, and so on."""

    def watch(self, descriptor: int, target: object) -> None:
        """Watch it, if it is the control channel or an even one."""
        if next(_TIMES) % 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().watch(descriptor, target)


if __name__ == "__main__":
    vars(main)["Engine"] = FewWatches
    main.main()
