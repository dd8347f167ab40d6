"""A publish whose archives are sent by a scheduler's workers, from bucket to bucket, for real."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import chart_bytes
from tests.interop.bucket import BUCKET, S3, s3_server
from tests.interop.clusters import ATTACKS, Cluster, Hostile, cluster, kill, kill_child
from tests.machine import ROOT
from tests.store_suite import Machine

pytestmark = pytest.mark.interop
PACKAGES = 240
STORE = f"s3://{BUCKET}/registry"
POLICY = ROOT / "docs/recipes/cluster/s3-publish-worker.json"


def policy() -> str:
    """The rights of a worker that sends from the store to whatever place the tests have."""
    text = POLICY.read_text().replace("my-public-bucket/registry", f"{BUCKET}/public-*")
    return text.replace("my-bucket/registry", f"{BUCKET}/registry")


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3"), {"worker": policy()}) as found:
        yield found


@pytest.fixture(scope="module")
def machine(bucket: S3, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A mirror in a bucket."""
    folder = tmp_path_factory.mktemp("mirror")
    found = Machine(folder / "m", STORE, bucket.environment(), folder / "keys")
    found.run("init", str(found.folder), "--store", STORE)
    with (found.folder / "mirror.yaml").open("a") as file:
        file.write("views: {helm: false, oci: false, pages: false}\n")
    charts = []
    for number in range(PACKAGES):
        charts.append(folder / f"p{number}-1.0.0.tgz")
        charts[-1].write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    found.run("push", "--namespace", "ns", *map(str, charts))
    return found


@pytest.fixture
def workers(tmp_path: Path, bucket: S3) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", bucket.environment("worker")) as found:
        yield found


def new_place() -> str:
    return f"s3://{BUCKET}/public-{uuid.uuid4().hex}"


def words(workers: Cluster, place: str) -> tuple[str, ...]:
    at = ("--cluster", workers.address, "--certificates", str(workers.certificates))
    return ("--json", "publish", place, *at)


def published(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(t for t in text.splitlines() if '"revision_to"' in t))
    return found


def of_workers(done: dict[str, Any]) -> list[str]:
    """What a publish says of workers that did not do well."""
    return [n for n in done["notes"] if "without workers" in n or "done again" in n]


_OF_ITS_OWN = ("ResponseMetadata", "LastModified", "VersionId", "Body")


def objects(bucket: S3, place: str) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """All that is at a place: bytes, and what readers are told with them."""
    client = bucket.client()
    prefix = place.removeprefix(f"s3://{BUCKET}/")
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=f"{prefix}/"
    ):
        for entry in page.get("Contents", []):
            key = entry["Key"].removeprefix(f"{prefix}/")
            if not key.startswith(".cnrmirror/"):
                got = client.get_object(Bucket=BUCKET, Key=entry["Key"], ChecksumMode="ENABLED")
                told = {name: value for name, value in got.items() if name not in _OF_ITS_OWN}
                found[key] = got["Body"].read(), told
    return found


@pytest.fixture(scope="module")
def alone(machine: Machine, bucket: S3) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """What one process makes."""
    place = new_place()
    machine.run("publish", place)
    return objects(bucket, place)


Alone = dict[str, tuple[bytes, dict[str, Any]]]


def test_workers_that_may_do_no_more_make_the_place_that_one_process_makes(
    machine: Machine, bucket: S3, workers: Cluster, alone: Alone
) -> None:
    for _ in range(2):
        workers.worker()
    workers.wait(2)
    place = new_place()
    done = published(machine.run(*words(workers, place)))
    assert objects(bucket, place) == alone
    assert of_workers(done) == []
    assert "all well" in machine.run("publish", place, "--audit")


HOW = ATTACKS | {
    "says that it sent, and did not": (
        'import json; archives = json.loads(data)["archives"]; '
        'return json.dumps({"archives": [a["digest"] for a in archives]}).encode()'
    ),
    "sends other bytes of this size": (
        'module.read = lambda pieces: bytes(len(b"".join(pieces))); return well(data)'
    ),
    "sends other headers": (
        "import msgspec; archive = module.archive; module.archive = lambda blob: "
        'msgspec.structs.replace(archive(blob), media_type="text/html"); return well(data)'
    ),
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_a_hostile_worker_runs_no_code_here_and_the_place_is_the_same(
    machine: Machine, bucket: S3, workers: Cluster, alone: Alone, tmp_path: Path, how: str
) -> None:
    hostile = Hostile(tmp_path, "cnrmirror.publish.parcel", "deliver", how)
    worker = workers.worker(*hostile.options)
    place = new_place()
    done = published(machine.run(*words(workers, place)))
    assert hostile.ran <= {worker.pid, workers.scheduler.pid}, "it ran in who publishes"
    assert objects(bucket, place) == alone
    # In one attack, the work is done well besides.
    assert of_workers(done) or how == ATTACKS["warns with what runs code"]


@pytest.mark.parametrize("what", ["a worker", "all workers and the scheduler"])
def test_whatever_is_killed_the_place_is_the_same(
    machine: Machine, bucket: S3, workers: Cluster, alone: Alone, what: str
) -> None:
    for _ in range(2):
        workers.worker()
    workers.wait(2)
    place = new_place()
    run = machine.start(*words(workers, place))
    prefix = place.removeprefix(f"s3://{BUCKET}/")
    client = bucket.client()
    deadline = time.monotonic() + 60
    while run.poll() is None and time.monotonic() < deadline:
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/catalog/blobs/")
        if found["KeyCount"] > 5:
            break
        time.sleep(0.01)
    if what == "a worker":
        kill_child(workers.workers[0])
    else:
        for process in (*workers.workers, workers.scheduler):
            kill(process)
    text = run.communicate(timeout=300)[0]
    assert run.returncode == 0, text
    assert objects(bucket, place) == alone


def test_a_scheduler_that_is_not_there_is_said_before_anything_is_sent(
    machine: Machine, bucket: S3, workers: Cluster
) -> None:
    kill(workers.scheduler)
    place = new_place()
    assert "cannot be reached" in machine.run(*words(workers, place), code=12)
    assert objects(bucket, place) == {}


def test_processes_of_this_machine_read_from_a_bucket_and_send_to_one(
    machine: Machine, bucket: S3, alone: Alone
) -> None:
    place = new_place()
    done = published(machine.run("--json", "publish", place, "--workers", "2"))
    assert objects(bucket, place) == alone
    assert of_workers(done) == []
