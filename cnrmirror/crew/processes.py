"""Worker processes of this machine."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from cnrmirror.model.later import later

if TYPE_CHECKING:
    import multiprocessing
    from concurrent.futures import process
else:
    multiprocessing = later("multiprocessing")
    process = later("concurrent.futures.process")

# Paths of sockets have 103 bytes on macOS, 107 on Linux; Python's own names take up to 40.
_SOCKET_FOLDER = 60


def processes(count: int = 0) -> process.ProcessPoolExecutor:
    """So many worker processes; 0: as many as there are cores.

    They are forked, which is quickest; where threads run here (a terminal's progress bar, a
    server) they start clean instead, because a lock that a thread holds would stay locked.
    obstore has threads of its own: in a fork, it waits for ever. If this process is killed, they
    end, too.
    """
    if threading.active_count() == 1 and "obstore" not in sys.modules:
        method = "fork"
    else:
        # A server that forks listens at a socket among temporary files: its path has a limit.
        short = len(os.fsencode(tempfile.gettempdir())) <= _SOCKET_FOLDER
        method = "forkserver" if short else "spawn"
    context = multiprocessing.get_context(method)
    count = count or len(os.sched_getaffinity(0))
    return process.ProcessPoolExecutor(count, context, _end_with_parent)


def _end_with_parent() -> None:
    """In a worker: end when the process that began it does.

    Python's would wait for work for ever, and one that was forked has the locks of files that the
    killed process had: nobody else would get them.
    """
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
