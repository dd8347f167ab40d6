"""An OCI registry: charts, and packages whose one layer is a gzipped tar.

Requests of a run, with P repositories and R releases that are new: one for each page of the catalog
(none if repositories are named), one list of tags a repository, and for each new release its
manifest, the list of what refers to it, up to two tags where the registry has no such list, its
config and its archive. With nothing new: the catalog and P lists of tags.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from cnrmirror.model import oci, typed
from cnrmirror.model.errors import CnrMirrorError, IncompleteError, NetworkError, TooLarge
from cnrmirror.model.names import Vendor
from cnrmirror.model.progress import stage
from cnrmirror.objects.base import WebReader
from cnrmirror.objects.parallel import in_parallel
from cnrmirror.sources.base import Ask, Hole, Listing, Offer, Source
from cnrmirror.sources.kind import Problem, SourceRoom, Web, bad_namespace, bad_url
from cnrmirror.sources.ociclient import Client, is_repository
from cnrmirror.sources.ocimemory import LeftByTag, Memory
from cnrmirror.sources.ocirepository import FORMATS, Asking, Repository, Tags, Told, releases_to_ask

Which = Literal["new", "all"]
_GONE = (404, 410)
_SHOWN = 5


class OciSource:
    """An OCI registry behind HTTP.

    Args:
        name: what mirror.yaml calls it.
        http: reads below the registry's address, which may have a path: a prefix of names.
        repositories: which ones, below the prefix; all that the catalog shows if empty.
        namespace: where its packages go; "" for the part of their names before the last.
        vendor: whose media types the manifests get that the registry has not.
        max_archive: bytes that an archive may have.
        tags: ``new``: ask for the manifests of releases that the mirror has not yet; ``all``: for
            every one, so that tags that moved and later signatures are seen.
        referrers: whether signatures and referrers are asked for.
        cache: where it is remembered which tags are no releases; None for nowhere.
    """

    def __init__(
        self,
        name: str,
        http: WebReader,
        repositories: Sequence[str] = (),
        namespace: str = "",
        vendor: Vendor = "appr",
        max_archive: int = 100_000_000,
        tags: Which = "new",
        referrers: bool = True,
        cache: Path | None = None,
    ) -> None:
        self.name = name
        self._http = http
        parts = urlsplit(http.name)
        self._client = Client(http, f"{parts.scheme}://{parts.netloc}")
        path = parts.path.strip("/")
        self._prefix = f"{path}/" if path else ""
        self._named = [self._prefix + text for text in repositories]
        self._namespace = namespace
        self._vendor = vendor
        self._max_archive = max_archive
        self._which = tags
        self._referrers = referrers
        self._memory = Memory(cache)
        self._places: dict[tuple[str, str, str], str] = {}

    def look(self, ask: Ask) -> Listing:
        """See ``Source``."""
        holes: list[Hole] = []
        notes: list[str] = []
        repositories = [r for r in self._all(holes) if any(map(ask.wanted.package, r.packages))]
        tagged = self._tagged(repositories, ask, holes, notes)
        run = _Run(ask, {r.name for r in tagged}, self._left(), {})
        told = Told.nothing()
        last = {r: t for r, t in tagged.items() if r.last == FORMATS and r.below}
        for some in ({r: t for r, t in tagged.items() if r not in last}, last):
            self._ask(some, run, told)
        certain = self._surely(tagged, run, told, notes)
        if self._http.gave_up:
            raise NetworkError(f"{self._http.name}: given up, too many requests failed in a row")
        self._memory.write(run.left)
        notes += [*told.notes, *_left_out(run.left)]
        return Listing(told.offers, {}, holes + told.holes, notes, certain, certain)

    def open(self, offer: Offer) -> Iterator[bytes]:
        """See ``Source``."""
        what = f"{offer.upstream}@{offer.release}"
        repository = self._places.get((offer.upstream, offer.release, offer.media_type))
        if repository is None:
            raise IncompleteError(f"{what}: it was not asked for")
        for attachment in offer.attachments:
            role = attachment.annotations.get(oci.ROLE, "")
            if attachment.digest == offer.place and role in ("manifest", "referrer", "tag"):
                yield self._client.manifest_bytes(repository, offer.place)
                return
        if offer.size > self._max_archive:
            raise TooLarge(f"{what}: larger than {self._max_archive} bytes")
        yield from self._client.blob(repository, offer.place, self._max_archive)

    def told(self, offers: Sequence[Offer]) -> msgspec.Raw:
        """See ``Divisible``: the repositories."""
        keys = {(offer.upstream, offer.release, offer.media_type) for offer in offers}
        found = [(key, self._places[key]) for key in keys if key in self._places]
        return msgspec.Raw(msgspec.json.encode(found))

    def hear(self, told: msgspec.Raw) -> None:
        """See ``Divisible``."""
        self._places.update(typed.decode(told, list[tuple[tuple[str, str, str], str]]))

    # -- what there is ----------------------------------------------------------------------------

    def _all(self, holes: list[Hole]) -> list[Repository]:
        """The repositories, sorted; what is wrong with the catalog's rows becomes a hole."""
        rows = self._named
        if not rows:
            found = self._client.repositories()
            rows = sorted({row for row in found if isinstance(row, str) and is_repository(row)})
            odd = sum(1 for row in found if not is_repository(row))
            if odd and not rows:
                raise IncompleteError(f"{self._http.name}: its catalog has no name of a repository")
            if odd:
                what = f"{odd} row{'s' if odd > 1 else ''} of the catalog"
                holes.append(Hole(what, "not the name of a repository"))
        below = (row for row in rows if row.startswith(self._prefix))
        return [Repository.of(row, self._prefix, self._namespace) for row in below]

    def _tagged(
        self, repositories: Sequence[Repository], ask: Ask, holes: list[Hole], notes: list[str]
    ) -> dict[Repository, Tags]:
        """The tags of each repository that is there."""

        def of(repository: Repository) -> Tags | CnrMirrorError:
            try:
                return Tags.of(self._client.tags(repository.name))
            except CnrMirrorError as error:
                return error

        found: dict[Repository, Tags] = {}
        gone: list[str] = []
        with stage(ask.progress, f"Asking {self.name}", len(repositories)) as step:
            results = in_parallel(of, repositories, ask.executor)
            for repository, result in zip(repositories, results, strict=True):
                if isinstance(result, Tags):
                    found[repository] = result
                    if result.odd:
                        reason = f"{result.odd} of its tags cannot be"
                        holes.append(Hole(repository.name, reason, repository.package))
                elif result.details.get("status") in _GONE:
                    gone.append(repository.name)
                else:
                    holes += _holes(repository, result, ask)
                step.advance()
        if gone and self._named and not found and not holes:
            raise IncompleteError(f"{self._http.name}: it has none of: {', '.join(gone[:_SHOWN])}")
        if gone and self._named:
            notes.append(f"named, and not there: {_some(gone)}")
        return found

    def _left(self) -> dict[str, LeftByTag]:
        """What was no release the last time; nothing, where every tag is asked for."""
        return self._memory.read() if self._which == "new" else {}

    # -- releases ---------------------------------------------------------------------------------

    def _ask(self, tagged: dict[Repository, Tags], run: _Run, told: Told) -> None:
        """Ask for the releases of these repositories that are to be asked for."""
        jobs: list[_Job] = []
        bare: list[Offer] = []
        newest = run.ask.wanted.filter.newest
        seen = {offer.key for offer in told.offers}
        for repository, tags in tagged.items():
            asking = self._asking(repository, tags, run.ask, seen)
            known = list(asking.known(run.elsewhere(repository)))
            bare += [offer for offer in known if offer.key not in seen]
            self._place(known, repository)
            had = {offer.release for offer in known} if self._believes(run.ask) else set()
            if repository.last == FORMATS:
                had |= {o.release for o in told.offers if o.package == repository.below}
            before = run.before.get(repository.name, {})
            run.left[repository.name] = {t: w for t, w in before.items() if run.has(tags, t)}
            releases = releases_to_ask(tags, run.ask, had, before)
            chunks = [releases] if newest and releases else [[r] for r in releases]
            jobs += [_Job(repository, partial(asking.some, some, newest)) for some in chunks]
        with stage(run.ask.progress, f"Looking at {self.name}", len(jobs)) as step:
            results = in_parallel(lambda job: job.do(), jobs, run.ask.executor)
            for job, result in zip(jobs, results, strict=True):
                self._take(job.repository, result, run, told)
                step.advance()
        unread = {(hole.package, hole.release) for hole in told.holes}
        seen = {offer.key for offer in told.offers}
        told.offers += [o for o in bare if o.key not in seen and o.key[:2] not in unread]

    def _take(self, repository: Repository, found: Told, run: _Run, told: Told) -> None:
        self._place(found.offers, repository)
        told.offers += found.offers
        told.holes += found.holes
        told.notes += found.notes
        run.left.setdefault(repository.name, {}).update(found.left)

    def _place(self, offers: Iterable[Offer], repository: Repository) -> None:
        for offer in offers:
            self._places.setdefault(offer.key, repository.name)

    def _believes(self, ask: Ask) -> bool:
        """Whether what the mirror has needs no asking while its tag is there."""
        return self._which == "new" and not ask.wanted.filter.created_after

    def _asking(
        self, repository: Repository, tags: Tags, ask: Ask,
        seen: Collection[tuple[str, str, str]] = (),
    ) -> Asking:  # fmt: skip
        return Asking(
            self._client, repository, tags, ask, self._vendor, self._referrers, seen
        )  # fmt: skip

    def _surely(
        self, tagged: dict[Repository, Tags], run: _Run, told: Told, notes: list[str]
    ) -> bool:
        """Ask by itself for what the mirror has and no list shows, before it is called gone.

        Returns:
            False if nobody can say where all of it would be.
        """
        if not run.ask.sure:
            return True
        lost = 0
        jobs: list[_Job] = []
        for (package, release, media_type), listed in _missing(tagged, run, told):
            found = self._where(package, media_type, listed)
            if found is None:
                lost += 1
                continue
            asking = self._asking(found, tagged.get(found, Tags({}, frozenset(), 0)), run.ask)
            jobs.append(_Job(found, partial(asking.hidden, release)))
        results = in_parallel(lambda job: job.do(), jobs, run.ask.executor)
        for job, result in zip(jobs, results, strict=True):
            self._take(job.repository, result, run, told)
        if lost:
            notes.append(f"{lost} releases of the mirror are in no repository that the catalog "
                         "shows; name their repositories to have them followed")  # fmt: skip
        return not lost

    def _where(
        self, package: str, media_type: str, listed: Iterable[Repository]
    ) -> Repository | None:
        """The repository that a package of the mirror would be in; None if nobody knows.

        Args:
            package: its name.
            media_type: that of the release.
            listed: the repositories that are there and may have it.
        """
        for repository in listed:
            if repository.package_of(media_type) == package:
                return repository
        if self._namespace and not self._named:
            return None
        below = "" if media_type == "helm" else f"/{media_type}"
        name = f"{self._prefix}{package}{below}"
        return Repository.of(name, self._prefix, self._namespace)


