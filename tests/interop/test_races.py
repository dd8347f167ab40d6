"""Two publishers at once at a real S3 server, with gc and rotations between; a reader looks on.

``CNRMIRROR_RACES=300`` runs more of them than CI does.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.audit.report import Order
from cnrmirror.audit.run import audit
from cnrmirror.client.remote import Remote
from cnrmirror.mirror import gc
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.instant import Instant
from cnrmirror.objects.bucket import BucketReader
from cnrmirror.objects.s3_settings import S3Settings
from cnrmirror.publish.session import Session
from cnrmirror.trust.keys import PUBLISH, REFRESH, write_key
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import chart_bytes
from tests.interop.bucket import BUCKET, S3, s3_server
from tests.mirrors import key, make
from tests.test_publish_races import sign_with, with_keys

pytestmark = pytest.mark.interop
RACES = int(os.environ.get("CNRMIRROR_RACES", "8"))
BEGIN = datetime.now(UTC) - timedelta(days=3)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with s3_server(tmp_path / "s3") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


class Race:
    """Two mirrors of one registry, and a bucket that both publish to."""

    def __init__(self, folder: Path, s3: S3) -> None:
        self.folder = folder
        self.address = f"s3://{BUCKET}/races"
        self.settings = S3Settings(endpoint=s3.url)
        self.minutes = 0
        start = make(folder / "start", "00000000-0000-4000-8000-00000000000a", self.now())
        with (start.folder / "mirror.yaml").open("a") as file:
            file.write("\nretention: {revisions: 3, grace_hours: 0}\n")
        self.pinned = (start.metadata.path / "1.root.json").read_bytes()
        self.target = PublishTo(to=self.address, endpoint=s3.url, grace_minutes=0)
        self.mirrors = [self._copy(start, name) for name in ("m0", "m1")]
        self.names: set[str] = set()

    def _copy(self, start: Project, name: str) -> Project:
        shutil.copytree(start.folder, self.folder / name, symlinks=True)
        project = Project(self.folder / name)
        with_keys(project, self.folder / "keys" / name)
        return project

    def now(self) -> str:
        self.minutes += 1
        return str(Instant(BEGIN + timedelta(minutes=self.minutes)))

    def push(self, mirror: int) -> None:
        name = f"p{self.minutes}"
        path = self.folder / f"{name}.tgz"
        path.write_bytes(chart_bytes(name, "1.0.0"))
        push(self.mirrors[mirror], [path], Override(namespace=f"n{mirror}"), self.now())
        self.names.add(f"n{mirror}/{name}")

    def rotate(self, purpose: str) -> None:
        """Both mirrors get the key, the first one signs."""
        new = key(f"{purpose} {self.minutes}")
        for name in ("m0", "m1"):
            write_key(self.folder / "keys" / name, purpose, new, None)
        sign_with(self.mirrors[0], purpose, new.public_key, self.folder / "offline", self.now())

    def publish(self) -> list[BaseException]:
        """Both at once, while a reader that remembers looks on; what went wrong."""
        errors: list[BaseException] = []
        done = threading.Event()

        def one(project: Project, now: str) -> None:
            try:
                with Session.open(project, self.target) as session:
                    session.publish(now)
            except BaseException as error:
                errors.append(error)

        def look() -> None:
            try:
                while not done.wait(0.05):
                    self.read()
            except BaseException as error:
                errors.append(error)

        publishers = [threading.Thread(target=one, args=(m, self.now())) for m in self.mirrors]
        reader = threading.Thread(target=look)
        there = self.minutes > 10  # else nothing is there yet
        for thread in [*publishers, *([reader] if there else [])]:
            thread.start()
        for thread in publishers:
            thread.join()
        done.set()
        if there:
            reader.join()
        return errors

    def trust(self, name: str) -> Trust:
        return Trust(self.pinned, self.folder / name / "cache", self.folder / name / "marks")

    def read(self) -> set[str]:
        reader = BucketReader(self.address, self.settings)
        verified = self.trust("reader").verify(reader, Policy(any_age=True), datetime.now(UTC))
        return {ref.name for ref in Remote(reader, verified).refs()}

    def strict(self) -> list[str]:
        at = BEGIN + timedelta(minutes=self.minutes)
        reader = BucketReader(self.address, self.settings)
        report = audit(reader, self.trust("auditor"), Order(Policy(at=at), at, strict=True))
        return [finding.line for finding in report.findings if finding.problem != "unused"]


def test_two_publishers_at_once_at_a_real_bucket_lose_nothing(tmp_path: Path, s3: S3) -> None:
    race = Race(tmp_path, s3)
    chance = random.Random(14)
    with Session.open(race.mirrors[0], race.target) as session:
        session.publish(race.now())
    for number in range(RACES):
        for mirror in (0, 1):
            for _ in range(chance.randrange(3)):
                race.push(mirror)
        if chance.random() < 0.3:
            gc.collect(race.mirrors[chance.randrange(2)], 1, 0, race.now(), dry_run=False)
        if chance.random() < 0.1:
            race.rotate(chance.choice((PUBLISH, REFRESH)))
        assert race.publish() == [], f"race {number}"
        assert race.strict() == [], f"race {number}"
        assert race.read() == race.names, f"race {number}"
