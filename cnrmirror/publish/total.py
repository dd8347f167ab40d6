"""How much a publish is going to send: counted before, for whoever looks at its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from cnrmirror.model.progress import Total
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Listed
from cnrmirror.publish.diff import Batch, ViewDiff
from cnrmirror.publish.work import Work

# The views of so many packages are rendered once, counted and kept until they are sent.
_ALL = 100
# Of more, one of so many is rendered, and so many at most: the others are as much, by their
# releases.
_ONE_OF, _MOST = 10, 64


class _Sum:
    """Files that are going to be sent, and their bytes, but for those that are there."""

    def __init__(self, there: Mapping[str, Listed]) -> None:
        self.files = self.bytes = 0.0
        self._there = there

    def add(self, resources: Iterable[Resource], times: float = 1) -> None:
        for resource in resources:
            listed = self._there.get(resource.path)
            if listed is None or listed.size != resource.size:
                self.files += times
                self.bytes += times * resource.size


def count(
    work: Work, views: ViewDiff, there: Mapping[str, Listed], renew: Callable[[], None]
) -> tuple[Total, Iterable[Batch]]:
    """How much is going to be sent, and the views in batches, as ``ViewDiff.batches`` gives them.

    Args:
        work: what is to be done.
        views: what it has of views.
        there: what a publish that was killed had sent, by key.
        renew: called now and then: to count takes its time.
    """
    found = _Sum(there)
    for files in work.immutable():
        found.add(files)
        renew()
    batches, about = _count_views(found, views)
    renew()
    if work.behind:
        found.add([*work.metadata(), work.timestamp()])
    return Total(round(found.files), round(found.bytes), about), batches


def _count_views(found: _Sum, views: ViewDiff) -> tuple[Iterable[Batch], bool]:
    """Add the views; their batches, and whether they were estimated."""
    names = list(views.names)
    if len(names) <= _ALL:
        batches = list(views.batches())
        for batch in batches:
            found.add(batch.puts)
        return batches, False
    some = names[:: max(_ONE_OF, len(names) // _MOST)]
    packages, others = views.some(some)
    times = sum(views.names.values()) / sum(views.names[name] for name in some)
    for batch in packages:
        found.add(batch.puts, times)
    for batch in others:
        found.add(batch.puts)
    return views.batches(), True
