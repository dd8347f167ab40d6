"""A sync whose archives are fetched by a scheduler's workers, into a bucket, for real."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.hostile import Host, hosting
from tests.interop.bucket import BUCKET, S3, s3_server
from tests.interop.clusters import ATTACKS, Cluster, Hostile, cluster, kill, kill_child
from tests.interop.faulty import faulty
from tests.store_suite import Machine
from tests.test_workers import repository

pytestmark = pytest.mark.interop
PACKAGES = 200
ARCHIVES = 2 * PACKAGES


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(scope="module")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("charts") / "repo"
    repository(folder, [f"app-{number}" for number in range(PACKAGES)])
    return folder


@pytest.fixture
def host(charts: Path) -> Iterator[Host]:
    with hosting(charts) as found:
        yield found


@pytest.fixture
def workers(tmp_path: Path, bucket: S3) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", bucket.environment()) as found:
        yield found


class Mirrors:
    """Mirrors of one registry, each in its own prefix: the same change gives the same bytes."""

    def __init__(self, folder: Path, bucket: S3, url: str) -> None:
        self.folder, self.bucket, self.url = folder, bucket, url
        self.now = str(int(datetime.now(UTC).timestamp()))
        self.first = self._machine("first", bucket.url)
        self.first.run("init", str(self.first.folder), "--store", self.first.store)
        self._write(self.first)

    def _machine(self, name: str, endpoint: str) -> Machine:
        store = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        environment = self.bucket.environment() | {"SOURCE_DATE_EPOCH": self.now}
        environment["AWS_ENDPOINT_URL"] = endpoint
        return Machine(self.folder / name, store, environment, self.folder / "keys")

    def _write(self, machine: Machine) -> None:
        with (machine.folder / "mirror.yaml").open("a") as file:
            file.write(
                f"sources: {{up: {{type: helm, url: '{self.url}', namespace: c, parallel: 8, "
                "provenance: false}}\n"
            )

    def another(self, name: str, endpoint: str = "") -> Machine:
        """The first mirror as it began, in another prefix."""
        machine = self._machine(name, endpoint or self.bucket.url)
        subprocess.run(["cp", "-a", self.first.folder, machine.folder], check=True)
        path = machine.folder / "mirror.yaml"
        text = path.read_text().replace(self.first.store, machine.store)
        path.write_text(text)
        self._copy(self.first.store, machine.store)
        return machine

    def _copy(self, old: str, new: str) -> None:
        client = self.bucket.client()
        for key, data in self.objects(old).items():
            client.put_object(Bucket=BUCKET, Key=f"{prefix(new)}/{key}", Body=data)

    def objects(self, store: str) -> dict[str, bytes]:
        """All that is in a prefix, but for what is its publishers' own."""
        client = self.bucket.client()
        found: dict[str, bytes] = {}
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=f"{prefix(store)}/"
        ):
            for entry in page.get("Contents", []):
                key = entry["Key"].removeprefix(f"{prefix(store)}/")
                if not key.startswith(".cnrmirror/"):
                    body = client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"]
                    found[key] = body.read()
        return found


def prefix(store: str) -> str:
    return store.removeprefix(f"s3://{BUCKET}/")


@pytest.fixture
def mirrors(tmp_path: Path, bucket: S3, host: Host) -> Mirrors:
    return Mirrors(tmp_path, bucket, host.url)


def sync_with(workers: Cluster, *more: str) -> tuple[str, ...]:
    at = ("--cluster", workers.address, "--certificates", str(workers.certificates))
    return ("--json", "sync", *at, *more)


def archives(host: Host) -> list[str]:
    return [path for path in host.requests if path.endswith(".tgz")]


def report(text: str) -> dict[str, object]:
    """What ``--json`` says, among what standard error says."""
    found: dict[str, object] = json.loads(next(t for t in text.splitlines() if '"sources"' in t))
    return found


def test_workers_make_the_mirror_that_one_process_makes(
    mirrors: Mirrors, host: Host, workers: Cluster
) -> None:
    alone, many = mirrors.another("alone"), mirrors.another("many")
    for _ in range(2):
        workers.worker()
    alone.run("sync")
    host.requests.clear()
    many.run(*sync_with(workers))
    assert len(archives(host)) == ARCHIVES, "who signs fetches nothing again"
    assert mirrors.objects(many.store) == mirrors.objects(alone.store)
    assert "all well" in many.run("check")


def test_another_authoritys_certificates_are_refused(
    mirrors: Mirrors, workers: Cluster, tmp_path: Path
) -> None:
    workers.worker()
    other = tmp_path / "other"
    mirrors.first.run("cluster", "certificates", str(other))
    at = ("--cluster", workers.address, "--certificates", str(other))
    text = mirrors.first.run("sync", *at, code=12)
    assert "certificates" in text and mirrors.first.revision() == 0
    plain = workers.address.replace("tls:", "tcp:")
    mirrors.first.run("sync", "--cluster", plain, "--certificates", str(other), code=2)


