"""Export: exactly what a receiver lacks, in volumes for a medium, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from cnrmirror.airgap.have import read_have
from cnrmirror.bundle import format as bundle
from cnrmirror.bundle.format import NO_DIGEST, Contents, Member, Selection, Volume
from cnrmirror.bundle.read import read_contents
from cnrmirror.catalog.delta import immutable_files, metadata_files
from cnrmirror.catalog.tree import EMPTY
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, PackageDocument, Release, blob_path, node_path
from cnrmirror.model.errors import ConflictError, DamageError, InputError, NotFoundError
from cnrmirror.model.format import KNOWN
from cnrmirror.model.names import matches
from cnrmirror.model.progress import stage
from cnrmirror.model.receipt import Receipt, receipt_in
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import TIMESTAMP, SignedHead
from cnrmirror.objects.files import storage_errors
from cnrmirror.publish.plan import size_of
from cnrmirror.sources.filters import glob_matches
from cnrmirror.views.front import recovery_script
from cnrmirror.views.templates import environment

_GONE = "not all that was in that bundle is kept here any more: export anew"
_ORDER = {"targets": 0, "nodes": 1, "blobs": 2}


class Job(msgspec.Struct, frozen=True):
    """An export as it will be: what goes into which volume."""

    contents: Contents
    volumes: list[list[Member]]
    timestamp: bytes

    @property
    def bytes(self) -> int:
        return sum(volume.size for volume in self.contents.volumes)

    @property
    def files(self) -> int:
        return sum(map(len, self.volumes))


def receipt_of(project: Project, signed: SignedHead) -> Receipt:
    """The receipt of a signed head."""
    root = project.catalog.root(signed.at)
    return Receipt(
        root.registry, signed.revision, signed.at.digest, signed.kept.root, signed.version,
        root.time,
    )  # fmt: skip


def since_digest(project: Project, text: str) -> str:
    """The catalog digest that REV, RECEIPT or HAVE-FILE means.

    Raises:
        NotFoundError: no such revision is kept.
        InputError, InvalidDocument: none of the three, or of another registry.
    """
    if text.startswith("cnrmirror-receipt"):
        return _ours(project, Receipt.parse(text).registry, Receipt.parse(text).catalog)
    path = Path(text)
    if not path.is_file():
        return project.revision(text)[0].digest
    with path.open("rb") as stream:
        data = stream.read(1 << 20)
    if receipt := receipt_in(data.decode(errors="replace")):
        return _ours(project, receipt.registry, receipt.catalog)
    have = read_have(data, text)
    return _ours(project, have.registry, have.catalog)


def _ours(project: Project, registry: str, catalog: str) -> str:
    if registry != project.config.id:
        raise InputError(f"that is of registry {registry}, this mirror is {project.config.id}")
    return catalog


def plan_again(project: Project, before: Contents) -> Job:
    """The same export as before, although the mirror may have gone on since.

    Raises:
        ConflictError: not all that was in it is kept any more.
    """
    try:
        signed = project.metadata.signed_head_at(before.timestamp.encode())
        job = plan(project, before.cut, signed)
    except (DamageError, NotFoundError) as error:
        raise ConflictError(f"{_GONE} ({error.message})") from error
    undone = [msgspec.structs.replace(v, digest=NO_DIGEST) for v in before.volumes]
    if not job.contents.same_as(before) or job.contents.volumes != undone:
        raise ConflictError(_GONE)
    return msgspec.structs.replace(job, contents=before)


def plan(project: Project, cut: Selection, signed: SignedHead) -> Job:
    """What an export of a signed head is: its files, sizes and volumes.

    Raises:
        NotFoundError: what the receiver has is not kept here any more.
        InputError: a file is larger than a volume.
    """
    if cut.catalog != signed.at.digest:
        raise InputError("that table of contents is of two signed heads: it was changed on the way")
    known = _known(project, signed, cut.since)
    members = [_member(resource) for resource in _signed(project, signed, known)]
    members += _immutable(project, signed, known, cut)
    volumes = bundle.plan_volumes(members, cut.volume_size)
    measured = [
        bundle.measure(bundle.volume_name(number), volume)
        for number, volume in enumerate(volumes, 1)
    ]
    root = project.catalog.root(signed.at)
    selected = sorted(_selected(project, root, cut)) if cut.is_part else []
    contents = Contents(
        KNOWN, root.registry, root.revision, known.revision if known else -1, root.time,
        str(receipt_of(project, signed)), signed.timestamp.decode(), cut, measured, selected,
    )  # fmt: skip
    return Job(contents, volumes, signed.timestamp)


def is_retained(project: Project, signed: SignedHead, catalog: str) -> bool:
    """Whether a difference to a revision can be cut: it is still in the mirror's history."""
    return any(at.digest == catalog for at, _ in project.catalog.history(signed.at))


def _known(project: Project, signed: SignedHead, since: str) -> CatalogRoot | None:
    if not since:
        return None
    for at, root in project.catalog.history(signed.at):
        if at.digest == since:
            return root
    raise NotFoundError(
        f"catalog {since} is not kept here any more, so no difference can be cut: "
        "export without --since, and keep more revisions (retention in mirror.yaml)"
    )


