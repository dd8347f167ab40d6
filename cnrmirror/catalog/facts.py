"""Facts nodes: what one look into each archive of a package told, beside its document.

Few facts stand in the document itself: a file of their own would cost more. More hang on it as
nodes, so that a cold pull never reads them. A node holds at most ``FACTS_MAX`` archives: more are
split by the hex digits of their digests, as the tree is. So all of it follows from the content
alone, and a push rewrites one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from cnrmirror.catalog.tree import Catalog
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import FACTS_MAX, ArchiveFacts, Facts, PackageDocument
from cnrmirror.model.format import Format

INLINE_MAX = 2048
"""Bytes of facts that stand in the document itself."""

_IMAGES_SINCE = 2  # a writer version
_BEFORE_IMAGES = 2  # an extractor

_NONE: tuple[list[Descriptor], dict[str, ArchiveFacts]] = ([], {})


def with_facts(
    catalog: Catalog,
    document: PackageDocument,
    old: PackageDocument | None,
    fresh: Mapping[str, ArchiveFacts],
) -> PackageDocument:
    """The document with the facts of all its archives, as far as they are known.

    Args:
        catalog: reads the facts that ``document`` and ``old`` name, and stores new nodes.
        old: the document before the change.
        fresh: new facts, by the digest of the archive. Of two, the higher extractor's stay.
    """
    archives = {release.blob.digest for release in document.releases}
    fresh = {digest: facts for digest, facts in fresh.items() if digest in archives}
    before = {release.blob.digest for release in old.releases} if old else set()
    given = document.facts, document.inline_facts
    if not fresh and old and archives == before and given in (_NONE, (old.facts, old.inline_facts)):
        return msgspec.structs.replace(document, facts=old.facts, inline_facts=old.inline_facts)
    known: dict[str, ArchiveFacts] = {}
    sources = [catalog.facts(d) for d in (old, document) if d is not None]
    for some in (*sources, fresh):
        for digest, facts in some.items():
            if digest not in archives:
                continue
            other = known.get(digest)
            if other is None:
                known[digest] = facts
            elif other.extractor < facts.extractor:
                known[digest] = _instead(other, facts)
    known = dict(sorted(known.items()))
    if len(msgspec.json.encode(known)) <= INLINE_MAX:
        return msgspec.structs.replace(document, facts=[], inline_facts=known)
    nodes = [catalog.store.put(Facts(document.package, group)) for group in _groups(known)]
    return msgspec.structs.replace(document, facts=sorted(nodes), inline_facts={})


def _instead(old: ArchiveFacts, new: ArchiveFacts) -> ArchiveFacts:
    """Newer facts in the place of old ones, with the chart as it was seen first, if it differs.

    A manifest that was made of it has a digest that people pin, whatever is seen today.
    """
    first = old.first or (old.chart if old.chart != new.chart else {})
    return msgspec.structs.replace(new, first=first if first != new.chart else {})


def has_room_for_images(format: Format) -> bool:
    """Whether a catalog of this format keeps all that this program finds in an archive."""
    return format.write >= _IMAGES_SINCE


def facts_for(format: Format, fresh: Mapping[str, ArchiveFacts]) -> Mapping[str, ArchiveFacts]:
    """New facts as a catalog of this format can keep them.

    A program that may write beside a format before 2 knows of no images, and would lose them
    without a word: there, facts are those of extractor 2.
    """
    if has_room_for_images(format):
        return fresh
    return {
        digest: ArchiveFacts(min(facts.extractor, _BEFORE_IMAGES), facts.chart)
        for digest, facts in fresh.items()
    }


def _groups(facts: dict[str, ArchiveFacts], depth: int = 0) -> Iterator[dict[str, ArchiveFacts]]:
    if len(facts) <= FACTS_MAX:
        if facts:
            yield facts
        return
    below: dict[str, dict[str, ArchiveFacts]] = {}
    for digest, each in facts.items():
        below.setdefault(digest[depth], {})[digest] = each
    for _, group in sorted(below.items()):
        yield from _groups(group, depth + 1)
