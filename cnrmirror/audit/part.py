"""One part of an audit: what was read of a catalog, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cnrmirror.audit.views import ViewAudit
from cnrmirror.catalog.nodes import RemoteNodes
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import (
    ArchiveFacts,
    Branch,
    CatalogRoot,
    Facts,
    Leaf,
    Node,
    PackageDocument,
    PackageRef,
    blob_path,
    name_digest,
    node_path,
)
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.finding import Finding, Problem
from cnrmirror.objects.base import Reader, blob_pieces
from cnrmirror.views.base import Package
from cnrmirror.views.site import Site


class Part:
    """Reads a part of a mirror and goes on after a fault; parts are added up (``add``).

    ``expected`` are the paths of the catalog that must be there, ``blobs`` the blobs that were
    found good: their sizes by their digests. A part is used by one thread.

    Args:
        site: renders the views of the mirror.
    """

    def __init__(self, reader: Reader, site: Site) -> None:
        self._reader = reader
        self._site = site
        self._nodes = RemoteNodes(reader)
        self.findings: list[Finding] = []
        self.expected: set[str] = set()
        self.blobs: dict[str, int] = {}
        self.views = ViewAudit(reader, site)

    def add(self, other: Part) -> None:
        """Take over all that another part saw."""
        self.findings += other.findings
        self.expected |= other.expected
        self.blobs |= other.blobs
        self.views.add(other.views)

    @property
    def all_findings(self) -> list[Finding]:
        """What is wrong with the catalog and with the views."""
        return [*self.findings, *self.views.findings]

    def find(self, path: str, problem: Problem, reason: str) -> None:
        """Something is wrong."""
        self.findings.append(Finding(path, problem, reason))

    def root(self, at: Descriptor) -> CatalogRoot | None:
        """A catalog root; None, and a finding, if it cannot be used."""
        root = self._node(at.digest, at.size, CatalogRoot)
        return root if isinstance(root, CatalogRoot) else None

    def document(self, ref: PackageRef) -> PackageDocument | None:
        """A package document; None, and a finding, if it cannot be used."""
        document = self._node(ref.digest, ref.size, PackageDocument)
        if not isinstance(document, PackageDocument):
            return None
        if document.package != ref.name or len(document.releases) != ref.releases:
            self.find(node_path(ref.digest), "wrong", f"not the document of {ref.name}")
            return None
        return document

    def package(self, document: PackageDocument) -> Package:
        """A package as views see it; what cannot be read of its facts is a finding."""
        facts: dict[str, ArchiveFacts] = dict(document.inline_facts)
        for node in document.facts:
            found = self._node(node.digest, node.size, Facts)
            if isinstance(found, Facts):
                if found.package != document.package:
                    self.find(node_path(node.digest), "wrong", f"not of {document.package}")
                facts |= found.archives
        return Package(document, facts)

    def blob(self, blob: Descriptor, copy: Path | None = None) -> bool:
        """Whether a blob is good; its bytes go to ``copy``."""
        path = blob_path(blob.digest)
        self.expected.add(path)
        try:
            with open(copy or os.devnull, "wb") as stream:
                stream.writelines(blob_pieces(self._reader, blob, path))
        except CnrMirrorError as error:
            self.findings.append(Finding.of(path, error))
            return False
        self.blobs[blob.digest] = blob.size
        return True

    def walk(self, tree: Node, seen: set[str] | None = None) -> Iterator[PackageRef]:
        """Every package below a tree, but for what cannot be read.

        Args:
            seen: digests of nodes that are not read again; those that are read are put in.
        """
        if isinstance(tree, Leaf):
            yield from tree.packages
            return
        for nibble, child in sorted(tree.children.items()):
            if seen is not None and child.digest in seen:
                continue
            node = self._node(child.digest, child.size, Node)
            if not isinstance(node, Leaf | Branch):
                continue
            if seen is not None:
                seen.add(child.digest)
            if _belongs(node, tree.prefix + nibble):
                yield from self.walk(node, seen)
            else:
                reason = f"not the node of {tree.prefix + nibble!r}"
                self.find(node_path(child.digest), "wrong", reason)

    def _node(self, digest: str, size: int, kind: type[Any] | Any) -> object | None:
        path = node_path(digest, kind)
        self.expected.add(path)
        try:
            node: object = self._nodes.get(digest, size, kind)
        except CnrMirrorError as error:
            self.findings.append(Finding.of(path, error))
            return None
        return node


def _belongs(node: Node, prefix: str) -> bool:
    names = node.packages if isinstance(node, Leaf) else []
    return node.prefix == prefix and all(name_digest(r.name).startswith(prefix) for r in names)
