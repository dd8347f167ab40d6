"""Every kind of source, once."""

from __future__ import annotations

from cnrmirror.sources import backup, charts, helm, keyvalue, mirror, oci, registry
from cnrmirror.sources.kind import AnyKind, SourceRules

KINDS: tuple[AnyKind, ...] = (
    registry.KIND, helm.KIND, oci.KIND, mirror.KIND, charts.KIND, keyvalue.KIND, backup.KIND,
)  # fmt: skip


def kind_of(settings: SourceRules) -> AnyKind:
    """The kind that settings are of."""
    return next(kind for kind in KINDS if kind.settings is type(settings))
