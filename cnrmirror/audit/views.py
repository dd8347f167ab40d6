"""The registry's answers at a mirror elsewhere, held against what the catalog says they must be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import msgspec

from cnrmirror.audit.files import Known
from cnrmirror.audit.journal import Noted
from cnrmirror.audit.pieces import Content, blob_of, content, equal
from cnrmirror.audit.place import addresses
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import CnrMirrorError, IncompleteError, Tampered
from cnrmirror.model.finding import Finding, Problem
from cnrmirror.model.resource import Alias, Base64Json, Resource
from cnrmirror.objects.base import Reader, read
from cnrmirror.views.base import Package
from cnrmirror.views.forms import without_markup
from cnrmirror.views.layout import location_of, may_lead_on
from cnrmirror.views.site import Site, ViewEntries

FRONT = "packages/index.html"
_MAX_ALIAS = 64 << 20
_MAX_LOCATION = 2048
_FORMATLESS = "it does not know ?format=json and the filters of lists"
_NONE: Mapping[str, Resource] = MappingProxyType({})
_REDIRECT = "redirect"
_LACKING = {
    _REDIRECT: "its archives are redirects, which only a website endpoint follows",
    "base64 by digest": "it has no base64 forms under digests, which some Go clients ask for",
    "base64": "it has no base64 forms of archives, which 'appr pull' and 'cnr pull' ask for",
    "slash": "it has no /v2/, which OCI clients ask first",
    "dash": "it has no '-' for the only media type, which 'appr pull' asks for without -t",
}
_JSON_PULL = "its …/pull is JSON, as appr asks for it, not the archive"


def is_form(kind: str) -> bool:
    """Whether this names a form that a place need not have, as ``journal.Noted`` has them."""
    parts = kind.removesuffix(" by digest").split("/")
    return kind == _REDIRECT or all(part in ("base64", "dash", "slash") for part in parts)


def is_note(text: str) -> bool:
    """Whether that may be said of a package that is good."""
    return text in (_FORMATLESS, _JSON_PULL)


class Copies:
    """Blobs that were read, as archives for views (``base.Archives``)."""

    def __init__(self, copies: Mapping[str, Path]) -> None:
        self._copies = copies

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        """See ``base.Archives``."""
        if blob.digest not in self._copies:
            raise IncompleteError(f"{blob.digest} was not read")
        return self._copies[blob.digest].open("rb")


class ViewAudit:
    """Compares views of a mirror with what they must be; what was seen is added up (``add``).

    ``known`` are the views that must be there, ``count`` is how many were compared.

    Args:
        site: renders the views of the mirror.
    """

    def __init__(self, reader: Reader, site: Site) -> None:
        self._reader = reader
        self._site = site
        self.known = Known()
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.count = 0
        self._had: set[str] = set()
        self._lacking: dict[str, list[str]] = {}

    def add(self, other: ViewAudit) -> None:
        """Take over all that another one saw."""
        self.known.paths |= other.known.paths
        self.known.aliases |= other.known.aliases
        self.findings += other.findings
        self.count += other.count
        self._had |= other._had
        for kind, paths in other._lacking.items():
            self._lacking.setdefault(kind, []).extend(paths)
        for note in other.notes:
            self.note(note)

    def note(self, note: str) -> None:
        """Say something once that is no fault."""
        if note not in self.notes:
            self.notes.append(note)

    def noted(self, key: str) -> Noted:
        """What is to be noted of a package that was found good, and of nothing else."""
        return Noted(key, sorted(self._had), self._lacking, self.notes)

    def know(self, package: Package, noted: Noted) -> None:
        """The views of a package that was found good before."""
        for resource in self._site.package(package.only_named()):
            self._know(resource)
        self._had.update(noted.forms)
        for kind, paths in noted.lacking.items():
            self._lacking.setdefault(kind, []).extend(paths)
        for note in noted.notes:
            self.note(note)

    def package(self, package: Package, copies: dict[str, Path]) -> None:
        """Every view of a package.

        Args:
            copies: the good blobs by their digests; what is made of others is not compared.
        """
        if self._site.renders(FRONT):  # else nobody looks into archives
            package = msgspec.structs.replace(package, archives=Copies(copies))
        resources = {r.path: r for r in self._site.package(package)}
        beside: dict[str, list[Resource]] = {}
        for path, resource in resources.items():
            beside.setdefault(path.rpartition("/")[0], []).append(resource)
        for resource in resources.values():
            if not isinstance(resource.body, Alias):
                self._view(resource, copies, resources)
                continue
            self._know(resource)
            base = resource.body.seen_from(resource.path)
            others = [resources[base]] if resource.body.single else beside[base]
            if self._is_link(resource.path, resource.body):
                self._had.update(filter(None, (_kind(resource, other) for other in others)))
                continue
            for other in others:
                copy = msgspec.structs.replace(other, path=resource.path + other.path[len(base) :])
                kind = _kind(resource, other)
                self._checked(copy, copies, resources.get(f"{base}/pull.json"), kind)

    def settle(self) -> None:
        """All packages were looked at: a form that some have, and others lack, is missing there.

        One that nobody has was not chosen for the place.
        """
        for kind, paths in sorted(self._lacking.items()):
            if kind not in self._had:
                self.note(_LACKING[next(word for word in _LACKING if word in kind)])
                continue
            problem: Problem = "wrong" if kind == _REDIRECT else "missing"
            reason = "in another form than elsewhere in this mirror"
            self.findings += [Finding(path, problem, reason) for path in paths]
        self._lacking.clear()

    def lists(self, entries: ViewEntries, root: CatalogRoot) -> None:
        """The lists, which need all packages."""
        for resource in self._site.all_lists(self._site.grouped(entries), root):
            self._view(resource, {})

    def fixed(self) -> None:
        """The files that do not depend on the packages."""
        for resource in self._site.fixed():
            # A web server shows its error documents only as errors.
            shown = self._reader.folder is not None or "/40" not in resource.path
            if shown and not isinstance(resource.body, Alias):
                self._view(resource, {})

    def _know(self, resource: Resource) -> None:
        self.count += 1
        self.known.add(resource)

    def _is_link(self, path: str, alias: Alias) -> bool:
        """Whether it is there as what it is in a site: a link to the same files."""
        folder = self._reader.folder
        link = folder / path if folder is not None else None
        return link is not None and link.is_symlink() and os.readlink(link) == alias.target

    def _view(
        self, resource: Resource, copies: dict[str, Path], others: Mapping[str, Resource] = _NONE
    ) -> None:
        """One view, asked for as a client would; ``others`` are those of its package."""
        self._know(resource)
        folder = self._reader.folder
        if resource.by_rule and folder is not None and not (folder / resource.path).exists():
            return  # the host finds the blob by a rule
        path = resource.path
        base64 = others.get(f"{path}.json") if path.endswith("/pull") else None
        self._checked(resource, copies, base64, _kind(resource, resource))

    def _checked(
        self, resource: Resource, copies: dict[str, Path], base64: Resource | None, kind: str
    ) -> None:
        """Compare one file.

        Args:
            base64: the form in which …/pull is on some hosts.
            kind: of a form that a place need not have; "" for what it must have.
        """
        try:
            compared = self._look(resource, copies, base64)
        except CnrMirrorError as error:
            if kind and self._lacks(resource, copies):
                self._lacking.setdefault(kind, []).append(resource.path)
            else:
                self.findings.append(Finding.of(resource.path, error))
        else:
            if kind and compared:
                self._had.add(kind)

    def _look(self, resource: Resource, copies: dict[str, Path], base64: Resource | None) -> bool:
        """Whether it could be compared; raises what ``_compare`` does."""
        body = resource.body
        if not self._site.renders(resource.path):
            return False  # by templates that are not here
        if isinstance(body, Alias):
            self._alias(resource.path, body)
        elif isinstance(body, bytes) or blob_of(body).digest in copies:
            self._compare(resource.path, body, copies, base64)
        else:
            return False
        return True

    def _lacks(self, resource: Resource, copies: dict[str, Path]) -> bool:
        """Whether the mirror answers as one that has not this form: with nothing.

        A host that does not know ``?format=json`` gives the archive itself, or the form that it has
        there.
        """
        for address in self._addresses(resource.path):
            try:
                if "?" in address and isinstance(resource.body, Base64Json):
                    archive = resource.body.blob
                    with content(archive, copies) as expected:
                        equal(self._reader.ask(address, archive.size), expected, address)
                else:
                    read(self._reader.ask(address, 1))  # whether there is anything
                    return False
            except IncompleteError:
                continue
            except CnrMirrorError:
                return False
        return True

    def _compare(
        self,
        path: str,
        body: Content,
        copies: dict[str, Path],
        other: Resource | None,
    ) -> None:
        try:
            self._same(path, body, copies)
            if isinstance(body, Descriptor) and may_lead_on(path):
                self._had.add(_REDIRECT)
        except Tampered:
            if isinstance(body, bytes) and path.endswith("/index.json"):
                # A host that only knows index.html has it so.
                self._same(path, without_markup(body), copies)
                return
            if isinstance(body, Descriptor) and self._leads_on(path, body):
                self._lacking.setdefault(_REDIRECT, []).append(path)
                return
            # …/pull is JSON on some hosts.
            if other is None or not isinstance(other.body, Base64Json):
                raise
            self._same(path, other.body, copies)
            self.note(_JSON_PULL)

    def _leads_on(self, path: str, blob: Descriptor) -> bool:
        """Whether a bucket has an object there that sends its website's readers to the blob."""
        if self._reader.views != "keys" or not may_lead_on(path):
            return False
        try:
            said = read(self._ask(path, _MAX_LOCATION))
        except CnrMirrorError:
            return False
        return said == location_of(self._reader.prefix, blob).encode()

    def _same(self, path: str, body: Content, copies: dict[str, Path]) -> None:
        """Raises Tampered, IncompleteError or NetworkError if no address of it gives its bytes."""
        size = len(body) if isinstance(body, bytes) else body.size
        first: CnrMirrorError | None = None  # or the first that says more than "missing"
        for address in self._addresses(path):
            try:
                with content(body, copies) as expected:
                    equal(self._reader.ask(address, size), expected, path)
            except (Tampered, IncompleteError) as error:
                if first is None or isinstance(first, IncompleteError):
                    first = error
                continue
            if first is not None and self._reader.views == "addresses":
                self.note(_FORMATLESS)
            return
        assert first is not None
        raise first

    def matches(self, resource: Resource, copies: dict[str, Path]) -> bool:
        """Whether the mirror answers as this view does, which it need not have."""
        body = resource.body
        try:
            if isinstance(body, Alias):
                self._alias(resource.path, body)
            elif isinstance(body, bytes) or blob_of(body).digest in copies:
                self._same(resource.path, body, copies)
            else:
                return False
        except CnrMirrorError:
            return False
        return True

    def _addresses(self, path: str) -> list[str]:
        return addresses(self._reader, self._site, path)

    def _ask(self, path: str, max_bytes: int) -> Iterator[bytes]:
        return self._reader.ask(self._addresses(path)[0], max_bytes)

    def _alias(self, path: str, alias: Alias) -> None:
        """It must be the link, or answer as its target does."""
        if self._is_link(path, alias):
            return
        document = "" if alias.single else "/index.json"
        target = alias.seen_from(path)
        expected = read(self._ask(target + document, _MAX_ALIAS))
        if read(self._ask(path + document, _MAX_ALIAS)) != expected:
            raise Tampered(f"{path}: does not answer as {target} does")


def _kind(named: Resource, file: Resource) -> str:
    """Which form a file is that a place need not have; "" if it must have it.

    Args:
        named: the file, or the alias that leads to it.
    """
    forms = "/".join(dict.fromkeys(filter(None, (named.form, file.form))))
    return f"{forms} by digest" if forms and "/blobs/" in named.path else forms
