"""What hosts of static sites hold, as they say themselves, and whether a mirror fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from cnrmirror.model.resource import Resource
from cnrmirror.publish.plan import size_of


class Limits(msgspec.Struct, frozen=True):
    """The most that a host takes: bytes of a file, files, bytes of all; 0 for "not said"."""

    file: int
    files: int
    all: int
    source: str


LIMITS = {
    "cloudflare-pages": Limits(
        25 << 20, 20_000, 0, "https://developers.cloudflare.com/pages/platform/limits/"
    ),
    "github-pages": Limits(
        100 << 20, 0, 1_000_000_000,
        "https://docs.github.com/en/pages/getting-started-with-github-pages/github-pages-limits",
    ),
}  # fmt: skip


def too_much(host: str, resources: Iterable[Resource]) -> Iterator[str]:
    """What of a mirror such a host does not take, in words; nothing for other hosts.

    Args:
        resources: all that is there.
    """
    limits = LIMITS.get(host)
    if limits is None:
        return
    files = total = 0
    for resource in resources:
        size = size_of(resource)
        files += 1
        total += size
        if size > limits.file:
            yield f"{resource.path}: {size} bytes; {host} takes {limits.file} ({limits.source})"
    if limits.files and files > limits.files:
        yield f"{files} files; {host} takes {limits.files} ({limits.source})"
    if limits.all and total > limits.all:
        yield f"{total} bytes; {host} takes {limits.all} ({limits.source})"
