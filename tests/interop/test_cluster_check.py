"""A check of one's own mirror in a bucket, read by a scheduler's workers, for real."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import chart_bytes
from tests.interop.bucket import BUCKET, S3, s3_server
from tests.interop.clusters import ATTACKS, Cluster, Hostile, cluster
from tests.interop.faulty import Proxy, faulty
from tests.store_suite import Machine
from tests.test_check_workers import without_times

pytestmark = pytest.mark.interop
PACKAGES = 60
DAMAGED = 6


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def workers(tmp_path: Path, bucket: S3) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", bucket.environment()) as found:
        yield found


@pytest.fixture
def proxy(bucket: S3) -> Iterator[Proxy]:
    """What the command reads in the bucket passes here; what workers read does not."""
    with faulty(bucket.url) as found:
        yield found


class Owner:
    """Whose mirror it is."""

    def __init__(self, folder: Path, bucket: S3, proxy: Proxy, workers: Cluster) -> None:
        self.bucket, self.proxy = bucket, proxy
        self.prefix = uuid.uuid4().hex
        store = f"s3://{BUCKET}/{self.prefix}"
        environment = bucket.environment() | {"AWS_ENDPOINT_URL": proxy.url}
        self.machine = Machine(folder / "mirror", store, environment, folder / "keys")
        self.machine.run("init", str(self.machine.folder), "--store", store)
        charts = []
        for number in range(PACKAGES):
            charts.append(folder / f"p{number}-1.0.0.tgz")
            charts[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
        self.machine.run("push", "--namespace", "ns", *map(str, charts))
        self._at = ("--cluster", workers.address, "--certificates", str(workers.certificates))

    def archives(self) -> list[str]:
        found = self.bucket.client().list_objects_v2(
            Bucket=BUCKET, Prefix=f"{self.prefix}/catalog/blobs/"
        )
        return sorted(entry["Key"] for entry in found["Contents"])

    def damage(self, key: str) -> None:
        client = self.bucket.client()
        data = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        client.put_object(Bucket=BUCKET, Key=key, Body=data[::-1])

    def check(self, code: int, with_workers: bool = True) -> dict[str, Any]:
        """The report, but for when it was made."""
        text = self.machine.run("--json", "check", *(self._at if with_workers else ()), code=code)
        (said,) = (line for line in text.splitlines() if '"findings"' in line)
        return without_times(said)

    @property
    def read_here(self) -> set[str]:
        """The archives that the command itself has read."""
        return {
            path.partition("?")[0].partition(f"/{BUCKET}/")[2]
            for method, path in self.proxy.passed
            if method == "GET" and "/catalog/blobs/" in path
        }


@pytest.fixture
def owner(tmp_path: Path, bucket: S3, proxy: Proxy, workers: Cluster) -> Owner:
    return Owner(tmp_path, bucket, proxy, workers)


def test_workers_find_what_one_process_finds(owner: Owner, workers: Cluster) -> None:
    for _ in range(2):
        workers.worker()
    workers.wait(2)
    archives = owner.archives()
    for spoil in (None, archives[7]):
        if spoil is not None:
            owner.damage(spoil)
        code = 0 if spoil is None else DAMAGED
        owner.proxy.passed.clear()
        alone = owner.check(code, with_workers=False)
        assert owner.read_here == set(archives) and len(archives) == PACKAGES
        owner.proxy.passed.clear()
        assert owner.check(code) == alone
        assert owner.read_here == ({spoil} if spoil else set())
    assert [each["path"] for each in alone["findings"]] == [
        archives[7].removeprefix(f"{owner.prefix}/")
    ]


@pytest.mark.parametrize("how", ATTACKS.values(), ids=ATTACKS)
def test_a_hostile_worker_runs_no_code_here_and_the_report_is_the_same(
    owner: Owner, workers: Cluster, tmp_path: Path, how: str
) -> None:
    owner.damage(owner.archives()[7])
    alone = owner.check(DAMAGED, with_workers=False)
    hostile = Hostile(tmp_path, "cnrmirror.audit.scout", "scout", how)
    worker = workers.worker(*hostile.options)
    found = owner.check(DAMAGED)
    assert hostile.ran <= {worker.pid, workers.scheduler.pid}, "it ran in who checks"
    notes = [note for note in found["notes"] if "read without workers: " not in note]
    assert found | {"notes": notes} == alone


def test_a_check_where_keys_are_says_the_same_from_a_process_without_them(
    owner: Owner, workers: Cluster
) -> None:
    workers.worker()
    alone = owner.check(0, with_workers=False)
    owner.machine.environment["CNRMIRROR_KEYS"] = "no keys"
    assert owner.check(0) == alone
