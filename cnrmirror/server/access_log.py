"""A line for each answer, in the Combined Log Format that web servers write."""

from __future__ import annotations

import logging
import logging.handlers
import re
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

_UNSAFE = re.compile(r'[^ -~]|["\\]')


class Entry(msgspec.Struct, frozen=True):
    """One answer: to whom, when (seconds since 1970), to which request, and how it was."""

    address: str
    at: float
    request: str
    status: str
    size: int | None
    referer: str
    agent: str


def combined(entry: Entry) -> str:
    r"""The line of an answer; what could be taken for another line or field becomes ``\xHH``.

    Example:
        >>> combined(Entry("::1", 0, "GET / HTTP/1.1", "200", 5, "", "curl"))
        '::1 - - [01/Jan/1970:00:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"'
    """
    at = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(entry.at))
    size = "-" if entry.size is None else entry.size
    request, referer, agent = map(_safe, (entry.request, entry.referer, entry.agent))
    address = _safe(entry.address)
    return f'{address} - - [{at}] "{request}" {entry.status} {size} "{referer}" "{agent}"'


def _safe(text: str) -> str:
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text) or "-"


class AccessLog:
    """Writes the lines to a file, which may be moved away meanwhile, or to standard error.

    Args:
        path: the file; None: standard error.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path | None) -> None:
        self._handler: logging.Handler = (
            logging.handlers.WatchedFileHandler(path, encoding="ascii")
            if path
            else logging.StreamHandler(sys.stderr)
        )
        self._handler.handleError = lambda record: None  # type: ignore[method-assign]

    def write(self, entry: Entry) -> None:
        """Add a line."""
        self._handler.handle(logging.makeLogRecord({"msg": combined(entry)}))

    def close(self) -> None:
        """Let the file go."""
        self._handler.close()


def entry_of(task: Any) -> Entry:
    """What is to be said of an answer of waitress."""
    request = task.request
    line = getattr(request, "first_line", b"-")
    return Entry(
        address=str(task.channel.addr[0]),
        at=task.start_time,
        request=line.decode("latin-1"),
        status=task.status.partition(" ")[0],
        size=task.content_length if task.has_body else None,
        referer=request.headers.get("REFERER", ""),
        agent=request.headers.get("USER_AGENT", ""),
    )