class _Run(msgspec.Struct, frozen=True):
    """One look: what is asked for, which repositories there are, and what is no release."""

    ask: Ask
    listed: set[str]
    before: dict[str, LeftByTag]
    left: dict[str, LeftByTag]

    def elsewhere(self, repository: Repository) -> set[str]:
        """The media types that have a repository of their own below this one."""
        start = f"{repository.name}/"
        return {name[len(start) :] for name in self.listed if name.startswith(start)}

    @staticmethod
    def has(tags: Tags, tag: str) -> bool:
        return tag in tags.releases.values()


class _Job(msgspec.Struct, frozen=True):
    """Some releases of one repository that are asked for at a time."""

    repository: Repository
    do: Callable[[], Told]


def _missing(
    tagged: Iterable[Repository], run: _Run, told: Told
) -> Iterator[tuple[tuple[str, str, str], list[Repository]]]:
    """What the mirror has and no list shows, and the repositories that may have it."""
    by_package: dict[str, list[Repository]] = {}
    for repository in tagged:
        for package in repository.packages:
            by_package.setdefault(package, []).append(repository)
    shown = {offer.key for offer in told.offers}
    for package in filter(run.ask.wanted.package, run.ask.known):
        for release, media_type in sorted(run.ask.known[package]):
            if (package, release, media_type) not in shown:
                yield (package, release, media_type), by_package.get(package, [])


