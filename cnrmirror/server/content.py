"""What an answer carries: bytes, or a file that the server sends piece by piece, or a range of it.

A file is handed over as ``wsgi.file_wrapper``: the server sends it when the client takes it, and a
client that reads slowly keeps no thread waiting.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

import msgspec
import pybase64
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import wrap_file

from cnrmirror.model.resource import Base64Json

PIECE = 1 << 16


class Readable(Protocol):
    """What is needed of a file to send it."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most so many; it may be fewer."""

    def seek(self, position: int, /) -> int:
        """Go to a position, counted from the beginning."""

    def close(self) -> None:
        """Let it go."""


class Content(msgspec.Struct, frozen=True):
    """The body of an answer, how many bytes it has, and its tag."""

    body: bytes | Readable
    length: int
    tag: str

    def answer(
        self, request: Request, content_type: str, cache: str, filename: str | None = None
    ) -> Response:
        """What is sent: all of it, the range that is asked for, or that the client has it.

        Args:
            cache: the value of Cache-Control.
            filename: the value of Content-Disposition.

        Raises:
            HTTPException: there is no such range.
        """
        response = Response(mimetype=None, content_type=content_type)
        response.content_length = self.length
        response.set_etag(self.tag)
        response.headers["Cache-Control"] = cache
        if filename:
            response.headers["Content-Disposition"] = filename
        try:
            response.make_conditional(request, accept_ranges=True, complete_length=self.length)
        except HTTPException:
            self.close()
            raise
        start, stop = 0, self.length
        if response.status_code == 206:
            start, stop = response.content_range.start or 0, response.content_range.stop or stop
        self._fill(response, request, start, stop)
        return response

    def _fill(self, response: Response, request: Request, start: int, stop: int) -> None:
        if isinstance(self.body, bytes):
            response.response = [self.body[start:stop]]
        elif request.method == "HEAD" or response.status_code == 304:
            self.close()
            response.response = []
        else:
            part = Part(self.body, start, stop)
            response.response = wrap_file(request.environ, part, PIECE)  # type: ignore[arg-type]
            response.direct_passthrough = True

    def close(self) -> None:
        """Let the file go."""
        if not isinstance(self.body, bytes):
            self.body.close()


class Part:
    """A range of a file, as a file for ``wsgi.file_wrapper``; at most ``PIECE`` bytes a read."""

    def __init__(self, file: Readable, start: int, stop: int) -> None:
        self._file = file
        self._start = start
        self._size = stop - start
        self._at = 0
        file.seek(start)

    def read(self, size: int) -> bytes:
        """The next bytes. Raises OSError where the file ends before it should."""
        wanted = min(size, PIECE, self._size - self._at)
        data = self._file.read(wanted)
        if wanted and not data:
            # Else a server would wait for the rest for ever.
            raise OSError("the file became shorter while it was sent")
        self._at += len(data)
        return data

    def seekable(self) -> bool:
        """It can."""
        return True

    def tell(self) -> int:
        """The position in the range."""
        return self._at

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position in the range."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + position
        self._file.seek(self._start + self._at)
        return self._at

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


class Base64File:
    """A blob in its JSON form as a file: base64 is made of what is read, when it is read."""

    def __init__(self, form: Base64Json, blob: BinaryIO) -> None:
        self._form = form
        self._blob = blob
        self._at = 0

    def read(self, size: int) -> bytes:
        """The next bytes of the document."""
        head, tail = self._form.head, self._form.tail
        end = self._form.size - len(tail)
        if self._at < len(head):
            data = head[self._at : self._at + size]
        elif self._at < end:
            data = self._encoded(self._at - len(head), size)
        else:
            data = tail[self._at - end : self._at - end + size]
        self._at += len(data)
        return data

    def _encoded(self, start: int, size: int) -> bytes:
        """The base64 of the blob from a position on."""
        group, skip = divmod(start, 4)
        self._blob.seek(group * 3)
        text = pybase64.b64encode(self._blob.read((skip + size + 3) // 4 * 3))
        return text[skip : skip + size]

    def seek(self, position: int) -> int:
        """Go to a position in the document."""
        self._at = position
        return position

    def close(self) -> None:
        """Let the blob go."""
        self._blob.close()
