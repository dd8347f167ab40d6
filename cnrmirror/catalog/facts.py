"""Facts nodes: what one look into each archive of a package told, beside its document.

The nodes hang on the package's document, so a cold pull never reads them. A node holds at most
``FACTS_MAX`` archives: more are split by the hex digits of their digests, as the tree is, so the
nodes follow from the content alone, and a push rewrites one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from cnrmirror.catalog.tree import Catalog
from cnrmirror.model.documents import FACTS_MAX, ArchiveFacts, Facts, PackageDocument


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
    if not fresh and old and archives == before and document.facts in ([], old.facts):
        return msgspec.structs.replace(document, facts=old.facts)
    known: dict[str, ArchiveFacts] = {}
    sources = [catalog.facts(d) for d in (old, document) if d is not None]
    for some in (*sources, fresh):
        for digest, facts in some.items():
            other = known.get(digest)
            if digest in archives and (other is None or other.extractor <= facts.extractor):
                known[digest] = facts
    nodes = [
        catalog.store.put(Facts(document.package, dict(sorted(group.items()))))
        for group in _groups(known)
    ]
    return msgspec.structs.replace(document, facts=sorted(nodes))


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