def _holes(repository: Repository, error: CnrMirrorError, ask: Ask) -> Iterator[Hole]:
    yield Hole(repository.name, error.message[:1000], repository.package)
    if repository.below in ask.known:
        yield Hole(repository.name, error.message[:1000], repository.below)


def _left_out(left: dict[str, LeftByTag]) -> Iterator[str]:
    """Notes on what is no release, by reason."""
    words = {"image": "images", "artifact": "artifacts that are no package", "index": "indexes"}
    for why, word in words.items():
        found = [
            f"{repository}:{tag}"
            for repository, tags in left.items()
            for tag, one in tags.items()
            if one.why == why
        ]
        if found:
            yield f"left out, {len(found)} {word}: {_some(found)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")


# -- its kind -------------------------------------------------------------------------------------


class Oci(Web, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="oci"):
    """An OCI registry, whose charts and packages are taken.

    ``url``: ``oci://HOST`` or ``https://HOST``, with a prefix of names or not. ``repositories``:
    which ones; all of its catalog if none is named. ``namespace``: where all of it goes, whatever
    stands before the last part of a name; the part before it if it is not said. ``tags``: whose
    manifests are asked for: ``new``, ``all``. ``referrers``: take signatures and whatever refers to
    a release, too.
    """

    url: str
    repositories: list[str] = msgspec.field(default_factory=list)
    namespace: str = ""
    tags: Which = "new"
    referrers: bool = True


def web_address(url: str) -> str:
    """The address of a registry as HTTP knows it; ``oci://`` is ``https://``."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme="https")) if parts.scheme == "oci" else url


class _Kind:
    settings = Oci

    def check(self, settings: Oci) -> Iterator[Problem]:
        """See ``Kind``."""
        if settings.namespace:
            yield from bad_namespace("namespace", settings.namespace)
        for name in settings.repositories:
            if not is_repository(name):
                yield "repositories", f"{name!r} is not the name of a repository"
        if settings.url.startswith("oci:"):
            yield from bad_url("url", f"https:{settings.url.removeprefix('oci:')}")
        else:
            yield from bad_url("url", settings.url)

    def open(self, name: str, settings: Oci, room: SourceRoom) -> Source:
        """See ``Kind``."""
        return OciSource(
            name, room.http(web_address(settings.url), settings), settings.repositories,
            settings.namespace, room.vendor, room.limits.packed, settings.tags,
            settings.referrers, room.cache,
        )  # fmt: skip


KIND = _Kind()
