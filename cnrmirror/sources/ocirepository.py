"""One repository of an OCI registry: which packages it is, and which of its tags are releases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from cnrmirror.model.errors import CnrMirrorError, InputError, InvalidDocument
from cnrmirror.model.names import PackageName, Vendor, is_release, manifest_type, newest_first
from cnrmirror.sources.base import Ask, Hole, Offer
from cnrmirror.sources.helmindex import time_of
from cnrmirror.sources.ociattached import Attached, belongings
from cnrmirror.sources.ociclient import Client, is_tag
from cnrmirror.sources.ocimanifests import Content, LeftOut, Manifest, content_of, format_of

FORMATS = "formats"
"""The repository below a package's in which an index of all its formats lies, by release."""
_CREATED = "org.opencontainers.image.created"
_GONE = (404, 410)
Known = Mapping[str, Collection[tuple[str, str]]]


class Repository(msgspec.Struct, frozen=True, order=True):
    """A repository, and the packages that may lie in it.

    Args:
        name: on the registry.
        package: what its charts become, and whatever else it holds.
        below: what artifacts become whose media type is its last part; "" for nothing.
    """

    name: str
    package: str
    below: str = ""

    @classmethod
    def of(cls, name: str, prefix: str, namespace: str) -> Repository:
        """The repository of a name, below a prefix; "" for the namespace that its name tells."""
        parts = name.removeprefix(prefix).split("/")
        below = _package(parts[:-1], namespace) if len(parts) > 1 else ""
        return cls(name, _package(parts, namespace), below)

    @property
    def last(self) -> str:
        return self.name.rpartition("/")[2]

    def package_of(self, media_type: str) -> str:
        """What an artifact of this media type becomes."""
        apart = self.below and media_type != "helm" and self.last in (media_type, FORMATS)
        return self.below if apart or (self.below and self.last == FORMATS) else self.package

    @property
    def packages(self) -> Iterator[str]:
        """All that may be in it."""
        yield self.package
        if self.below:
            yield self.below

    def types_of(self, release: str, known: Known, elsewhere: Collection[str]) -> set[str]:
        """The media types that the mirror has of a release, as far as they are from here.

        Args:
            release: of whichever package.
            known: what the mirror has of each package.
            elsewhere: the media types that have a repository of their own below this one.
        """
        found = {(self.package, t) for r, t in known.get(self.package, ()) if r == release}
        found |= {(self.below, t) for r, t in known.get(self.below, ()) if r == release}
        return {t for package, t in found if package == self.package_of(t) and t not in elsewhere}


def _package(parts: Sequence[str], namespace: str) -> str:
    return f"{namespace or (parts[-2] if len(parts) > 1 else '?')}/{parts[-1]}"


class Tags(msgspec.Struct, frozen=True):
    """The tags of a repository.

    ``releases``: those that are one, by release. ``others``: those that speak of a manifest, or of
    whatever else. ``odd``: how many rows are no tags.
    """

    releases: dict[str, str]
    others: frozenset[str]
    odd: int

    @classmethod
    def of(cls, rows: Sequence[object]) -> Tags:
        """The tags in a list; a ``v`` before a version is left out, if there is no other tag."""
        tags = [str(row) for row in rows if is_tag(row)]
        releases: dict[str, str] = {}
        for tag in sorted(tags, key=lambda tag: (not tag.startswith("v"), tag), reverse=True):
            if release := release_of(tag):
                releases.setdefault(release, tag)
        # A plain tag goes before one with a "v".
        releases.update((release_of(tag), tag) for tag in tags if is_release(_plus(tag)))
        others = frozenset(tag for tag in tags if not release_of(tag))
        return cls(releases, others, len(rows) - len(tags))


def release_of(tag: str) -> str:
    """The release that a tag names, as Helm reads it (``_`` is ``+``); "" if none."""
    text = _plus(tag)
    plain = text if is_release(text) else text[1:] if text[:1] == "v" else ""
    return plain if is_release(plain) else ""


def tag_of(release: str) -> str:
    """The tag that Helm gives a release."""
    return release.replace("+", "_")


def _plus(tag: str) -> str:
    return tag.replace("_", "+")


class Told(msgspec.Struct):
    """What some tags of a repository came to. ``left``: why tags are no release, by tag."""

    offers: list[Offer]
    holes: list[Hole]
    notes: list[str]
    left: dict[str, LeftOut]

    @classmethod
    def nothing(cls) -> Told:
        return cls([], [], [], {})