@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_killed_the_mirror_is_the_same_in_the_end(
    mirrors: Mirrors, host: Host, workers: Cluster, seed: int
) -> None:
    alone, many = mirrors.another("alone"), mirrors.another("many")
    alone.run("sync")
    host.requests.clear()
    chance = random.Random(seed)
    deeds = ["worker", "worker for good", "coordinator", "scheduler", "coordinator"]
    chance.shuffle(deeds)
    for deed in deeds:
        for _ in range(2 - len(workers.workers)):
            workers.worker()
        began = len(archives(host))
        run = many.start(*sync_with(workers))
        deadline = time.monotonic() + 60
        some = began + chance.randrange(20, 120)
        while run.poll() is None and len(archives(host)) < some and time.monotonic() < deadline:
            time.sleep(0.01)
        if deed == "coordinator":
            kill(run)
        elif deed == "scheduler":
            workers.end()
            workers.begin()
        elif deed == "worker for good":
            kill(workers.workers.pop())
        else:
            kill_child(workers.workers[0])
        run.communicate(timeout=300)
        assert deed != "scheduler" or run.returncode in (0, 12), "0 if it was done before"
    for _ in range(2 - len(workers.workers)):
        workers.worker()
    many.run(*sync_with(workers))
    # What a revision has already differs from the other's only by when it was made.
    assert mirrors.objects(many.store).keys() == mirrors.objects(alone.store).keys()
    assert "all well" in many.run("check")
    # Each deed costs what was in flight: two chunks at most.
    assert len(archives(host)) <= ARCHIVES + 2 * 102 * len(deeds)


def test_a_worker_that_is_frozen_is_given_up(
    mirrors: Mirrors, host: Host, bucket: S3, tmp_path: Path
) -> None:
    many = mirrors.another("many")
    patience = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s"}  # five minutes, if nobody says so
    with cluster(tmp_path / "cluster", bucket.environment() | patience) as workers:
        frozen = workers.worker("--no-nanny")
        run = many.start(*sync_with(workers))
        while not archives(host):
            time.sleep(0.01)
        os.kill(frozen.pid, signal.SIGSTOP)
        workers.worker()
        text = run.communicate(timeout=200)[0]
    assert run.returncode == 0, text
    assert len(many.listed()) == PACKAGES and "all well" in many.run("check")


def test_a_scheduler_that_does_not_come_back_ends_the_run(
    mirrors: Mirrors, host: Host, workers: Cluster
) -> None:
    many = mirrors.another("many")
    workers.worker()
    run = many.start(*sync_with(workers))
    while not archives(host):
        time.sleep(0.01)
    kill(workers.scheduler)
    text = run.communicate(timeout=120)[0]
    assert run.returncode == 12 and "is not fetched again" in text, text
    assert many.revision() == 0


HOW = ATTACKS | {
    "says that all is there": (
        'import re; return re.sub(rb\'"digest":"..\', b\'"digest":"00\', well(data))'
    ),
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_hostile_worker_runs_no_code_here_and_its_word_is_not_taken(
    mirrors: Mirrors, host: Host, workers: Cluster, tmp_path: Path, how: str
) -> None:
    many = mirrors.another("many")
    hostile = Hostile(tmp_path, "cnrmirror.sync.chunk", "do", how)
    worker = workers.worker(*hostile.options)
    many.run(*sync_with(workers))
    assert hostile.ran <= {worker.pid, workers.scheduler.pid}, "in the coordinator, or who signs"
    assert len(many.listed()) == PACKAGES and "all well" in many.run("check")


def test_a_worker_whose_disk_is_full_costs_time_and_nothing_else(
    mirrors: Mirrors, host: Host, workers: Cluster
) -> None:
    many = mirrors.another("many")
    workers.worker("--no-nanny", limit="ulimit -f 0; export TMPDIR=/nonexistent")
    workers.worker()
    found = report(many.run(*sync_with(workers)))
    assert found["revision"] == 1
    assert len(many.listed()) == PACKAGES and "all well" in many.run("check")


def test_a_bucket_that_fails_a_part_of_the_requests_is_asked_again(
    mirrors: Mirrors, bucket: S3, host: Host, tmp_path: Path
) -> None:
    alone = mirrors.another("alone")
    alone.run("sync")
    with faulty(bucket.url) as proxy:
        environment = bucket.environment() | {"AWS_ENDPOINT_URL": proxy.url}
        with cluster(tmp_path / "cluster", environment) as workers:
            for _ in range(2):
                workers.worker()
            many = mirrors.another("many", proxy.url)
            proxy.rate = 0.2
            many.run(*sync_with(workers))
            proxy.rate = 0
        assert proxy.failed > 50
    assert mirrors.objects(many.store) == mirrors.objects(alone.store)
