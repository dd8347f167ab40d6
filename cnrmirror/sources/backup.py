"""The JSON dump of a cnr-server or appr (``backup``): packages with their archives, channels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnrmirror.documents import Channel
from cnrmirror.errors import InputError, InvalidDocument, TooLarge
from cnrmirror.interfaces import Hole, Listing, Offer, Progress
from cnrmirror.sources.manifests import channel, decode_blob, offer

MAX_BYTES = 4 << 30


class BackupSource:
    """A dump in a file. It is one JSON document, so all of it is held while it is read."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._blobs: dict[str, str] = {}

    def look(self, progress: Progress) -> Listing:
        """See ``interfaces.Source``."""
        document = self._read()
        found: list[Offer] = []
        holes: list[Hole] = []
        members: dict[tuple[str, str], list[str]] = {}
        for number, entry in enumerate(document["packages"]):
            where = f"entry {number}"
            try:
                if not isinstance(entry, dict) or not isinstance(entry.get("blob"), str):
                    raise InvalidDocument(f"{where}: no package with a blob")
                where = f"{entry.get('package')}@{entry.get('release')}"
                one = offer(entry, str(entry.get("package")), str(number))
                self._blobs[str(number)] = entry["blob"]
                found.append(one)
                for name in entry.get("channels") or []:
                    members.setdefault((one.package, str(name)), []).append(one.release)
            except InputError as error:
                holes.append(Hole(where, error.message))
        channels: dict[str, list[Channel]] = {}
        for value in document["channels"]:
            try:
                package, name, current = (value[k] for k in ("package", "name", "current"))
                known = {o.release for o in found if o.package == package}
                listed = value.get("releases") or members.get((package, name), [])
                channels.setdefault(package, []).append(channel(name, current, listed, known))
            except (KeyError, TypeError, AttributeError):
                holes.append(Hole(f"channel {value!r:.80}", "package, name and current expected"))
            except InputError as error:
                holes.append(Hole(f"{package}:{name}", error.message))
        return Listing(found, channels, holes, [])

    def _read(self) -> dict[str, Any]:
        try:
            if self._path.stat().st_size > MAX_BYTES:
                raise TooLarge(f"{self._path}: larger than {MAX_BYTES} bytes")
            document = json.loads(self._path.read_bytes())
            if not all(isinstance(document[k], list) for k in ("packages", "channels")):
                raise TypeError("packages and channels must be lists")
        except OSError as error:
            raise InputError(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InvalidDocument(f"{self._path}: not a registry's backup: {error}") from error
        result: dict[str, Any] = document
        return result

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``interfaces.Source``."""
        yield decode_blob(self._blobs[offer.place], f"{offer.package}@{offer.release}")
