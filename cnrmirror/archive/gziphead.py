"""A gzip header (RFC 1952, 2.3), accepted only where every reader goes on behind it."""

from __future__ import annotations

from cnrmirror.model.errors import HostileArchive

MAX_TEXT = 511
"""Bytes of a file name or comment: Go's reader takes no more."""
MAX_EXTRA = 4096
"""Bytes of an extra field: busybox takes no more than 16 KiB."""
_FHCRC, _FEXTRA, _FNAME, _FCOMMENT, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0


def is_whole(head: bytes) -> bool:
    """Whether all of the header is there.

    Raises:
        HostileArchive: not every reader takes it, however it goes on.
    """
    if len(head) < 10:
        return False
    flags = head[3]
    if flags & _RESERVED:  # 2.3.1.2: a reader must refuse what it cannot know
        raise HostileArchive("the archive has a gzip header with reserved flags")
    if flags & _FHCRC:
        raise HostileArchive(
            "the archive has a gzip header with a checksum of its own, which older readers take "
            "for a part of several; repack it"
        )
    position = 10
    if flags & _FEXTRA:
        length = int.from_bytes(head[10:12], "little")
        if length > MAX_EXTRA:
            raise HostileArchive(
                f"the archive has a gzip header with {length} bytes of extra data, more than "
                f"{MAX_EXTRA}: not every reader takes it; repack it"
            )
        position += 2 + length
        if len(head) < max(position, 12):
            return False
    for flag, what in ((_FNAME, "file name"), (_FCOMMENT, "comment")):
        if flags & flag:
            end = head.find(b"\0", position, position + MAX_TEXT + 1)
            if end < 0:
                if len(head) <= position + MAX_TEXT:
                    return False
                raise HostileArchive(
                    f"the archive has a gzip header whose {what} is longer than {MAX_TEXT} bytes: "
                    "not every reader takes it; repack it"
                )
            position = end + 1
    return True
