"""Each request that is made, told as it is answered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_REQUEST = '%s://%s:%s "%s %s %s" %s %s'
"""What urllib3 logs of an answer: scheme, host, port, method, path, protocol, status, length."""


class _Teller(logging.Handler):
    """Tells requests of urllib3, of which requests and boto3 are made, without their secrets."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._began = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``: nothing is told but methods, addresses and answers."""
        if record.msg != _REQUEST or not isinstance(record.args, tuple):
            return
        scheme, host, port, method, path, _, status, length = record.args
        # A query may hold a signature or token.
        address = f"{scheme}://{host}:{port}{str(path).partition('?')[0]}"
        size = "" if length is None else f", {length} bytes"
        seconds = time.monotonic() - self._began
        self._tell(f"{seconds:8.3f} s  {method} {address}: {status}{size}")


def tell_requests(tell: Callable[[str], None]) -> None:
    """Tell every request from now on, in one line; calling it again changes nothing.

    Requests to Google and Azure are not among them: obstore tells nothing of them.
    """
    logger = logging.getLogger("urllib3.connectionpool")
    if not any(isinstance(handler, _Teller) for handler in logger.handlers):
        logger.addHandler(_Teller(tell))
        logger.setLevel(logging.DEBUG)
