"""What a live registry says of one package: its releases, one by one where needed, its channels."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import (
    CnrMirrorError,
    IncompleteError,
    InputError,
    InvalidDocument,
    InvalidName,
)
from cnrmirror.model.names import check_release, newest_first
from cnrmirror.sources.answers import Answers
from cnrmirror.sources.base import Ask, Hole, Offer
from cnrmirror.sources.manifests import MAX_DOCUMENT_BYTES, Manifests, channel, offers

BY_DIGEST = "digest"
"""The place of an offer whose archive is asked for by its digest: the release's own address gives
another one."""
Enumerate = Literal["new", "all", "never"]
_GONE = (404, 410)


class Told(msgspec.Struct):
    """What a registry says of one package; ``there``: it has it."""

    offers: list[Offer] = []
    channels: list[Channel] = []
    holes: list[Hole] = []
    there: bool = True


class Asking:
    """One package, asked for.

    Args:
        answers: asks.
        url: the package's address.
        name: what the registry calls it.
        ask: what is wanted, and how it is asked for.
        enumerate_releases: see ``RegistrySource``.
    """

    def __init__(
        self, answers: Answers, url: str, name: str, ask: Ask, enumerate_releases: Enumerate
    ) -> None:
        self._answers = answers
        self._url = url
        self._name = name
        self._filter = ask.wanted.filter
        self._sure = ask.sure
        self._enumerate = enumerate_releases
        self._known = set(ask.known.get(name, ()))
        self._had = {release for release, _ in self._known}
        self._listed: frozenset[str] = frozenset()
        self._shown: set[str] = set()
        self._told = Told([], [], [])

    def package(self, listed: Sequence[str], named: bool) -> Told:
        """What there is of it.

        Args:
            listed: the releases that the list names.
            named: whether a list, or mirror.yaml, says that it is there.
        """
        told = self._told
        self._listed = frozenset(listed)
        if not self._manifests(named):
            return told
        rows = self._channel_rows()
        current = {str(r.get("current")) for r in rows if r.get("name") in self._filter.channels}
        asked = self._ask_wanted(current)
        if self._sure:
            for release in sorted(self._missing() - asked - self._unread()):
                self._release(release)
        told.channels += self._channels(rows)
        return told

    def _manifests(self, named: bool) -> bool:
        """Ask for the package; whether its releases and channels can be asked for."""
        told = self._told
        try:
            found = offers(
                self._answers.json(self._url, MAX_DOCUMENT_BYTES), self._name,
                self._filter.takes_type,
            )  # fmt: skip
        except CnrMirrorError as error:
            if not named and error.details.get("status") in _GONE:
                told.there = False
                return False
            told.holes = [Hole(self._name, error.message, self._name)]
            return bool(self._listed) and isinstance(error, IncompleteError | InvalidDocument)
        told.offers, told.holes, self._shown = found.offers, found.holes, found.releases
        return True

    # -- releases, one by one -------------------------------------------------------------------

    def _ask_wanted(self, current: Collection[str]) -> set[str]:
        """Ask for the wanted releases that are to be asked for; which ones were.

        Args:
            current: the releases at which wanted channels point.
        """
        timely = {o.release for o in self._told.offers if self._filter.takes_time(o.created_at)}
        possible = self._filter.possible({*timely, *self._readable()}, current)
        asked, found = set(), 0
        for release in newest_first(possible):
            if self._filter.newest and found == self._filter.newest:
                break
            if self._needs_asking(release):
                asked.add(release)
                self._release(release)
            if self._filter.newest:
                found += any(o.release == release for o in self._told.offers)
        return asked

    def _needs_asking(self, release: str) -> bool:
        if release in self._unread():
            return False
        if self._enumerate == "new":
            return release not in self._shown or release not in self._had
        return self._enumerate == "all" or release not in self._shown

    def _readable(self) -> Iterator[str]:
        """The releases of the list that the package does not show; what is none is a hole."""
        for release in sorted(self._listed - self._shown - self._unread()):
            try:
                yield check_release(release)
            except InvalidName as error:
                self._hole(release[:200], error.message)

    def _missing(self) -> set[str]:
        """Releases that the mirror has from here, wholly or in part not shown any more."""
        shown = {(o.release, o.media_type) for o in self._told.offers}
        return {
            release
            for release, media_type in self._known - shown
            if self._filter.takes_type(media_type) and self._filter.takes_release(release)
        }

    def _unread(self) -> set[str]:
        return {hole.release for hole in self._told.holes} - {""}

    def _release(self, release: str) -> None:
        """Ask for one release by itself.

        Only 404 and 410 say that it is not there; whatever else is no answer is a hole of it.
        """
        url = f"{self._url}/{quote(release, safe='')}"
        try:
            answer = self._answers.json(url, MAX_DOCUMENT_BYTES)
            found = offers(answer, self._name, self._filter.takes_type)
        except CnrMirrorError as error:
            gone = error.details.get("status") in _GONE
            if not gone or (release in self._listed and release not in self._shown):
                self._hole(release, error.message)
            return
        seen = {(o.release, o.media_type) for o in self._told.offers}
        self._told.offers += [o for o in found.offers if (o.release, o.media_type) not in seen]
        self._told.holes += found.holes
        if release in found.releases or release in self._unread():
            return
        if found.releases:
            self._another(release, found)
        elif release not in self._shown:
            self._hole(release, "asked for it, the registry answers with nothing")

    def _another(self, release: str, others: Manifests) -> None:
        """Ask a registry once more that took a release for a range, and answered with others.

        What is found has its archive asked for by digest.
        """
        direct = [o for o in self._told.offers if o.release == release]
        types = {t for r, t in self._known if r == release} | others.types
        types |= set(self._filter.media_types)
        missing = sorted(filter(self._filter.takes_type, types - {o.media_type for o in direct}))
        found = [o for t in missing for o in self._without_build(release, t)]
        rest = [o for o in self._told.offers if o.release != release]
        by_digest = [msgspec.structs.replace(o, place=BY_DIGEST) for o in (*direct, *found)]
        self._told.offers = [*rest, *by_digest]
        # Of types that were not asked for, nobody knows.
        doubtful = not self._filter.media_types and release in self._listed
        if not by_digest and doubtful and release not in self._unread():
            names = ", ".join(sorted(others.releases)[:5])
            self._hole(release, f"listed, but asked for it, the registry answers with {names}")

    def _without_build(self, release: str, media_type: str) -> list[Offer]:
        """The manifest of a release whose name has no build: ``3.0.0+`` is a range of it alone."""
        url = f"{self._url}/{quote(f'{release}+', safe='')}/{media_type}"
        try:
            found = offers([self._answers.json(url, MAX_DOCUMENT_BYTES)], self._name)
        except CnrMirrorError as error:
            if error.details.get("status") not in _GONE:
                self._hole(release, error.message)
            return []
        right = [o for o in found.offers if (o.release, o.media_type) == (release, media_type)]
        if not right:
            self._hole(release, "asked for it, the registry answers with another")
        return right

    def _hole(self, release: str, reason: str) -> None:
        self._told.holes.append(Hole.of_release(self._name, release, reason))

    def _channel_rows(self) -> list[dict[str, Any]]:
        try:
            answer = self._answers.json(f"{self._url}/channels", MAX_DOCUMENT_BYTES)
            if not isinstance(answer, list) or not all(isinstance(c, dict) for c in answer):
                raise InvalidDocument(f"{self._url}/channels: a list of channels was expected")
        except CnrMirrorError as error:
            self._told.holes.append(Hole(f"{self._name} (channels)", error.message, self._name))
            return []
        return answer

    def _channels(self, rows: list[dict[str, Any]]) -> Iterator[Channel]:
        """The channels; one that points at what is not wanted is none."""
        known = {o.release for o in self._told.offers}
        unwanted = (self._listed | self._shown) - known - self._unread()
        for row in rows:
            name, current = row.get("name"), row.get("current")
            if isinstance(current, str) and current in unwanted:
                continue
            try:
                yield channel(name, current, row.get("releases", []), known)
            except InputError as error:
                what = f"{self._name}:{str(name)[:200]}"
                self._told.holes.append(Hole(what, error.message, self._name))
