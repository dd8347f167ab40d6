"""Two publishers of one destination, stepped through every call that they make to it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cnrmirror.client.remote import Remote
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.progress import Progress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Listed, Objects, Reader
from cnrmirror.objects.folder import FolderObjects, FolderReader
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.store import Store
from cnrmirror.publish.open import DestinationMemory
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from tests.mirrors import reopen
from tests.places import verified_reader_sees_no_gap

Gate = Callable[[str], None]


class Stepped(Objects):
    """A destination that asks a gate before every call."""

    def __init__(self, inner: Objects, gate: Gate) -> None:
        self.name = inner.name
        self.notes = inner.notes
        self._inner = inner
        self._gate = gate

    @property
    def requests(self) -> int:  # type: ignore[override]
        return self._inner.requests

    def close(self) -> None:
        self._inner.close()

    def learned(self) -> dict[str, str]:
        return self._inner.learned()

    def recall(self, learned: Mapping[str, str]) -> None:
        self._inner.recall(learned)

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        self._gate(f"fetch {path}")
        return self._inner.fetch(path, max_bytes)

    def read(self, key: str, max_bytes: int) -> tuple[bytes, str] | None:
        self._gate(f"read {key}")
        return self._inner.read(key, max_bytes)

    def size(self, key: str) -> int | None:
        self._gate(f"size {key}")
        return self._inner.size(key)

    def create(self, resources: Sequence[Resource], progress: Progress) -> list[str]:
        known: list[str] = []
        for resource in resources:
            self._gate(f"create {resource.path}")
            known += self._inner.create([resource], progress)
        return known

    def put(self, resources: Sequence[Resource], progress: Progress) -> None:
        self._gate(f"put {len(resources)}")
        self._inner.put(resources, progress)

    def swap(self, key: str, data: bytes, expected: str | None) -> str:
        self._gate(f"swap {key}")
        return self._inner.swap(key, data, expected)

    def delete(self, keys: Sequence[str]) -> list[str]:
        self._gate("delete")
        return self._inner.delete(keys)

    def listing(self) -> Iterator[Listed]:
        self._gate("listing")
        return self._inner.listing()

    def holds(self, listed: Listed, resource: Resource) -> bool:
        return self._inner.holds(listed, resource)


class Arena:
    """A destination, and the folders of its publishers.

    Args:
        folder: a folder for all of it.
        kind: ``memory`` or ``folder``.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.kind = kind
        self.objects: dict[str, bytes] = {}
        self.place = folder / "place"

    def session(self, project: Project, gate: Gate = lambda call: None) -> Session:
        store = project.store
        inner: Objects = (
            FolderObjects(self.place, store)
            if self.kind == "folder"
            else MemoryObjects(store, self.objects, "s3://memory/x")
        )
        to = str(self.place) if self.kind == "folder" else "s3://memory/x"
        target = PublishTo(to=to, grace_minutes=0)
        return Session(project, target, DestinationMemory(project, target), Stepped(inner, gate))

    def copy(self, name: str) -> Arena:
        """The same destination once more."""
        other = Arena(self.folder / name, self.kind)
        other.folder.mkdir()
        other.objects.update(self.objects)
        if self.place.exists():
            shutil.copytree(self.place, other.place, symlinks=True)
        return other

    def take(self, project: Project, name: str) -> Project:
        """A copy of a mirror, with all that it remembers."""
        shutil.copytree(project.folder, self.folder / name, symlinks=True)
        return reopen(self.folder / name)

    def signed_files(self) -> dict[str, bytes]:
        if self.kind == "memory":
            return dict(self.objects)
        base = self.place / "catalog"
        return {
            f"catalog/{path.relative_to(base).as_posix()}": path.read_bytes()
            for path in base.rglob("*")
            if path.is_file()
        }

    def readers_are_well(self) -> None:
        """What the timestamp names is there, with these bytes."""
        verified_reader_sees_no_gap(self.signed_files())

    def names(self, pinned: bytes) -> list[str]:
        """The packages that a verifying reader without memory sees."""
        remembered = self.folder / f"reader-{len(list(self.folder.iterdir()))}"
        reader: Reader = FolderReader(self.place)
        if self.kind == "memory":
            reader = MemoryObjects(Store(self.folder, self.folder), self.objects)
        trust = Trust(pinned, remembered / "cache", remembered / "marks")
        verified = trust.verify(reader, Policy(), datetime.now(UTC))
        return [ref.name for ref in Remote(reader, verified).refs()]


class Baton:
    """Lets two threads make their calls one at a time, in an order that somebody chooses.

    Args:
        choose: the number of the thread that is next, of those that wait.
        after: called after each call, while nobody runs.
    """

    def __init__(self, choose: Callable[[Sequence[int]], int], after: Callable[[], None]) -> None:
        self._choose = choose
        self._after = after
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._running: set[int] = set()
        self._errors: list[BaseException] = []

    def gate(self, number: int) -> Gate:
        def wait(call: str) -> None:
            with self._changed:
                self._running.discard(number)
                self._waiting.add(number)
                self._changed.notify_all()
                self._changed.wait_for(lambda: number in self._running)

        return wait

    def run(self, works: Sequence[Callable[[], object]]) -> list[BaseException]:
        """Run all to their ends; the errors that they ended with."""
        self._running = set(range(len(works)))
        threads = [
            threading.Thread(target=self._one, args=(number, work), daemon=True)
            for number, work in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        while True:
            with self._changed:
                assert self._changed.wait_for(lambda: not self._running, 60), "somebody hangs"
                if not self._waiting:
                    break
                self._after()
                chosen = self._choose(sorted(self._waiting))
                self._waiting.discard(chosen)
                self._running.add(chosen)
                self._changed.notify_all()
        for thread in threads:
            thread.join()
        self._after()
        return self._errors

    def _one(self, number: int, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._changed:
                self._running.discard(number)
                self._changed.notify_all()
