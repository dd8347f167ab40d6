"""A live CNR registry: cnr-server, appr, Quay's app registry; API v1, with or without ``/cnr``.

Lists of real registries are cut off, cached, and name only the newest release's formats. So every
package is asked for by itself, every release that the mirror does not have yet is asked for too,
and names can be given that no list shows.

Requests of a run: one for the list (two if the API is not below ``/cnr``, one more a namespace),
then two a package (manifests, channels), one for each release that the mirror has not, and one an
archive. With nothing new: 1 + 2 × packages. Where the registry sends ETags, most are answered 304.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import (
    CnrMirrorError,
    IncompleteError,
    InputError,
    InvalidDocument,
    NetworkError,
)
from cnrmirror.model.names import PackageName
from cnrmirror.model.progress import Progress, stage
from cnrmirror.objects.base import WebReader
from cnrmirror.objects.parallel import AT_ONCE, in_parallel
from cnrmirror.sources.answers import Answers
from cnrmirror.sources.base import Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_name, bad_namespace, bad_url
from cnrmirror.sources.manifests import MAX_DOCUMENT_BYTES, MAX_LIST_BYTES, channel, offers

_PACKAGES = "api/v1/packages"
_CAPS = (50, 100, 200, 250, 500, 1000)
_NOTES = 100


class RegistrySource:
    """A registry behind HTTP.

    Args:
        name: what mirror.yaml calls it.
        http: reads below the registry's address, with its credentials and limits.
        packages: names to ask for beside those that the list shows.
        namespaces: ask for the lists of these only; all if empty.
        max_archive: bytes that an archive may have.
        enumerate_releases: ``new``: ask for each release that the mirror has not yet; ``all``: for
            every one, always; ``never``: believe what the package's own answer says.
        answers: where answers are kept that can be asked about again; None for nowhere.
    """

    def __init__(
        self,
        name: str,
        http: WebReader,
        packages: Sequence[str] = (),
        namespaces: Sequence[str] = (),
        max_archive: int = 100_000_000,
        enumerate_releases: Literal["new", "all", "never"] = "new",
        answers: Path | None = None,
    ) -> None:
        self.name = name
        self._http = http
        self._packages = packages
        self._namespaces = namespaces
        self._max_archive = max_archive
        self._enumerate = enumerate_releases
        self._answers = Answers(http, answers)
        self._base = ""

    def look(
        self,
        progress: Progress,
        known: Collection[tuple[str, str]] = (),
        executor: Executor = AT_ONCE,
    ) -> Listing:
        """See ``Source``."""
        rows, notes, complete = self._rows()
        names = sorted({*rows, *self._packages})
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        holes: list[Hole] = []

        def ask(name: str) -> tuple[list[Offer], list[Channel], list[Hole]]:
            return self._package(name, rows.get(name, []), known)

        with stage(progress, f"Asking {self.name}", len(names)) as step:
            for name, (some, its, bad) in zip(
                names, in_parallel(ask, names, executor), strict=True
            ):
                found += some
                holes += bad
                if its:
                    channels[name] = its
                step.advance()
        if self._http.gave_up:
            raise NetworkError(f"{self._http.name}: given up, too many requests failed in a row")
        self._answers.forget_others()
        return Listing(found, channels, holes, notes, complete)

    def _list(self, query: str) -> Any:
        """The list of packages; finds out whether the API is below ``/cnr``."""
        if self._base:
            return self._answers.json(f"{self._base}{query}", MAX_LIST_BYTES)
        below = f"{self._http.name}/cnr/{_PACKAGES}"
        try:
            answer = self._answers.json(f"{below}{query}", MAX_LIST_BYTES)
            self._base = below
        except (IncompleteError, InvalidDocument) as error:
            beside = f"{self._http.name}/{_PACKAGES}"
            try:
                answer = self._answers.json(f"{beside}{query}", MAX_LIST_BYTES)
            except (IncompleteError, InvalidDocument):
                raise error from None
            self._base = beside
        return answer

    def _rows(self) -> tuple[dict[str, list[str]], list[str], bool]:
        """What the lists name: packages and their releases; and whether that is all there is."""
        rows: dict[str, list[str]] = {}
        notes: list[str] = []
        complete = True
        for query in [f"?namespace={quote(n)}" for n in self._namespaces] or [""]:
            try:
                answer = self._list(query)
                if not isinstance(answer, list):
                    raise InvalidDocument(f"{self._base}{query}: a list of packages was expected")
            except (IncompleteError, NetworkError, InvalidDocument) as error:
                if not self._packages:
                    raise
                notes.append(f"no list: {error.message}; only the packages that are named")
                complete = False
                self._base = self._base or f"{self._http.name}/cnr/{_PACKAGES}"
                continue
            if len(answer) in _CAPS:
                complete = False
                notes.append(
                    f"{self._base}{query} lists exactly {len(answer)} packages: it may be cut off; "
                    "name what is missing under 'packages'"
                )
            bad = self._read_rows(answer, rows, notes)
            if answer and bad == len(answer):
                raise InvalidDocument(f"{self._base}{query}: nothing in it is a package")
        if len(notes) > _NOTES:
            notes[_NOTES:] = [f"and {len(notes) - _NOTES} more of the kind"]
        return rows, notes, complete

    def _read_rows(self, answer: list[Any], rows: dict[str, list[str]], notes: list[str]) -> int:
        """Take the rows of one list; how many of them are none."""
        bad = 0
        for row in answer:
            name = row.get("name") if isinstance(row, dict) else None
            try:
                package = PackageName.parse(str(name))
            except InputError as error:
                notes.append(f"the list names {str(name)[:200]!r}: {error.message[:200]}")
                bad += 1
                continue
            if self._namespaces and package.namespace not in self._namespaces:
                continue  # a registry that does not know the filter
            listed = row.get("releases")
            listed = listed if isinstance(listed, list) else []
            rows[str(package)] = [r for r in listed if isinstance(r, str)]
        return bad

    def _package(
        self, name: str, listed: list[str], known: Collection[tuple[str, str]]
    ) -> tuple[list[Offer], list[Channel], list[Hole]]:
        url = f"{self._base}/{name}"
        found: list[Offer] = []
        holes: list[Hole] = []
        try:
            found, holes = offers(self._answers.json(url, MAX_DOCUMENT_BYTES), name)
        except CnrMirrorError as error:
            if not listed or not isinstance(error, IncompleteError | InvalidDocument):
                return [], [], [Hole(name, error.message, name)]
            holes = [Hole(name, error.message, name)]
        told = {hole.release for hole in holes} - {""}
        seen = {(o.release, o.media_type) for o in found}
        for release in self._to_ask(name, listed, found, known):
            if release in told:
                continue
            more, bad = self._release(url, name, release)
            fresh = [o for o in more if (o.release, o.media_type) not in seen]
            found += fresh
            seen |= {(o.release, o.media_type) for o in fresh}
            if release in {o.release for o in found} and not more:
                continue  # the package's own answer has it: no hole
            holes += bad
        its, bad = self._channels(url, name, {o.release for o in found})
        return found, its, [*holes, *bad]

    def _to_ask(
        self,
        name: str,
        listed: list[str],
        found: list[Offer],
        known: Collection[tuple[str, str]],
    ) -> list[str]:
        """The releases to ask for by themselves."""
        there = {o.release for o in found}
        missing = set(listed) - there
        if self._enumerate == "all":
            return sorted(missing | there)
        if self._enumerate == "never":
            return sorted(missing)
        return sorted(missing | {r for r in there if (name, r) not in known})

    def _release(self, url: str, name: str, release: str) -> tuple[list[Offer], list[Hole]]:
        try:
            answer = self._answers.json(f"{url}/{quote(release, safe='+')}", MAX_DOCUMENT_BYTES)
            more, bad = offers(answer, name)
        except CnrMirrorError as error:
            return [], [Hole.of_release(name, release, error.message)]
        right = [o for o in more if o.release == release]
        if not right and not bad:
            other = ", ".join(o.release for o in more) or "nothing"
            reason = f"listed, but asked for it, the registry answers with {other}"
            bad.append(Hole.of_release(name, release, reason))
        return right, bad

    def _channels(self, url: str, name: str, known: set[str]) -> tuple[list[Channel], list[Hole]]:
        try:
            answer = self._answers.json(f"{url}/channels", MAX_DOCUMENT_BYTES)
            if not isinstance(answer, list) or not all(isinstance(c, dict) for c in answer):
                raise InvalidDocument(f"{url}/channels: a list of channels was expected")
        except CnrMirrorError as error:
            return [], [Hole(f"{name} (channels)", error.message, name)]
        found: list[Channel] = []
        holes: list[Hole] = []
        for item in answer:
            try:
                found.append(
                    channel(item.get("name"), item.get("current"), item.get("releases", []), known)
                )
            except InputError as error:
                holes.append(Hole(f"{name}:{str(item.get('name'))[:200]}", error.message, name))
        return found, holes

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        release = quote(offer.release, safe="+")
        url = f"{self._base}/{offer.upstream}/{release}/{offer.media_type}/pull"
        yield from self._http.get(url, self._max_archive, as_sent=True)


# -- its kind -------------------------------------------------------------------------------------


class Registry(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="registry"):
    """A live CNR registry.

    ``packages``: names beside those that its list shows; ``namespaces``: ask for the lists of these
    only; ``enumerate``: which releases are asked for one by one (``new``, ``all``, ``never``).
    """

    url: str
    packages: list[str] = msgspec.field(default_factory=list)
    namespaces: list[str] = msgspec.field(default_factory=list)
    enumerate: Literal["new", "all", "never"] = "new"


class _Kind:
    settings = Registry

    def check(self, settings: Registry) -> Iterator[Problem]:
        """See ``Kind``."""
        for name in settings.packages:
            yield from bad_name("packages", name)
        for namespace in settings.namespaces:
            yield from bad_namespace("namespaces", namespace)
        yield from bad_url("url", settings.url)

    def open(self, name: str, settings: Registry, room: SourceRoom) -> Source:
        """See ``Kind``."""
        return RegistrySource(
            name,
            room.http(settings.url, settings),
            settings.packages,
            settings.namespaces,
            room.limits.packed,
            settings.enumerate,
            room.cache,
        )


KIND = _Kind()
