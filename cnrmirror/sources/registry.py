"""A live CNR registry: cnr-server, appr, Quay's app registry; API v1, with or without ``/cnr``.

Lists cannot be believed (see ``registrylist``). So every wanted package is asked for by itself,
also those that the mirror has and no list shows; so is every release that the mirror does not have
yet, and, before it is called gone, every one that it has and the package's own answer does not
show. Names can be given that no list shows.

Requests of a run: one for the list (two if the API is not below ``/cnr``, one more a namespace);
then for each wanted package two (manifests, channels), one for each wanted release that the mirror
has not, and one an archive. With nothing new: 1 + 2 × packages. Where the registry sends ETags,
most are answered 304.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.documents import Channel
from cnrmirror.model.errors import NetworkError
from cnrmirror.model.progress import stage
from cnrmirror.objects.base import WebReader
from cnrmirror.objects.parallel import in_parallel
from cnrmirror.sources.answers import Answers
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_name, bad_namespace, bad_url
from cnrmirror.sources.registrylist import Lists
from cnrmirror.sources.registrypackage import BY_DIGEST, Asking, Enumerate, Told


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
        enumerate_releases: Enumerate = "new",
        answers: Path | None = None,
    ) -> None:
        self.name = name
        self._http = http
        self._packages = packages
        self._max_archive = max_archive
        self._enumerate = enumerate_releases
        self._answers = Answers(http, answers)
        self._lists = Lists(http.name, self._answers, namespaces, not packages)

    def look(self, ask: Ask) -> Listing:
        """See ``Source``."""
        listed = self._lists.read(ask.wanted)
        named = {*listed.rows, *self._packages}
        # What is here, or in the filter, may be there though no list shows it.
        asked = {*named, *ask.known, *ask.wanted.exact()}
        names = sorted(filter(ask.wanted.package, asked))
        found: list[Offer] = []
        channels: dict[str, list[Channel]] = {}
        holes: list[Hole] = listed.holes
        unlisted: list[str] = []
        absent: list[str] = []

        def of(name: str) -> Told:
            url = f"{self._lists.base}/{name}"
            asking = Asking(self._answers, url, name, ask, self._enumerate)
            return asking.package(listed.rows.get(name, []), name in named)

        with stage(ask.progress, f"Asking {self.name}", len(names)) as step:
            for name, one in zip(names, in_parallel(of, names, ask.executor), strict=True):
                found += one.offers
                holes += one.holes
                if one.channels:
                    channels[name] = one.channels
                if name not in named:
                    (unlisted if one.there else absent).append(name)
                step.advance()
        if self._http.gave_up:
            raise NetworkError(f"{self._http.name}: given up, too many requests failed in a row")
        self._answers.forget_others()
        if unlisted and listed.certain:
            some = ", ".join(unlisted[:5]) + (" …" if len(unlisted) > 5 else "")
            listed.notes.append(f"the list is not complete: not in it, but there: {some}")
        for name in sorted({*absent} & {*ask.wanted.exact()}):
            listed.notes.append(f"the filter names {name}, and the registry has no such package")
        complete = listed.complete and not unlisted
        return Listing(found, channels, holes, listed.notes, complete, listed.certain)

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        release = quote(offer.release, safe="+")
        if offer.place == BY_DIGEST:
            below = f"blobs/sha256/{offer.digest}"
        else:
            below = f"{release}/{offer.media_type}/pull"
        url = f"{self._lists.base}/{offer.upstream}/{below}"
        yield from self._http.get(url, self._max_archive, as_sent=True)

    def told(self, offers: Sequence[Offer]) -> msgspec.Raw:
        """See ``Divisible``: where the packages are."""
        return msgspec.Raw(msgspec.json.encode(self._lists.base))

    def hear(self, told: msgspec.Raw) -> None:
        """See ``Divisible``."""
        self._lists.base = typed.decode(told, str)


# -- its kind -------------------------------------------------------------------------------------


class Registry(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="registry"):
    """A live CNR registry.

    ``packages``: names beside those that its list shows; ``namespaces``: ask for the lists of these
    only; ``enumerate``: which releases are asked for one by one (``new``, ``all``, ``never``).
    """

    url: str
    packages: list[str] = msgspec.field(default_factory=list)
    namespaces: list[str] = msgspec.field(default_factory=list)
    enumerate: Enumerate = "new"


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
