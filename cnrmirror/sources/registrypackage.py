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
from cnrmirror.model.names import check_release
from cnrmirror.sources.answers import Answers
from cnrmirror.sources.base import Ask, Hole, Offer
from cnrmirror.sources.manifests import MAX_DOCUMENT_BYTES, channel, offers

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
        self._told = Told([], [], [])

    def package(self, listed: Sequence[str], named: bool) -> Told:
        """What there is of it.

        Args:
            listed: the releases that the list names.
            named: whether a list, or mirror.yaml, says that it is there.
        """
        told = self._told
        if not self._manifests(listed, named):
            return told
        rows = self._channel_rows()
        current = {str(r.get("current")) for r in rows if r.get("name") in self._filter.channels}
        unread = {hole.release for hole in told.holes} - {""}
        asked = set()
        for release in self._to_ask(listed, current):
            if release not in unread:
                asked.add(release)
                self._release(release, known=False)
        if self._sure:
            for release in sorted(self._missing() - asked - unread):
                self._release(release, known=True)
        told.channels += self._channels(rows, listed)
        return told

    def _manifests(self, listed: Sequence[str], named: bool) -> bool:
        """Ask for the package; whether its releases and channels can be asked for."""
        told = self._told
        try:
            answer = self._answers.json(self._url, MAX_DOCUMENT_BYTES)
            told.offers, told.holes = offers(answer, self._name, self._filter.takes_type)
        except CnrMirrorError as error:
            if not named and error.details.get("status") in _GONE:
                told.there = False
                return False
            told.holes = [Hole(self._name, error.message, self._name)]
            return bool(listed) and isinstance(error, IncompleteError | InvalidDocument)
        return True

    def _to_ask(self, listed: Sequence[str], current: Collection[str]) -> list[str]:
        """The wanted releases that are to be asked for by themselves."""
        there = {o.release for o in self._told.offers}
        late = {o.release for o in self._told.offers if self._filter.takes_time(o.created_at)}
        good = {*late, *(r for r in self._readable(listed) if r not in there)}
        wanted = self._filter.kept(good, current)
        if self._enumerate == "all":
            return sorted(wanted)
        if self._enumerate == "never":
            return sorted(wanted - there)
        return sorted(wanted - (there & {release for release, _ in self._known}))

    def _readable(self, listed: Sequence[str]) -> Iterator[str]:
        """Those of a list's releases that can be; the others are holes."""
        unread = {hole.release for hole in self._told.holes}
        for release in listed:
            try:
                yield check_release(release)
            except InvalidName as error:
                if release not in unread:
                    self._hole(release[:200], error.message)

    def _missing(self) -> set[str]:
        """Releases that the mirror has from here, wholly or in part not shown any more."""
        shown = {(o.release, o.media_type) for o in self._told.offers}
        return {
            release
            for release, media_type in self._known - shown
            if self._filter.takes_type(media_type) and self._filter.takes_release(release)
        }

    def _release(self, release: str, known: bool) -> None:
        """Ask for one release by itself.

        Args:
            known: the mirror has it, and the registry does not show it: it may be gone.
        """
        url = f"{self._url}/{quote(release, safe='+')}"
        try:
            answer = self._answers.json(url, MAX_DOCUMENT_BYTES)
            more, bad = offers(answer, self._name, self._filter.takes_type)
        except CnrMirrorError as error:
            there = release in {o.release for o in self._told.offers}
            if not there and not (known and error.details.get("status") in _GONE):
                self._hole(release, error.message)
            return
        seen = {(o.release, o.media_type) for o in self._told.offers}
        self._told.offers += [o for o in more if (o.release, o.media_type) not in seen]
        self._told.holes += bad
        if more and release not in {o.release for o in more}:
            self._another(release, more, known)

    def _another(self, release: str, others: Sequence[Offer], known: bool) -> None:
        """Ask a registry once more that took a release for a range, and answered with others.

        What is found has its archive asked for by digest.
        """
        found = [o for o in self._told.offers if o.release == release]
        if not found:
            types = sorted({o.media_type for o in others})
            found = [o for t in types for o in self._without_build(release, t)]
        rest = [o for o in self._told.offers if o.release != release]
        by_digest = [msgspec.structs.replace(o, place=BY_DIGEST) for o in found]
        self._told.offers = [*rest, *by_digest]
        if not found and not known:
            names = ", ".join(sorted({o.release for o in others})[:5])
            self._hole(release, f"listed, but asked for it, the registry answers with {names}")

    def _without_build(self, release: str, media_type: str) -> list[Offer]:
        """The manifest of a release whose name has no build: ``3.0.0+`` is a range of it alone."""
        url = f"{self._url}/{quote(release, safe='+')}+/{media_type}"
        try:
            answer = self._answers.json(url, MAX_DOCUMENT_BYTES)
            found, _ = offers([answer], self._name, self._filter.takes_type)
        except CnrMirrorError:
            return []  # this registry knows no such ranges
        return [o for o in found if o.release == release]

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

    def _channels(self, rows: list[dict[str, Any]], listed: Sequence[str]) -> Iterator[Channel]:
        """The channels; one that points at what is not wanted is none."""
        known = {o.release for o in self._told.offers}
        for row in rows:
            name, current = row.get("name"), row.get("current")
            if current in listed and current not in known:
                continue  # not asked for, or a hole already
            try:
                yield channel(name, current, row.get("releases", []), known)
            except InputError as error:
                what = f"{self._name}:{str(name)[:200]}"
                self._told.holes.append(Hole(what, error.message, self._name))