def _signed(project: Project, signed: SignedHead, known: CatalogRoot | None) -> list[Resource]:
    """The signed files: all that are kept, or those that the receiver may lack.

    A revision may be signed more than once, so those of the one that it has are among them.
    """
    found = [Resource(TIMESTAMP, signed.timestamp)]
    for resource in metadata_files(project.metadata, signed, None):
        name = resource.path.rpartition("/")[2]
        role = name.split(".")[1]
        if known is None or role in ("root", "targets") or _may_lack(project, name, role, known):
            found.append(resource)
    return found


def _may_lack(project: Project, name: str, role: str, known: CatalogRoot) -> bool:
    """Whether a catalog file, or the one that a snapshot names, is not of an older revision."""
    signed = project.metadata.role(name)
    if role == "snapshot":
        name = f"{signed.meta['catalog.json'].version}.catalog.json"
        if project.metadata.find(name) is None:
            return False
        signed = project.metadata.role(name)
    return int(signed.targets["catalog.json"].custom["revision"]) >= known.revision


def _immutable(
    project: Project, signed: SignedHead, known: CatalogRoot | None, cut: Selection
) -> list[Member]:
    """Roots and nodes first: they say what the blobs are for; then blobs, by their digests."""
    if cut.is_part:
        found = set(_part(project, signed, known, cut))
    else:
        batches = immutable_files(project.store, project.catalog, signed, known)
        found = {_member(resource) for batch in batches for resource in batch}
        # Who has this revision already may not keep its root; and it is signed again at times.
        found.add(_root_member(signed))
    return sorted(found, key=lambda member: (_ORDER[member.path.split("/")[1]], member.path))


def _part(
    project: Project, signed: SignedHead, known: CatalogRoot | None, cut: Selection
) -> Iterator[Member]:
    """The current catalog's nodes, the documents of the chosen packages, the chosen archives."""
    catalog = project.catalog
    root = catalog.root(signed.at)
    yield _root_member(signed)
    for child in catalog.nodes(root.tree):
        yield Member(node_path(child.digest), child.size)
    for name, document in _selected(project, root, cut).items():
        ref = catalog.find(root.tree, name)
        assert ref is not None
        for node in (Descriptor(ref.digest, ref.size), *document.facts):
            yield Member(node_path(node.digest), node.size)
        old = catalog.get(known.tree if known else EMPTY, name)
        part = msgspec.structs.replace(document, releases=chosen(document, cut))
        for blob in part.blobs() - (old.blobs() if old else set()):
            yield Member(blob_path(blob.digest), blob.size)


def _root_member(signed: SignedHead) -> Member:
    return Member(node_path(signed.at.digest, CatalogRoot), signed.at.size)


def _selected(project: Project, root: CatalogRoot, cut: Selection) -> dict[str, PackageDocument]:
    found = {}
    for ref in sorted(project.catalog.packages(root.tree)):
        if cut.packages and not any(glob_matches(ref.name, p) for p in cut.packages):
            continue
        if any(glob_matches(ref.name, p) for p in cut.exclude):
            continue
        document = project.catalog.document(ref)
        if chosen(document, cut):
            found[ref.name] = document
    return found


def chosen(document: PackageDocument, cut: Selection) -> list[Release]:
    """The releases of a package that a part has."""
    current = {c.current for c in document.channels if c.name in cut.channels}
    return [
        r
        for r in document.releases
        if (not cut.media_types or r.media_type in cut.media_types)
        and (not cut.channels or r.release in current)
        and (not cut.releases or matches(r.release, cut.releases))
    ]


def _member(resource: Resource) -> Member:
    return Member(resource.path, size_of(resource))


def write(project: Project, folder: Path, job: Job, only: int | None = None) -> Contents:
    """Write the bundle, or one volume of it again; bundle.json comes last.

    Raises:
        ConflictError: there is another bundle in the folder, or a volume is not what it was.
        InputError: there is no such volume.
    """
    if only is not None and not 1 <= only <= len(job.volumes):
        raise InputError(f"there are {len(job.volumes)} volumes, no number {only}")
    numbers = [only] if only is not None else range(1, len(job.volumes) + 1)
    written: list[Volume] = []
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder, job)
        files = sum(len(job.volumes[number - 1]) for number in numbers)
        with stage(project.progress, f"Writing {folder}", files) as progress:
            for number in numbers:
                volume = job.contents.volumes[number - 1]
                before = None if volume.digest == NO_DIGEST else volume
                members = job.volumes[number - 1]
                opened = _opener(project, job)
                written.append(
                    bundle.write_volume(folder, volume.name, members, opened, progress, before)
                )
        if only is not None:
            return msgspec.structs.replace(job.contents, volumes=written)
        contents = msgspec.structs.replace(job.contents, volumes=written)
        readme = environment().get_template("bundle.txt").render(contents=contents)
        bundle.write_text(folder, contents, readme, recovery_script())
    return contents


def _check_folder(folder: Path, job: Job) -> None:
    """Nothing of another bundle may be there. Raises ConflictError."""
    known = {volume.name for volume in job.contents.volumes}
    if any(path.name not in known for path in folder.glob("volume-*.tar")):
        raise ConflictError(f"{folder}: there are volumes of another bundle: take another folder")
    toc = folder / bundle.TOC
    if toc.exists() and not job.contents.same_as(read_contents(toc)):
        raise ConflictError(f"{folder}: there is another bundle already: take another folder")


def _opener(project: Project, job: Job) -> Callable[[Member], BinaryIO]:
    def opened(member: Member) -> BinaryIO:
        if member.path == TIMESTAMP:  # the only file that may have changed since
            return io.BytesIO(job.timestamp)
        return project.open_file(member.path)

    return opened
