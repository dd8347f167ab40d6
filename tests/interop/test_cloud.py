"""Google's and Microsoft's objects as places, by the program's own commands.

Microsoft keeps an emulator, Google one that lacks much: a double of the tests' own stands for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.instant import Instant
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Objects, Reader, read
from cnrmirror.objects.cloud import CloudObjects, CloudReader
from cnrmirror.objects.cloud_settings import CloudSettings
from tests.conftest import chart_bytes
from tests.gcs_double import google
from tests.interop.azure import ACCOUNT, CONTAINER, Azure, azure
from tests.mirrors import make, reopen
from tests.objects_suite import ObjectsSuite, ReaderSuite
from tests.places import API

pytestmark = pytest.mark.interop
NOW = str(Instant.of(datetime.now(UTC)))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azure(tmp_path_factory.mktemp("azure")) as found:
        yield found


@pytest.fixture
def store(service: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Project:
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    return make(tmp_path / "suite", "suite", NOW)


class TestAzure(ObjectsSuite):
    @pytest.fixture
    def pair(self, service: Azure, store: Project) -> tuple[Objects, Objects]:
        address = f"az://{ACCOUNT}/{CONTAINER}/{uuid.uuid4().hex}"
        settings = CloudSettings(service.endpoint)
        return (
            CloudObjects(address, settings, store.store),
            CloudObjects(address, settings, store.store),
        )

    @pytest.fixture
    def project(self, store: Project) -> Project:
        return reopen(store.folder)


def test_a_large_archive_goes_and_comes_in_parts(service: Azure, store: Project) -> None:
    data = bytes(range(256)) * (80 << 10)
    blob = Descriptor.of(data)
    store.store.add_blob(blob, [data])
    address = f"az://{ACCOUNT}/{CONTAINER}/{uuid.uuid4().hex}"
    place = CloudObjects(address, CloudSettings(service.endpoint), store.store)
    place.create([Resource("catalog/blobs/a", blob)], NoProgress())
    assert read(place.fetch("catalog/blobs/a", len(data))) == data
    found = place.read("catalog/blobs/a", len(data))
    assert found is not None and found[0] == data
    listed = next(place.listing())
    assert place.holds(listed, Resource("x", blob))
    assert place.delete([listed.key]) == [] and place.read(listed.key, 100) is None


class TestAzureReader(ReaderSuite):
    @pytest.fixture(params=["signed", "by anybody"])
    def reader(self, request: pytest.FixtureRequest, service: Azure, store: Project) -> Reader:
        address, settings = f"az://{ACCOUNT}/{CONTAINER}/reader", CloudSettings(service.endpoint)
        files = [Resource(path, data) for path, data in self.files.items()]
        CloudObjects(address, settings, store.store).put(files, NoProgress())
        return CloudReader(address, settings, signed=request.param == "signed")


class Cloud:
    """A cloud's emulator, an address there, and what a command needs to know of both."""

    def __init__(self, address: str, url: str, environment: dict[str, str]) -> None:
        self.address, self.url, self.environment = address, url, environment

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cnrmirror", *arguments],
            env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(params=["google", "azure"])
def cloud(request: pytest.FixtureRequest, service: Azure) -> Iterator[Cloud]:
    prefix = uuid.uuid4().hex
    if request.param == "azure":
        more = {**service.environment, "AZURE_STORAGE_ENDPOINT": service.endpoint}
        url = f"{service.endpoint}/{CONTAINER}/{prefix}"
        yield Cloud(f"az://{ACCOUNT}/{CONTAINER}/{prefix}", url, more)
        return
    with google() as found:
        more = {"STORAGE_EMULATOR_HOST": found.url}
        yield Cloud(f"gs://site/{prefix}", f"{found.url}/site/{prefix}", more)


@pytest.fixture
def mirror(tmp_path: Path) -> Project:
    # A registry of its own: readers remember what they have seen of one.
    project = make(tmp_path / "mirror", str(uuid.uuid4()), NOW)
    for release in ("1.0.0", "1.1.0"):
        path = tmp_path / f"web-{release}.tgz"
        path.write_bytes(chart_bytes("web", release))
        push(project, [path], Override(namespace="charts"), NOW, What(["stable"]))
    return project


def test_a_mirror_is_published_checked_pulled_changed_and_put_right(
    cloud: Cloud, mirror: Project, tmp_path: Path
) -> None:
    here = ("-C", str(mirror.folder))
    plan = json.loads(cloud.run("--json", *here, "publish", cloud.address, "--dry-run"))
    assert any("/v2/" in text for text in plan["left_out"])
    cloud.run(*here, "publish", cloud.address)
    assert "all well" in cloud.run(*here, "publish", cloud.address, "--audit")
    root = str(mirror.metadata.path / "1.root.json")
    for source in (cloud.address, cloud.url):
        assert "it has no /v2/" in cloud.run("check", "--from", source, "--root", root)
    out = tmp_path / "out"
    cloud.run(
        "pull", "charts/web@1.0.0", "--from", cloud.address, "--root", root, "--dest", str(out)
    )
    assert next(out.rglob("Chart.yaml")).read_bytes().count(b"1.0.0") == 1
    with requests.get(f"{cloud.url}/{API}/charts/web/1.1.0/helm/pull", timeout=30) as answer:
        assert answer.headers["Content-Type"] == "application/x-gzip"
    cloud.run(*here, "remove", "charts/web@1.0.0", "--reason", "wrong")
    assert "2 requests" not in cloud.run(*here, "publish", cloud.address)
    assert "2 requests" in cloud.run(*here, "publish", cloud.address)
    cloud.run("check", "--from", cloud.address, "--root", root)


def test_two_publishers_lose_nothing(cloud: Cloud, mirror: Project, tmp_path: Path) -> None:
    cloud.run("-C", str(mirror.folder), "publish", cloud.address)
    other = tmp_path / "other"
    shutil.copytree(mirror.folder, other, symlinks=True)
    for number, folder in enumerate((mirror.folder, other)):
        path = tmp_path / f"p{number}-1.0.0.tgz"
        path.write_bytes(chart_bytes(f"p{number}", "1.0.0"))
        cloud.run("-C", str(folder), "push", "--namespace", "charts", str(path))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "cnrmirror", "-C", str(folder), "publish", cloud.address],
            env={**os.environ, **cloud.environment}, stdout=subprocess.DEVNULL,
        )
        for folder in (mirror.folder, other)
    ]  # fmt: skip
    assert [process.wait(120) for process in running] == [0, 0]
    root = str(mirror.metadata.path / "1.root.json")
    listed = cloud.run("list", "--from", cloud.address, "--root", root)
    assert all(name in listed for name in ("charts/p0", "charts/p1", "charts/web"))
    cloud.run("check", "--from", cloud.address, "--root", root)
