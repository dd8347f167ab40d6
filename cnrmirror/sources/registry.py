"""A live CNR registry: cnr-server, appr, Quay's app registry; API v1, with or without ``/cnr``.

Lists of real registries are cut off, cached, and name only the newest release's formats. So every
package is asked for by itself, every release that the list names and the package's answer lacks is
asked for too, and names can be given that no list shows.

Requests: two for the prefix and the list, then two a package
(manifests, channels), one for each release that is missing there, one an archive.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from cnrmirror.documents import Channel, parse_json
from cnrmirror.errors import CnrMirrorError, IncompleteError, InputError, InvalidDocument
from cnrmirror.fetcher import HttpFetcher, read
from cnrmirror.interfaces import Hole, Listing, Offer, Progress, stage
from cnrmirror.names import PackageName
from cnrmirror.sources.manifests import MAX_DOCUMENT_BYTES, MAX_LIST_BYTES, channel, offers

_PACKAGES = "api/v1/packages"
_CAPS = (50, 100, 200, 250, 500, 1000)


class RegistrySource:
    """A registry behind HTTP.

    Args:
        name: what mirror.yaml calls it.
        http: reads below the registry's address, with its credentials and limits.
        packages: names to ask for beside those that the list shows.
        namespaces: ask for the lists of these only; all if empty.
        max_archive: bytes that an archive may have.
        parallel: how many packages are asked for at a time.
    """

    def __init__(
        self,
        name: str,
        http: HttpFetcher,
        packages: Sequence[str] = (),
        namespaces: Sequence[str] = (),
        max_archive: int = 100_000_000,
        parallel: int = 4,
    ) -> None:
        self.name = name
        self._http = http
        self._packages = packages
        self._namespaces = namespaces
        self._max_archive = max_archive
        self._parallel = parallel

    @functools.cached_property
    def _base(self) -> str:
        """The address of the API: with ``/cnr`` if the registry has it there."""
        try:
            self._json(f"{self._http.name}/cnr/{_PACKAGES}", MAX_LIST_BYTES)
            return f"{self._http.name}/cnr/{_PACKAGES}"
        except (IncompleteError, InvalidDocument):
            return f"{self._http.name}/{_PACKAGES}"

    def _json(self, url: str, limit: int) -> Any:
        return parse_json(read(self._http.get(url, limit)), url, limit)

    def look(self, progress: Progress) -> Listing:
        """See ``interfaces.Source``."""
        rows, notes = self._rows()
        names = sorted({*rows, *self._packages})
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        holes: list[Hole] = []
        with stage(progress, f"Asking {self.name}", len(names)) as step:
            with ThreadPoolExecutor(self._parallel) as pool:
                answers = pool.map(lambda n: self._package(n, rows.get(n, [])), names)
                for name, (some, its, bad) in zip(names, answers, strict=True):
                    found += some
                    holes += bad
                    if its:
                        channels[name] = its
                    step.advance()
        return Listing(found, channels, holes, notes)

    def _rows(self) -> tuple[dict[str, list[str]], list[str]]:
        """What the lists name: packages and their releases."""
        rows: dict[str, list[str]] = {}
        notes = []
        queries = [f"?namespace={quote(n)}" for n in self._namespaces] or [""]
        for query in queries:
            url = f"{self._base}{query}"
            answer = self._json(url, MAX_LIST_BYTES)
            if not isinstance(answer, list):
                raise InvalidDocument(f"{url}: a list of packages was expected")
            if len(answer) in _CAPS:
                notes.append(
                    f"{url} lists exactly {len(answer)} packages: it may be cut off; name what "
                    "is missing under 'packages'"
                )
            for row in answer:
                name = row.get("name") if isinstance(row, dict) else None
                try:
                    PackageName.parse(str(name))
                except InputError as error:
                    notes.append(f"{url} lists {name!r}: {error.message}")
                    continue
                listed = row.get("releases")
                rows[str(name)] = [r for r in listed or [] if isinstance(r, str)]
            if answer and not rows:
                raise InvalidDocument(f"{url}: a list in which nothing is a package: {notes[-1]}")
        return rows, notes

    def _package(
        self, name: str, listed: list[str]
    ) -> tuple[list[Offer], list[Channel], list[Hole]]:
        url = f"{self._base}/{name}"
        try:
            found, holes = offers(self._json(url, MAX_DOCUMENT_BYTES), name)
        except CnrMirrorError as error:
            return [], [], [Hole(name, error.message)]
        told = {hole.what for hole in holes}
        for release in sorted(set(listed) - {o.release for o in found}):
            if f"{name}@{release}" in told:
                continue
            try:
                answer = self._json(f"{url}/{quote(release, safe='+')}", MAX_DOCUMENT_BYTES)
                more, bad = offers(answer, name)
                right = [o for o in more if o.release == release]
                found += right
                holes += bad
                if not right and not bad:
                    other = ", ".join(o.release for o in more) or "nothing"
                    reason = f"listed, but asked for it, the registry answers with {other}"
                    holes.append(Hole(f"{name}@{release}", reason))
            except CnrMirrorError as error:
                holes.append(Hole(f"{name}@{release}", error.message))
        try:
            its = self._channels(url, {o.release for o in found})
        except CnrMirrorError as error:
            return found, [], [*holes, Hole(f"{name} (channels)", error.message)]
        return found, its, holes

    def _channels(self, url: str, known: set[str]) -> list[Channel]:
        answer = self._json(f"{url}/channels", MAX_DOCUMENT_BYTES)
        if not isinstance(answer, list) or not all(isinstance(c, dict) for c in answer):
            raise InvalidDocument(f"{url}/channels: a list of channels was expected")
        return [
            channel(c.get("name"), c.get("current"), c.get("releases", []), known) for c in answer
        ]

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``interfaces.Source``."""
        release = quote(offer.release, safe="+")
        url = f"{self._base}/{offer.upstream}/{release}/{offer.media_type}/pull"
        yield from self._http.get(url, self._max_archive)
