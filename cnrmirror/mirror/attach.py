"""What belongs to a release, into the store."""

from __future__ import annotations

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import Attachment
from cnrmirror.objects.store import Store


def attach(
    store: Store, media_type: str, data: bytes, annotations: dict[str, str] | None = None
) -> Attachment:
    """Keep bytes in the store; what names them."""
    blob = Descriptor.of(data)
    store.add_blob(blob, [data])
    return Attachment(media_type, blob.digest, blob.size, annotations=annotations or {})
