"""gzip, inflated in pieces that are bounded, whatever it unpacks to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import cast

from isal import isal_zlib

from cnrmirror.model.digest import CHUNK

# isal's stubs call its error class an instance.
BROKEN = (cast(type[Exception], isal_zlib.error), zlib.error, EOFError)
"""What it raises if the bytes are no gzip."""


class Gunzip:
    """Inflates one gzip stream. Every method raises one of ``BROKEN`` if it is none."""

    def __init__(self) -> None:
        self._inflater = isal_zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""
        return self._inflater.eof

    @property
    def unused(self) -> bytes:
        """What came behind the end of the stream."""
        return self._inflater.unused_data

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        """What the next bytes inflate to, in pieces of at most ``CHUNK`` bytes."""
        inflater = self._inflater
        yield inflater.decompress(packed, max_length=CHUNK)
        while inflater.unconsumed_tail and not inflater.eof:
            yield inflater.decompress(inflater.unconsumed_tail, max_length=CHUNK)

    def rest(self) -> Iterator[bytes]:
        """What still waits inside, once all bytes are given: it may be more than one piece."""
        while not self._inflater.eof and (data := self._inflater.decompress(b"", max_length=CHUNK)):
            yield data
