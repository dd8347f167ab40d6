"""What belongs to a release in an OCI registry: its manifest, provenance, signatures, referrers."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from cnrmirror.model import oci
from cnrmirror.model.documents import MAX_ATTACHMENTS, Attachment
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.sources.ociclient import Client
from cnrmirror.sources.ocimanifests import INDEXES, Content, Manifest, Named, referrers_in

MAX_ATTACHED = 16 << 20
"""Bytes that a blob may have that only belongs to a release."""
_ROOM = MAX_ATTACHMENTS - 1
"""One place is left for the archive that may be repacked for Helm."""
COSIGN = (".sig", ".att", ".sbom")
_MAX_REFERRERS = 256
_NO_SUCH_API = (400, 404, 405, 410, 501)


class Attached(msgspec.Struct):
    """The attachments of a release; ``left``: how many manifests were too many, or too large."""

    attachments: list[Attachment]
    left: int = 0

    def add(self, some: list[Attachment]) -> None:
        """A manifest and what it names: all of it, or nothing."""
        new = [a for a in some if a not in self.attachments]
        large = any(a.size > MAX_ATTACHED for a in new)
        if large or len(self.attachments) + len(new) > _ROOM:
            self.left += 1
        else:
            self.attachments += new


def belongings(
    client: Client,
    repository: str,
    manifest: Manifest,
    content: Content,
    tags: Collection[str] | None,
) -> Attached:
    """What belongs to a release.

    Args:
        client: asks.
        repository: where it is.
        manifest: the release's own.
        content: what is in it.
        tags: those of the repository that are no releases; None to ask for nothing more.

    Raises:
        As ``Source.look`` does: whether there is more cannot be known.
    """
    found = Attached([of_manifest(manifest, {oci.ROLE: "manifest"})])
    found.attachments += _dedupe(
        _of_blob(named) for named in manifest.names if named != content.archive
    )
    if tags is None:
        return found
    # Where the list has tags that speak of manifests, it has all of them.
    shown = any(tag.startswith("sha256-") for tag in tags)
    for named in _referrers(client, repository, manifest.digest, tags, shown):
        one = client.manifest(repository, named.digest)
        if one.subject == manifest.digest:
            notes = {oci.ROLE: "referrer", oci.SUBJECT: f"sha256:{manifest.digest}"}
            found.add(_with_blobs(one, notes))
    for ending in COSIGN if shown else COSIGN[:1]:
        tag = f"sha256-{manifest.digest}{ending}"
        if tag in tags or not shown:
            signature = _if_there(client, repository, tag)
            if signature is not None:
                found.add(_with_blobs(signature, {oci.ROLE: "tag", oci.TAG: tag}))
    return found


def of_manifest(manifest: Manifest, notes: dict[str, str]) -> Attachment:
    """The attachment that a manifest is."""
    size = len(manifest.data)
    return Attachment(manifest.media_type, manifest.digest, size, manifest.artifact_type, notes)


def _of_blob(named: Named) -> Attachment:
    notes = {} if named.media_type == oci.HELM_PROVENANCE else {oci.ROLE: "blob"}
    return Attachment(named.media_type, named.hex, named.size, "", notes)


def _with_blobs(manifest: Manifest, notes: dict[str, str]) -> list[Attachment]:
    blobs = (
        Attachment(named.media_type, named.hex, named.size, "", {oci.ROLE: "blob"})
        for named in manifest.names
    )
    return [of_manifest(manifest, notes), *_dedupe(blobs)]


def _dedupe(some: Iterator[Attachment]) -> list[Attachment]:
    found: list[Attachment] = []
    for attachment in some:
        if attachment not in found:
            found.append(attachment)
    return found


def _referrers(
    client: Client, repository: str, digest: str, tags: Collection[str], shown: bool
) -> list[Named]:
    """What refers to a manifest, sorted by digest; by the tag of the specification's older form
    where the registry has no such list.
    """
    where = f"{repository}: referrers of sha256:{digest}"
    try:
        found = referrers_in(client.referrers(repository, digest), where)
    except CnrMirrorError as error:
        if error.details.get("status") not in _NO_SUCH_API:
            raise
        tag = f"sha256-{digest}"
        asked = tag in tags or not shown
        index = _if_there(client, repository, tag) if asked else None
        found = index.members if index is not None and index.media_type in INDEXES else []
    by_digest = {named.digest: named for named in found}
    return [by_digest[key] for key in sorted(by_digest)][:_MAX_REFERRERS]


def _if_there(client: Client, repository: str, tag: str) -> Manifest | None:
    try:
        return client.manifest(repository, tag)
    except CnrMirrorError as error:
        if error.details.get("status") not in (404, 410):
            raise
        return None
