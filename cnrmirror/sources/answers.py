"""Answers of a registry, kept between two runs: only what changed is sent again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.model.canonical import parse_json
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.objects.base import CachedAnswer, WebReader


def refuse_page(data: bytes, url: str, expected: str) -> None:
    """Refuse what hosts show to people in the place of an answer. Raises InvalidDocument."""
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
        raise InvalidDocument(
            f"{url}: this is an HTML page, not {expected}: is the address right, and does it want "
            "a login?"
        )


class Answers:
    """JSON by address.

    Args:
        http: asks.
        folder: where answers are kept that can be asked about again (they have an ETag, or a
            time); None to keep none.
    """

    def __init__(self, http: WebReader, folder: Path | None) -> None:
        self._http = http
        self._folder = folder
        self._used: set[str] = set()

    def json(self, url: str, max_bytes: int) -> Any:
        """The document at an address. Raises as ``Source.look`` does."""
        name = hashlib.sha256(url.encode()).hexdigest()
        before = self._read(name, max_bytes)
        answer = self._http.document(url, max_bytes, before)
        refuse_page(answer.body, url, "JSON")
        value = parse_json(answer.body, url, max_bytes)
        if self._folder is not None and answer.conditions:
            self._used.add(name)
            if answer is not before:
                self._folder.mkdir(parents=True, exist_ok=True)
                temporary = self._folder / f"{name}.new"
                temporary.write_bytes(msgspec.msgpack.encode(answer))
                temporary.replace(self._folder / name)
        return value

    def _read(self, name: str, max_bytes: int) -> CachedAnswer | None:
        if self._folder is None:
            return None
        try:
            with open(self._folder / name, "rb") as stream:
                data = stream.read(max_bytes + 4096)
            return msgspec.msgpack.decode(data, type=CachedAnswer)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def forget_others(self) -> None:
        """Remove what was not asked for this time."""
        if self._folder is not None and self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in self._used:
                    path.unlink(missing_ok=True)
