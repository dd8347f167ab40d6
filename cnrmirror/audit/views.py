"""The registry's answers at a mirror elsewhere, held against what the catalog says they must be."""

from __future__ import annotations

import os
import posixpath
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnrmirror.audit.files import NOT_OURS, Known, files_below, second_form
from cnrmirror.model.canonical import parse_json
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import CnrMirrorError, IncompleteError, Tampered
from cnrmirror.model.finding import problem_of
from cnrmirror.model.names import Vendor
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.objects.base import Reader, read
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader
from cnrmirror.views import cnr_v1 as v1
from cnrmirror.views import front as html
from cnrmirror.views.layout import key_of
from cnrmirror.views.routes import url_of


class ViewAudit:
    """Looks at one mirror's views.

    Args:
        fetcher: reads the mirror.
        find: is told of what is wrong: path, problem, reason.
    """

    def __init__(self, fetcher: Reader, find: Callable[[str, str, str], None]) -> None:
        self._fetcher = fetcher
        self._find = find
        self._lock = threading.Lock()
        self._known = Known()
        self.count = 0
        self.notes: list[str] = []

    def view(
        self, resource: Resource, files: dict[str, Path], twin: Resource | None = None
    ) -> None:
        """One file of the v1 view, asked for as a client would.

        Args:
            twin: another form that it may have: ``…/pull`` is JSON on some hosts.
        """
        body = resource.body
        with self._lock:
            self.count += 1
            if isinstance(body, Alias):
                base = posixpath.join(posixpath.dirname(resource.path), body.target)
                self._known.aliases[resource.path] = posixpath.normpath(base)
            else:
                self._known.paths.add(resource.path)
        blob = (
            body.blob
            if isinstance(body, Base64Json)
            else body
            if isinstance(body, Descriptor)
            else None
        )
        if blob is not None and blob.digest not in files:
            return  # its blob is a finding already
        try:
            if isinstance(body, Alias):
                self._alias(resource.path, body)
                return
            try:
                self._compare(resource.path, body, files)
            except Tampered:
                if twin is None:
                    raise
                assert isinstance(twin.body, Base64Json)
                self._compare(resource.path, twin.body, files)
                self.note("its …/pull is JSON, as appr asks for it, not the archive")
        except CnrMirrorError as error:
            self._find(resource.path, problem_of(error), error.message)

    def _compare(
        self, path: str, body: bytes | Descriptor | Base64Json, files: dict[str, Path]
    ) -> None:
        """Raises Tampered, IncompleteError or NetworkError if no address of it gives its bytes."""
        size = len(body) if isinstance(body, bytes) else body.size
        first: CnrMirrorError | None = None
        for address in self._addresses(path):
            try:
                with _content(body, files) as expected:
                    for piece in self._get(address, size):
                        if piece != expected.read(len(piece)):
                            raise Tampered(f"{path}: not what the catalog says")
                    if expected.read(1):
                        raise Tampered(f"{path}: shorter than the catalog says")
                if first is not None and isinstance(self._fetcher, HttpReader):
                    self.note("it does not know ?format=json and the filters of lists")
                return
            except (Tampered, IncompleteError) as error:
                first = first or error
        assert first is not None
        raise first

    def _addresses(self, path: str) -> list[str]:
        """Where a file of the view may be asked for; the usual place first."""
        if isinstance(self._fetcher, FolderReader):
            return [path]
        if isinstance(self._fetcher, HttpReader):
            url = url_of(path)
            # A bucket behind HTTP ignores queries; what they mean is there under its own key.
            return [url, key_of(path)] if "?" in url else [url]
        return list(dict.fromkeys((key_of(path), path)))

    def _get(self, address: str, max_bytes: int) -> Iterator[bytes]:
        if isinstance(self._fetcher, HttpReader):
            return self._fetcher.get(f"{self._fetcher.name}/{address}", max_bytes)
        return self._fetcher.fetch(address, max_bytes)

    def _ask(self, path: str, max_bytes: int) -> Iterator[bytes]:
        return self._get(self._addresses(path)[0], max_bytes)

    def _alias(self, path: str, alias: Alias) -> None:
        """Asked over HTTP, it must answer as its target does; in a folder, it must be the link."""
        if isinstance(self._fetcher, FolderReader):
            link = Path(self._fetcher.name) / path
            if link.is_symlink() and os.readlink(link) == alias.target:
                return
        twin = "" if path.endswith(".json") else "/index.json"
        target = os.path.normpath(f"{os.path.dirname(path)}/{alias.target}")
        limit = 64 << 20
        expected = read(self._ask(target + twin, limit))
        if read(self._ask(path + twin, limit)) != expected:
            raise Tampered(f"{path}: does not answer as {target} does")

    def fixed(self) -> None:
        """The files that do not depend on the packages, in one of the forms that they may have."""
        path = ".well-known/app-registry-uri.json"
        try:
            found = parse_json(read(self._ask(path, 1 << 16)), path)
            prefix = found.get("prefix") if isinstance(found, dict) else None
            if not isinstance(prefix, str) or not prefix.endswith("/cnr/"):
                raise Tampered(f"{path}: its prefix is {prefix!r:.200}")
            url = prefix.removesuffix("/cnr/")
            self.notes.append(f"it sends clients to {url or 'no other address'}")
        except (CnrMirrorError, AttributeError) as error:
            problem = problem_of(error) if isinstance(error, CnrMirrorError) else "wrong"
            self._find(path, problem, str(error))
            return
        vendor: Vendor = "appr"
        with suppress(CnrMirrorError):
            if b"cnr-api" in read(self._ask("cnr/version/index.json", 1 << 16)):
                vendor = "cnr"
        for resource in (*v1.fixed_resources(vendor, url), html.index_page(url)):
            # A web server shows its error documents only as errors.
            shown = isinstance(self._fetcher, FolderReader) or "/40" not in resource.path
            if shown and not isinstance(resource.body, Alias):
                self.view(resource, {})

    def extra(self) -> None:
        """Files of a folder's site that no view has, and second forms that are not as the first."""
        if not isinstance(self._fetcher, FolderReader):
            return
        folder = Path(self._fetcher.name)
        for path in files_below(folder, ""):
            if path.startswith("catalog/") or path in self._known.paths:
                continue
            reason = second_form(folder, path, self._known)
            if reason:
                self._find(path, "extra" if reason == NOT_OURS else "wrong", reason)

    def note(self, note: str) -> None:
        with self._lock:
            if note not in self.notes:
                self.notes.append(note)


class _Joined:
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
def _content(body: bytes | Descriptor | Base64Json, files: dict[str, Path]) -> Iterator[_Joined]:
    if isinstance(body, bytes):
        yield _Joined(iter([body]))
        return
    blob = body.blob if isinstance(body, Base64Json) else body
    with files[blob.digest].open("rb") as stream:
        pieces = iter(lambda: stream.read(1 << 16), b"")
        yield _Joined(body.chunks(stream) if isinstance(body, Base64Json) else pieces)
