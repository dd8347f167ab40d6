"""A mirror made again from what was published of it: with its keys, or with new ones.

With its keys, everything comes over as it was signed, file for file, and the next revision
continues it. With new keys, the packages, channels and tombstones come over as they are, into a
registry of its own; whoever pinned the old root has to pin the new one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from cnrmirror.airgap.follow import follow
from cnrmirror.catalog.delta import Span, bring
from cnrmirror.catalog.nodes import LayeredNodes, RemoteNodes
from cnrmirror.catalog.tree import EMPTY
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.config import FILE_NAME, first_text, load
from cnrmirror.mirror.create import Made, create_follower, read_root
from cnrmirror.mirror.layout import Layout
from cnrmirror.mirror.prepare import refuse_mirror
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.model.progress import Progress, stage
from cnrmirror.objects.base import Reader
from cnrmirror.objects.files import replace_durably, storage_errors
from cnrmirror.trust.verify import Policy, Trust


class Adopted(msgspec.Struct, frozen=True):
    """A mirror that was made again; ``expires``: until when readers take what is signed."""

    folder: str
    id: str
    revision: int
    catalog: str
    packages: int
    expires: str


class WouldAdopt(msgspec.Struct, frozen=True):
    """What would be made; ``archives``, ``bytes``: those of the newest revision.

    ``id``: of the registry that is there; with new keys another one is made.
    """

    folder: str
    id: str
    revision: int
    catalog: str
    packages: int
    archives: int
    bytes: int
    dry_run: Literal[True] = True


def rehearse(
    folder: Path, reader: Reader, root: Path, now: datetime, progress: Progress, anew: bool
) -> WouldAdopt:
    """What would be made of what was published: every document is read, and no archive.

    Args:
        anew: with new keys, as a registry of its own.

    Raises:
        As ``adopt``.
    """
    if _is_site_of(folder, reader) and not anew:
        _refuse_configured(folder)
    elif anew or not _was_begun(folder, root):
        refuse_mirror(folder)
    remote = verified(reader, root, now)
    there = remote.verified
    archives: set[Descriptor] = set()
    with stage(progress, f"Reading {reader.name}", there.root.packages) as steps:
        for ref in remote.catalog.packages(there.root.tree):
            archives |= remote.catalog.document(ref).blobs()
            steps.advance()
    return WouldAdopt(
        str(folder), there.root.registry, there.root.revision, there.at.digest,
        there.root.packages, len(archives), sum(blob.size for blob in archives),
    )  # fmt: skip


def adopt(folder: Path, reader: Reader, root: Path, now: datetime, progress: Progress) -> Adopted:
    """Make a mirror again from what was published of it, as it was signed.

    What is expired is taken, too: its owner is going to sign it again.

    Args:
        folder: the project; where only its mirror.yaml is lost, nothing else is touched.
        reader: what was published: a site, a bucket, a bundle, or the project's own site.
        root: a root of the registry that is trusted.
        now: the clock, UTC.

    Raises:
        InvalidDocument: there is a mirror in the folder already.
        TrustError: the root does not vouch for what is there.
        IncompleteError: something of it is missing.
    """
    policy = Policy(any_age=True)
    if _is_site_of(folder, reader):
        return _in_place(folder, reader, root, policy, now)
    if not _was_begun(folder, root):
        refuse_mirror(folder)
        verified(reader, root, now)
        create_follower(folder, root)
    project = Project(folder, progress=progress)
    follow(project, reader, policy, now)
    return _owned(folder, project.config.id, project.root())


def verified(reader: Reader, root: Path, now: datetime) -> Remote:
    """What is published, of whatever age; nothing of it is remembered. Raises TrustError."""
    with tempfile.TemporaryDirectory() as work:
        trust = Trust(read_root(root)[0], Path(work) / "cache", Path(work) / "marks")
        return Remote(reader, trust.verify(reader, Policy(any_age=True), now))


def _is_site_of(folder: Path, reader: Reader) -> bool:
    """Whether what is read is the project's own site."""
    return reader.folder is not None and reader.folder.resolve() == (folder / "site").resolve()


def _refuse_configured(folder: Path) -> None:
    """Make sure that a folder has no mirror.yaml. Raises InvalidDocument."""
    path = folder / FILE_NAME
    if path.exists():
        raise InvalidDocument(f"{path}: there is a mirror here already")


def _was_begun(folder: Path, root: Path) -> bool:
    """Whether an adoption of this root was broken off here. Raises InvalidDocument."""
    path = folder / FILE_NAME
    if not path.exists():
        return False
    config = load(path)
    if not config.follow or config.id != read_root(root)[1]:
        raise InvalidDocument(f"{path}: there is a mirror here already")
    return True


def _in_place(folder: Path, reader: Reader, root: Path, policy: Policy, now: datetime) -> Adopted:
    """The project is there, but for its mirror.yaml."""
    _refuse_configured(folder)
    scratch = Layout(folder).scratch / "adopt"
    with storage_errors(str(folder)):
        scratch.mkdir(parents=True, exist_ok=True)
    verified = Trust(read_root(root)[0], scratch, scratch).verify(reader, policy, now)
    return _owned(folder, verified.root.registry, verified.root)


def _owned(folder: Path, registry: str, root: CatalogRoot) -> Adopted:
    """Write the mirror.yaml of an owner; what only he knew (sources, destinations) is gone."""
    layout = Layout(folder)
    layout.scratch.mkdir(parents=True, exist_ok=True)
    text = configuration(registry, root.settings)
    replace_durably(layout.configuration, text.encode(), layout.scratch)
    project = Project(folder)
    with project.alone():
        project.builder.bring_up(project.head())
    return _adopted(project)


def _adopted(project: Project) -> Adopted:
    head, expires = project.head(), project.metadata.freshness().first.at
    return Adopted(
        str(project.folder), project.config.id, head.revision, head.catalog.digest,
        project.root().packages, str(expires),
    )  # fmt: skip


def configuration(registry: str, settings: dict[str, Any]) -> str:
    """A mirror.yaml with what the catalog says of it."""
    url, dialect = str(settings.get("url", "")), settings.get("dialect", "appr")
    text = first_text(registry).replace('url: ""', f"url: {json.dumps(url)}")
    views = f"views: {{dialect: {json.dumps(dialect)}}}\n" if dialect != "appr" else ""
    return f"{text}\n{views}"


def take_over(
    made: Made, signed: Callable[[Project], Project], remote: Remote, now: str, progress: Progress
) -> Adopted:
    """Fill a new mirror with the packages of another one whose keys are lost.

    Args:
        made: the new mirror, with its own keys.
        signed: gives a project the keys that sign it.
        remote: the other one, verified with its own root.
        now: ISO 8601, UTC.
    """
    folder, theirs = Path(made.folder), remote.verified.root
    text = configuration(made.id, theirs.settings)
    project = signed(Project(folder, progress=progress))
    trust = (folder / FILE_NAME).read_text(encoding="utf-8").partition("\ntrust:")
    replace_durably(folder / FILE_NAME, (text + "".join(trust[1:])).encode(), project.layout.making)
    project = signed(Project(folder, progress=progress))
    with project.signing(now):
        nodes = LayeredNodes(project.store, RemoteNodes(remote.reader), keep=True)
        bring(Span(EMPTY, [], theirs.tree), nodes, remote.blob, progress)
        message = f"taken over from registry {theirs.registry}, revision {theirs.revision}"
        project.commit_tree(theirs.tree, message, now, theirs.upstreams)
    return _adopted(project)
