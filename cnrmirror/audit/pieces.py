"""What was read, held against what it must be, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import Tampered
from cnrmirror.model.resource import Base64Json

Content = bytes | Descriptor | Base64Json
"""What a file must hold: bytes, a blob, or its base64 form."""


def blob_of(body: Descriptor | Base64Json) -> Descriptor:
    """The blob of which a file is made."""
    return body.blob if isinstance(body, Base64Json) else body


def equal(pieces: Iterator[bytes], expected: Joined, path: str) -> None:
    """Raises Tampered, and what the pieces raise."""
    for piece in pieces:
        if piece != expected.read(len(piece)):
            raise Tampered(f"{path}: not what the catalog says")
    if expected.read(1):
        raise Tampered(f"{path}: shorter than the catalog says")


class Joined:
    """Pieces of bytes as one stream to compare with."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        result, self._rest = self._rest[:size], self._rest[size:]
        return result


@contextmanager
def content(body: Content, copies: Mapping[str, Path]) -> Iterator[Joined]:
    """What a file must hold, out of the copies of blobs."""
    if isinstance(body, bytes):
        yield Joined(iter([body]))
        return
    with copies[blob_of(body).digest].open("rb") as stream:
        pieces = iter(lambda: stream.read(1 << 16), b"")
        yield Joined(body.chunks(stream) if isinstance(body, Base64Json) else pieces)
