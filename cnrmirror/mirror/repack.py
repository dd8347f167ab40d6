"""Charts with their files at the root get an archive for Helm beside their own, once, at intake."""

from __future__ import annotations

from collections.abc import Collection

from cnrmirror.archive.inspect import ArchiveInfo
from cnrmirror.archive.repack import MAX_UNPACKED, repacked
from cnrmirror.mirror.attach import attach
from cnrmirror.model.documents import Attachment
from cnrmirror.model.flags import ROOT_FILES
from cnrmirror.model.oci import HELM_LAYER, ROLE
from cnrmirror.objects.store import Store


def repack_for_helm(
    store: Store, package: str, info: ArchiveInfo, flags: Collection[str]
) -> list[Attachment]:
    """The archive that Helm can read, in the store; none if it reads the chart's own.

    What is larger than ``MAX_UNPACKED`` is left as it is: the Helm view leaves it out, and says so.
    """
    if ROOT_FILES not in flags or info.unpacked > MAX_UNPACKED:
        return []
    with store.open_blob(info.blob) as archive:
        data = repacked(archive, package)
    return [attach(store, HELM_LAYER, data, {ROLE: "repacked"})]