class Asking:
    """One repository, asked for.

    Args:
        client: asks.
        repository: which one.
        tags: its tags.
        ask: what is wanted.
        vendor: whose words the manifests get that the registry has not.
        referrers: whether signatures and referrers are asked for.
        seen: the releases that need not be taken from an index: package, release, media type.
    """

    def __init__(
        self, client: Client, repository: Repository, tags: Tags, ask: Ask, vendor: Vendor,
        referrers: bool, seen: Collection[tuple[str, str, str]] = (),
    ) -> None:  # fmt: skip
        self._client = client
        self._repository = repository
        self._tags = tags
        self._ask = ask
        self._vendor = vendor
        self._referrers = referrers
        self._seen = seen

    def known(self, elsewhere: Collection[str]) -> Iterator[Offer]:
        """The releases that the mirror has already and that are there: no more is asked of them."""
        for release in self._tags.releases:
            types = self._repository.types_of(release, self._ask.known, elsewhere)
            for media_type in sorted(types):
                package = self._repository.package_of(media_type)
                full = manifest_type(media_type, self._vendor)
                yield Offer(package, release, media_type, "", full, "", 0, "")

    def some(self, releases: Sequence[str], enough: int) -> Told:
        """What these releases are, asked for in turn until enough are found; 0 for all."""
        told = Told.nothing()
        for release in releases:
            self.release(release, told)
            if enough and len({offer.release for offer in told.offers}) >= enough:
                break
        return told

    def hidden(self, release: str) -> Told:
        """What there is of a release that no list shows; nothing, if it is gone."""
        told = Told.nothing()
        self.release(release, told, listed=False)
        return told

    def release(self, release: str, told: Told, listed: bool = True) -> None:
        """Ask for one release.

        Args:
            told: gets what there is.
            listed: whether the list of tags has it: then it is a hole if it is not there.
        """
        tag = self._tags.releases.get(release, tag_of(release))
        try:
            manifest = self._client.manifest(self._repository.name, tag)
            self._take(manifest, release, tag, told)
        except CnrMirrorError as error:
            if listed or error.details.get("status") not in _GONE:
                hole = Hole.of_release(self._hole_package(release), release, error.message[:1000])
                told.holes.append(hole)

    def _hole_package(self, release: str) -> str:
        below = (release, self._repository.last) in self._ask.known.get(self._repository.below, ())
        return self._repository.below if below else self._repository.package

    def _take(self, manifest: Manifest, release: str, tag: str, told: Told) -> None:
        content = content_of(manifest)
        if isinstance(content, Content):
            self._offer(manifest, content, release, told)
            return
        formats = [m for m in manifest.members if format_of(m)] if content.why == "index" else []
        if not formats:
            told.left[tag] = content
        for member in formats:
            if self._is_wanted(format_of(member), release):
                found = self._client.manifest(self._repository.name, member.digest)
                inner = content_of(found)
                if not isinstance(inner, Content):
                    raise InvalidDocument(f"{member.digest}: not the package that its index names")
                self._offer(found, inner, release, told)

    def _is_wanted(self, media_type: str, release: str) -> bool:
        key = self._repository.package_of(media_type), release, media_type
        return self._is_asked_for(key[0], media_type) and key not in self._seen

    def _is_asked_for(self, package: str, media_type: str) -> bool:
        wanted = self._ask.wanted
        return wanted.package(package) and wanted.filter.takes_type(media_type)

    def _offer(self, manifest: Manifest, content: Content, release: str, told: Told) -> None:
        package = self._repository.package_of(content.media_type)
        if not self._is_asked_for(package, content.media_type):
            return
        try:
            PackageName.parse(package)
        except InputError as error:
            reason = error.message
            if package.startswith("?/"):
                reason = "its name has no namespace: set one in mirror.yaml, namespace: …"
            told.holes.append(Hole(self._repository.name, reason, package))
            return
        attached = self._attached(manifest, content)
        if attached.left:
            told.notes.append(f"{package}@{release}: {attached.left} manifests that refer to it "
                              "are too many or too large, and left out")  # fmt: skip
        told.offers.append(
            Offer(
                package, release, content.media_type, time_of(manifest.annotations.get(_CREATED)),
                content.manifest_type or manifest_type(content.media_type, self._vendor), "",
                content.archive.size, content.archive.hex, blob_digest=content.archive.hex,
                attachments=attached.attachments,
            )
        )  # fmt: skip

    def _attached(self, manifest: Manifest, content: Content) -> Attached:
        others = self._tags.others if self._referrers else None
        return belongings(self._client, self._repository.name, manifest, content, others)


def releases_to_ask(
    tags: Tags, ask: Ask, known: Collection[str], left: Collection[str]
) -> list[str]:
    """The releases of a repository to ask for, newest first.

    Args:
        tags: its tags.
        ask: what is wanted.
        known: the releases that need no asking.
        left: the tags that are no release, as an earlier run has found.
    """
    chosen = ask.wanted.filter
    asked: list[str] = []
    had = 0
    for release in newest_first(chosen.possible(tags.releases, ())):
        if chosen.newest and had == chosen.newest:
            break
        if release in known:
            had += 1
        elif tags.releases[release] not in left:
            asked.append(release)
    return asked
