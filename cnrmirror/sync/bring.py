"""The archives that a sync decided to have, brought into the store, and noted one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor

import msgspec

from cnrmirror.crew.crew import Crew, Job, Report, carried_out
from cnrmirror.mirror.places import placed
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError, InvalidDocument, StorageError
from cnrmirror.model.progress import stage
from cnrmirror.objects.files import storage_errors
from cnrmirror.objects.parallel import in_parallel, threads
from cnrmirror.sources.base import Divisible, Hole, Offer, Source
from cnrmirror.sources.kind import Web
from cnrmirror.sync.chunk import Chunk, chunks, do, refuse_lies
from cnrmirror.sync.fetch import Fetched, Fetcher
from cnrmirror.sync.journal import Journal
from cnrmirror.sync.plan import Key, Rules

_LOOKING = 32
# Of a chunk's offers, in their order; and how many requests the source was sent.
_Results = tuple[list[Fetched | CnrMirrorError], int]


class Brought(msgspec.Struct, frozen=True):
    """What came of archives that were to be fetched.

    ``error``: the source was given up; ``requests``: those that other processes sent.
    """

    fetched: dict[Key, Fetched] = {}
    holes: list[Hole] = []
    notes: list[str] = []
    error: CnrMirrorError | None = None
    requests: int = 0


class Bringer:
    """Brings archives of one source into a mirror's store.

    Args:
        project: the mirror.
        source: the source.
        rules: how it is treated.
        executor: runs as many requests at a time as the rules allow.
        crew: other processes that fetch; None: this one does.
    """

    def __init__(
        self, project: Project, source: Source, rules: Rules, executor: Executor,
        crew: Crew | None = None,
    ) -> None:  # fmt: skip
        self._project = project
        self._source = source
        self._rules = rules
        self._executor = executor
        self._crew = crew
        self._journal = Journal(project.layout.source_journal(source.name))
        self._fetcher = Fetcher(source, project.store, project.config.limits)
        self._requests = 0
        self._notes: list[str] = []

    def bring(self, offers: Sequence[Offer]) -> Brought:
        """Archives in the store. An error of one is a hole, and no harm to the others.

        Raises:
            StorageError: the mirror's own disk, or store, refuses.
            CrewLost: the crew is gone; what was fetched is noted.
        """
        found: dict[Key, Fetched | CnrMirrorError] = {}
        name = self._source.name
        label = f"Fetching from {name}" + (f" ({self._crew.size} workers)" if self._crew else "")
        with (
            stage(self._project.progress, label, len(offers)) as progress,
            threads(_LOOKING) as self._looking,
        ):
            for offer, result in self._results(offers):
                found[offer.key] = result
                progress.advance(1, result.blob.size if isinstance(result, Fetched) else 0)
        return self._brought(offers, found)

    def _brought(
        self, offers: Sequence[Offer], found: dict[Key, Fetched | CnrMirrorError]
    ) -> Brought:
        fetched: dict[Key, Fetched] = {}
        holes: list[Hole] = []
        notes = self._notes
        error: CnrMirrorError | None = None
        for offer in offers:
            result = found[offer.key]
            if isinstance(result, Fetched):
                fetched[offer.key] = result
                notes += _oddities(offer, result)
                continue
            holes.append(Hole.of_release(offer.package, offer.release, result.message))
            if result.details.get("gave_up"):
                error = result
        return Brought(fetched, holes, notes, error, self._requests)

    def _results(self, offers: Sequence[Offer]) -> Iterator[tuple[Offer, Fetched | CnrMirrorError]]:
        left: list[Offer] = []
        known = in_parallel(self._known, offers, self._looking)
        for offer, before in zip(offers, known, strict=True):
            if before is None:
                left.append(offer)
            else:
                yield offer, before
        if lost := sum(self._journal.find(offer) is not None for offer in left):
            self._notes.append(f"{lost} noted as fetched were not in the store: fetched again")
        if left and self._crew and self._is_divisible(left[:1]):
            yield from self._by_crew(self._crew, left)
        else:
            yield from zip(left, in_parallel(self._one, left, self._executor), strict=True)

    def _one(self, offer: Offer) -> Fetched | CnrMirrorError:
        """One archive, by this process; noted at once, for it may be killed."""
        result = self._fetcher.fetch(offer)
        self._note(offer, result)
        return result

    def _note(self, offer: Offer, result: Fetched | CnrMirrorError) -> None:
        if isinstance(result, Fetched):
            with storage_errors(str(self._project.folder)):
                self._journal.add(offer, result)

    def _known(self, offer: Offer) -> Fetched | None:
        """What an earlier run fetched, if it is in the store; whoever noted it may have lied."""
        known = self._journal.find(offer)
        if known is None:
            return None
        try:
            refuse_lies(offer, known)
        except InvalidDocument:
            return None
        return known if self._project.store.holds(known.blobs) else None

    # -- other processes --

    def _is_divisible(self, some: Sequence[Offer]) -> bool:
        """Whether other processes can fetch from the source."""
        return isinstance(self._source, Divisible) and self._source.told(some) is not None

    def _there(self, chunk: Chunk, answer: bytes) -> _Results:
        """See ``_results``; InvalidDocument also if an archive is not in the store."""
        found = _results(chunk, answer)
        fetched = [result for result in found[0] if isinstance(result, Fetched)]
        holds = self._project.store.holds
        for one, is_there in zip(
            fetched, in_parallel(lambda f: holds(f.blobs), fetched, self._looking), strict=True
        ):
            if not is_there:
                raise InvalidDocument(f"{one.blob.digest} is not in the store")
        return found

    def _by_crew(
        self, crew: Crew, offers: Sequence[Offer]
    ) -> Iterator[tuple[Offer, Fetched | CnrMirrorError]]:
        each = max(1, self._rules.parallel // crew.size)
        window = min(2 * crew.size, max(1, self._rules.parallel // each))
        given_up: list[CnrMirrorError] = []
        parts = chunks(offers)
        self._project.store.announce()
        made = (self._chunk(part, each, crew.size) for part in parts if not given_up)
        seen: set[Key] = set()
        troubles: dict[str, int] = {}
        # Where nobody signs, nobody needs to be sure: whoever does so asks again (``_known``).
        job = Job(do, msgspec.json.encode, _results if crew.afar else self._there)
        report: Report[Chunk, _Results]
        for report in carried_out(crew, job, made, window):
            self._project.store.announce()
            results, requests = report.result
            self._requests += requests
            if report.trouble:
                troubles[report.trouble] = troubles.get(report.trouble, 0) + 1
            for offer, result in zip(report.unit.offers, results, strict=True):
                if isinstance(result, CnrMirrorError) and result.details.get("gave_up"):
                    given_up.append(result)
                seen.add(offer.key)
                self._note(offer, result)
                yield offer, result
        self._notes += [f"done again, {n} ×: {text}" for text, n in sorted(troubles.items())]
        yield from ((offer, given_up[0]) for offer in offers if offer.key not in seen)

    def _chunk(self, offers: list[Offer], parallel: int, workers: int) -> Chunk:
        project, name = self._project, self._source.name
        settings = project.config.sources[name]
        if isinstance(settings, Web) and settings.rate:
            # Each of them keeps to its part.
            settings = msgspec.structs.replace(settings, rate=settings.rate / workers)
        store, partial = project.config.store, project.partial
        told = self._source.told(offers) if isinstance(self._source, Divisible) else None
        assert told is not None
        return Chunk(
            name, msgspec.Raw(msgspec.json.encode(settings)), told, str(project.folder.resolve()),
            project.config.limits, project.config.views.dialect,
            str(project.layout.catalog.resolve()), str(project.layout.making.resolve()),
            placed(project.folder, store) if store else None,
            partial.place.learned() if partial else {}, parallel, offers,
        )  # fmt: skip


def _results(chunk: Chunk, answer: bytes) -> _Results:
    """What came of a chunk.

    Raises:
        InvalidDocument: it is no answer to it.
        StorageError: the worker could not do it.
    """
    results, requests, failed = chunk.results(answer)
    if failed:
        raise StorageError(failed)
    return results, requests


def _oddities(offer: Offer, result: Fetched) -> list[str]:
    what = f"{offer.package}@{offer.release}"
    notes = [f"{what}: {note}" for note in result.notes]
    if offer.size in (0, result.blob.size):
        return notes
    return [
        *notes,
        f"{what}: its manifest says {offer.size} bytes, its archive has {result.blob.size}",
    ]
