"""What ``/metrics`` says: of the mirror, of its sources, and of what was answered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from cnrmirror.mirror.metrics import project_families
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.exposition import Family, Sample, exposition
from cnrmirror.server.bundle import BundleMirror
from cnrmirror.sync.metrics import Watched

Part = Callable[[], tuple[list[Family], bool]]
"""Families of one thing that is watched, and whether everything of it could be read."""


class Metrics:
    """The text of a scrape. A part that cannot be read is no harm to the others.

    Args:
        parts: what is watched, by the name that ``cnrmirror_readable`` gives it.
        counting: counts answers, too. That is for one process: several would each have their own
            numbers, and a scrape would see now those of one, now those of another.
    """

    def __init__(self, parts: Mapping[str, Part], counting: bool = True) -> None:
        self._parts = parts
        self._counting = counting
        self._lock = threading.Lock()
        self._answers = dict.fromkeys(("1xx", "2xx", "3xx", "4xx", "5xx"), 0)
        self._bytes = 0

    def count(self, status: int, size: int) -> None:
        """Take note of an answer: its status, and how many bytes its body has."""
        with self._lock:
            self._answers[f"{status // 100}xx"] += 1
            self._bytes += size

    def text(self) -> str:
        """What a scrape reads, in Prometheus' text format 0.0.4."""
        families: list[Family] = []
        readable = []
        for name, part in self._parts.items():
            try:
                found, whole = part()
            except (CnrMirrorError, OSError):
                found, whole = [], False
            families += found
            readable.append(Sample(int(whole), {"part": name}))
        told = "Whether all of a part could be read; what could not is left out here."
        return exposition(
            [*families, Family("cnrmirror_readable", told, readable), *self._counts()]
        )

    def _counts(self) -> list[Family]:
        if not self._counting:
            return []
        with self._lock:
            answers, size = dict(self._answers), self._bytes
        by_class = [Sample(number, {"status": name}) for name, number in answers.items()]
        return [
            Family("cnrmirror_http_answers_total", "Answers since the start, by the class of their "
                   "status.", by_class, "counter"),
            Family("cnrmirror_http_answer_bytes_total", "Bytes of the bodies of these answers; a "
                   "client may have left before the end.", [Sample(size)], "counter"),
        ]  # fmt: skip


def of_project(project: Project, now: Callable[[], str], counting: bool = True) -> Metrics:
    """What is told of a project and the last syncs of its sources."""
    watched = Watched(project, now)
    return Metrics(
        {"mirror": lambda: (project_families(project), True), "sources": watched}, counting
    )


def of_bundle(mirror: BundleMirror) -> Metrics:
    """What is told of a bundle: it has no sources."""
    return Metrics({"mirror": lambda: (mirror.families(), True)})
