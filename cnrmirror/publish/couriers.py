"""Archives that other processes send to a destination, while one process has its lease.

Nobody elsewhere is believed: of each archive that a worker says is there, the destination is asked;
what it does not show is sent by this process, whatever is there. So a worker that dies or lies
costs time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from cnrmirror.crew.crew import Crew, CrewLost, Job, Report, carried_out
from cnrmirror.mirror.places import placed
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import blob_path
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Objects, is_archive
from cnrmirror.objects.bodies import MULTIPART_FROM
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.publish.parcel import SIZE, Parcel, Sent, deliver, is_worth_a_parcel, parts

_LOOKING = 16
# So many archives are gathered from several revisions, or until so many other bytes wait.
_ENOUGH, _WAITING_BYTES = 2000, 64 << 20


class Couriers(NamedTuple):
    """Processes that send archives of a mirror to one of its destinations.

    Args:
        crew: the processes.
        project: the mirror.
        to: the destination, as ``placed`` gives it.
    """

    crew: Crew
    project: Project
    to: PublishTo

    def parcels(self, archives: Sequence[Descriptor], learned: dict[str, str]) -> Iterator[Parcel]:
        """The archives in parcels; for ``learned`` see there."""
        store, folder = self.project.config.store, self.project.folder
        at = placed(folder, store) if store else None
        catalog = str(self.project.layout.catalog.resolve())
        return (Parcel(self.to, learned, catalog, at, part) for part in parts(archives))


class Errand:
    """What couriers do for one publish.

    Args:
        couriers: who they are.
        destination: the destination itself.
        progress: an archive that is there is a step.
        renew: called every few seconds; what it raises ends the errand.
    """

    def __init__(
        self, couriers: Couriers, destination: Objects, progress: Progress,
        renew: Callable[[], None],
    ) -> None:  # fmt: skip
        self._couriers = couriers
        self._destination = destination
        self._progress = progress
        self._renew = renew
        self._lost = ""
        self._again: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self.requests = 0

    def gathered(self, batches: Iterable[list[Resource]]) -> Iterator[list[Resource]]:
        """The same files, archives sooner, in lists that are worth an errand.

        Each revision has its own batches, and may have one archive; all other files keep their
        order.
        """
        enough = max(_ENOUGH, 2 * SIZE * self._couriers.crew.size)
        archives: list[Resource] = []
        others: list[list[Resource]] = []
        waiting = 0
        for files in batches:
            archives += filter(is_archive, files)
            others.append([file for file in files if not is_archive(file)])
            waiting += sum(file.size for file in others[-1])
            if len(archives) >= enough or waiting >= _WAITING_BYTES:
                yield archives
                yield from others
                archives, others, waiting = [], [], 0
            self._renew()
        yield archives
        yield from others

    def run(self, resources: Sequence[Resource]) -> list[Resource]:
        """Have archives sent; what of the resources is still to be sent, and must be overwritten.

        Raises:
            What ``renew`` raises; AccessDenied, NetworkError: the destination cannot be asked.
        """
        given = [
            r.body for r in resources
            if is_archive(r) and isinstance(r.body, Descriptor) and r.size < MULTIPART_FROM
        ]  # fmt: skip
        if self._lost or not is_worth_a_parcel(given):
            return list(resources)
        there: set[str] = set()
        try:
            for report in self._reports(given):
                there |= self._seen(report)
        except CrewLost as error:
            self._lost = error.message
        return [r for r in resources if r.path not in there]

    def notes(self) -> list[str]:
        """What is to be said of the couriers, in few words of theirs."""
        again = [f"done again, {n} ×: {text:.200}" for text, n in sorted(self._again.items())]
        left = [f"{n} archives were sent without workers: {why:.200}"
                for why, n in sorted(self._left.items())]  # fmt: skip
        lost = [f"the rest was sent without workers: {self._lost}"] if self._lost else []
        return [*again, *left, *lost]

    def _reports(self, archives: Sequence[Descriptor]) -> Iterator[Report[Parcel, Sent]]:
        crew = self._couriers.crew
        job: Job[Parcel, Sent] = Job(deliver, msgspec.json.encode, Parcel.sent, _leave)
        parcels = self._couriers.parcels(archives, self._destination.learned())
        return carried_out(crew, job, parcels, 2 * crew.size, meanwhile=self._renew)

    def _seen(self, report: Report[Parcel, Sent]) -> set[str]:
        """The keys of those archives of a parcel that are there."""
        self.requests += report.result.requests
        if report.trouble:
            (self._left if report.here else self._again)[report.trouble] += (
                len(report.unit.archives) if report.here else 1
            )
        said = set(report.result.archives)
        there = self._whole([blob for blob in report.unit.archives if blob.digest in said])
        missing = 0 if report.here else len(report.unit.archives) - len(there)
        if missing:
            self._left["they were not there when a worker had said so"] += missing
        for blob in there:
            self._progress.advance(1, blob.size)
        return {blob_path(blob.digest) for blob in there}

    def _whole(self, archives: Sequence[Descriptor]) -> list[Descriptor]:
        """Those that are there; processes of this machine are believed, for they are this one's."""
        if not self._couriers.crew.afar:
            return list(archives)
        with threads(_LOOKING) as executor:
            found = list(in_parallel(self._destination.has_whole, archives, executor))
        return [blob for blob, is_whole in zip(archives, found, strict=True) if is_whole]


def _leave(data: bytes) -> bytes:
    """What comes of a parcel that no worker could send: whoever asked sends it."""
    return msgspec.json.encode(Sent())
