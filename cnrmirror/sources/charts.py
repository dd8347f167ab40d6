"""Package archives and folders on this machine: find them and tell what they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cnrmirror.archive.identify import Override, find, identify, telling_of_folder
from cnrmirror.archive.inspect import ArchiveReader
from cnrmirror.archive.pack import pack
from cnrmirror.archive.scan import Limits
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.names import Vendor, manifest_type
from cnrmirror.model.progress import stage
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, SourceRules, bad_namespace


class ChartsSource:
    """A folder of archives and package folders, as ``push`` takes them.

    Args:
        name: what mirror.yaml calls it.
        folder: where they are.
        namespace: where packages go that do not tell theirs.
        vendor: whose media types the manifests get.
        limits: of one package.
    """

    def __init__(
        self, name: str, folder: Path, namespace: str, vendor: Vendor, limits: Limits
    ) -> None:
        self.name = name
        self._folder = folder
        self._wish = Override(namespace=namespace)
        self._vendor: Vendor = vendor
        self._limits = limits

    def look(self, ask: Ask) -> Listing:
        """See ``Source``: every archive is looked into."""
        paths = list(find(self._folder))
        found: list[Offer] = []
        holes: list[Hole] = []
        with stage(ask.progress, f"Reading {self.name}", len(paths)) as step:
            for path in paths:
                shown = os.fsencode(path).decode(errors="backslashreplace")
                try:
                    found.append(self._offer(path))
                except OSError as error:
                    holes.append(Hole(shown, error.strerror or str(error)))
                except CnrMirrorError as error:
                    holes.append(Hole(shown, error.message))
                step.advance()
        return Listing(found, {}, holes, [])

    def _offer(self, path: Path) -> Offer:
        reader = ArchiveReader(self._limits)
        for piece in self._pieces(path):
            reader.feed(piece)
        info = reader.close()
        identity = identify(info.telling, path, self._wish)
        seconds = int(path.stat().st_mtime)
        return Offer(
            identity.package, identity.release, identity.media_type,
            datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat(),
            manifest_type(identity.media_type, self._vendor), info.diff_id, info.blob.size,
            os.fsencode(path).decode("latin-1"), blob_digest=info.blob.digest,
        )  # fmt: skip

    def _pieces(self, path: Path) -> Iterator[bytes]:
        if path.is_dir():
            helm = (path / "Chart.yaml").is_file()
            telling = telling_of_folder(path)
            identity = identify(telling, path, self._wish)
            prefix = identity.package.partition("/")[2] if helm else ""
            yield pack(path, prefix, self._limits)
            return
        with path.open("rb") as stream:
            yield from iter(lambda: stream.read(CHUNK), b"")

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        yield from self._pieces(Path(os.fsdecode(offer.place.encode("latin-1"))))


# -- its kind -------------------------------------------------------------------------------------


class Charts(SourceRules, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="charts"):
    """A folder of archives and package folders."""

    folder: str
    namespace: str


class _Kind:
    settings = Charts

    def check(self, settings: Charts) -> Iterator[Problem]:
        """See ``Kind``."""
        return bad_namespace("namespace", settings.namespace)

    def open(self, name: str, settings: Charts, room: SourceRoom) -> Source:
        """See ``Kind``."""
        folder = room.path(settings.folder)
        return ChartsSource(name, folder, settings.namespace, room.vendor, room.limits)


KIND = _Kind()
