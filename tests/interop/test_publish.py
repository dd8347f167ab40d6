"""Publishing to a real S3 server that checks signatures, and reading back without any."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cnrmirror.archive.identify import Override
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.base import Objects, Reader, read
from cnrmirror.objects.bucket import BucketReader
from cnrmirror.objects.http import HttpReader
from cnrmirror.objects.s3 import BucketObjects
from cnrmirror.objects.s3_settings import S3Settings
from tests.conftest import chart_bytes, tar_gz
from tests.interop.bucket import BUCKET, S3, s3_server
from tests.interop.faulty import faulty
from tests.interop.reference import legacy
from tests.mirrors import make, reopen
from tests.objects_suite import ObjectsSuite, ReaderSuite

pytestmark = pytest.mark.interop
API = "cnr/api/v1/packages"
KILLS = int(os.environ.get("CNRMIRROR_KILLS", "40"))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def run(
    project: Project, s3: S3, *arguments: str, code: int = 0, url: str = "", **more: str
) -> str:
    environment = {**os.environ, **s3.environment(), **more}
    if url:
        environment["AWS_ENDPOINT_URL"] = url
    command = [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def mirror(folder: Path, count: int = 5) -> Project:
    """A new mirror, signed now, with some packages of two releases."""
    project = make(folder, folder.name, _now())
    paths = []
    for number in range(count):
        for release in ("1.0.0", "1.1.0"):
            path = folder.parent / f"{folder.name}-p{number}-{release}.tgz"
            path.write_bytes(chart_bytes(f"p{number}", release))
            paths.append(path)
    push(project, paths, Override(namespace="ns"), _now(), What(["stable"]))
    return project


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def test_a_published_registry_is_read_back_by_anybody(
    s3: S3, session: requests.Session, tmp_path: Path
) -> None:
    project = mirror(tmp_path / "readable")
    run(project, s3, "publish", f"s3://{BUCKET}/readable")
    base = f"{s3.url}/{BUCKET}/readable/{API}"
    with session.get(base) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        assert [row["name"] for row in answer.json()] == [f"ns/p{n}" for n in range(5)]
    with session.get(f"{base}/ns/p1/1.0.0/helm") as answer:
        digest = answer.json()["content"]["digest"]
        assert answer.headers["Cache-Control"] == "public, max-age=60"
    for path in (f"ns/p1/blobs/sha256/{digest}", "ns/p1/1.0.0/helm/pull"):
        with session.get(f"{base}/{path}") as answer:
            assert answer.content == chart_bytes("p1", "1.0.0")
            assert answer.headers["Content-Type"] == "application/x-gzip"
            assert answer.headers["Content-Disposition"].startswith("ns_p1_")
    address = f"{s3.url}/{BUCKET}/readable"
    root = str(project.metadata.path / "1.root.json")
    run(project, s3, "check", "--from", f"s3://{BUCKET}/readable", "--root", root, "--strict")
    run(project, s3, "check", "--from", address, "--root", root)
    run(project, s3, "pull", "ns/p2:stable", "--from", address, "--root", root,
        "--dest", str(tmp_path / "pulled"))  # fmt: skip
    assert (tmp_path / "pulled" / "ns_p2_1.1.0" / "p2" / "Chart.yaml").is_file()


@pytest.mark.parametrize("wanted", ["@1.0.0", ":stable", ""])
def test_appr_pulls_from_the_bare_bucket(s3: S3, tmp_path: Path, wanted: str) -> None:
    """A bucket named ``cnr`` would do; here its prefix is, and a port of its own leads to it."""
    project = mirror(tmp_path / f"appr{len(wanted)}")
    prefix = f"appr{len(wanted)}"
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write(f"publish:\n  here:\n    to: s3://{BUCKET}/{prefix}\n    forms: [json]\n")
    run(project, s3, "publish", "here")
    (tmp_path / "out").mkdir()
    with at_root(f"{s3.url}/{BUCKET}/{prefix}") as port:
        appr = legacy("appr", "appr")
        done = subprocess.run(
            [str(appr), "pull", f"localhost:{port}/ns/p1{wanted}", "-t", "helm",
             "--dest", str(tmp_path / "out"), "--tarball"],
            capture_output=True, text=True, timeout=60, cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    release = "1.0.0" if wanted == "@1.0.0" else "1.1.0"
    assert [hashlib.sha256(p.read_bytes()).hexdigest() for p in found] == [
        hashlib.sha256(chart_bytes("p1", release)).hexdigest()
    ]


class at_root:
    """The prefix of a bucket at the root of a host, as a host name of its own gives it."""

    def __init__(self, base: str) -> None:
        self._base = base

    def __enter__(self) -> int:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        base = self._base

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with requests.Session() as session:
                    session.trust_env = False
                    answer = session.get(base + self.path, timeout=20)
                self.send_response(answer.status_code)
                self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self._server.server_port

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_nothing_new_is_two_requests_and_one_release_few_and_none_lists(
    s3: S3, tmp_path: Path
) -> None:
    project = mirror(tmp_path / "requests", 100)
    target = f"s3://{BUCKET}/requests"
    run(project, s3, "publish", target)
    with faulty(s3.url) as proxy:
        proxy_target = _named(project, target, proxy.url)
        run(project, s3, "publish", proxy_target, url=proxy.url)  # probes the new endpoint once
        proxy.passed.clear()
        run(project, s3, "publish", proxy_target, url=proxy.url)
        assert len(proxy.passed) == 2
        path = tmp_path / "p7-1.2.0.tgz"
        path.write_bytes(chart_bytes("p7", "1.2.0"))
        push(project, [path], Override(namespace="ns"), _now(), What(["stable"]))
        proxy.passed.clear()
        run(project, s3, "publish", proxy_target, url=proxy.url)
        assert 10 < len(proxy.passed) <= 50, proxy.passed
        assert not any("list-type" in path for _, path in proxy.passed)


def _named(project: Project, target: str, url: str) -> str:
    with (project.folder / "mirror.yaml").open("a") as config:
        config.write(f"publish:\n  proxied:\n    to: {target}\n    endpoint: {url}\n")
    return "proxied"


def test_an_endpoint_that_fails_every_fifth_request_is_published_to(s3: S3, tmp_path: Path) -> None:
    project = mirror(tmp_path / "faulty", 30)
    target = f"s3://{BUCKET}/faulty"
    with faulty(s3.url) as proxy:
        proxy.rate = 0.2
        run(project, s3, "publish", _named(project, target, proxy.url))
        assert proxy.failed > 50
    root = str(project.metadata.path / "1.root.json")
    run(project, s3, "check", "--from", target, "--root", root, "--strict")
    assert "all well" in run(project, s3, "publish", target, "--audit")


def test_two_publishers_at_once_lose_nothing(
    s3: S3, session: requests.Session, tmp_path: Path
) -> None:
    project = mirror(tmp_path / "both")
    target = f"s3://{BUCKET}/both"
    run(project, s3, "publish", target)
    shutil.copytree(project.folder, tmp_path / "second", symlinks=True)
    shutil.rmtree(tmp_path / "second/.state/memory/destinations")
    projects = [project, reopen(tmp_path / "second")]
    for number, each in enumerate(projects):
        path = tmp_path / f"new{number}-1.0.0.tgz"
        path.write_bytes(chart_bytes(f"new{number}", "1.0.0"))
        push(each, [path], Override(namespace="ns"), _now())
    environment = {**os.environ, **s3.environment()}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "cnrmirror", "-C", str(each.folder), "publish", target],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for each in projects
    ]  # fmt: skip
    for process, each in zip(running, projects, strict=True):
        output = process.communicate(timeout=120)[0].decode()
        assert process.returncode == 0, output
        run(each, s3, "publish", target)
    with session.get(f"{s3.url}/{BUCKET}/both/{API}") as answer:
        assert {"ns/new0", "ns/new1"} <= {row["name"] for row in answer.json()}
    root = str(project.metadata.path / "1.root.json")
    run(project, s3, "check", "--from", target, "--root", root, "--strict")


def test_killed_at_random_moments_no_reader_sees_a_gap_and_the_next_publish_goes_on(
    s3: S3, session: requests.Session, tmp_path: Path
) -> None:
    project = mirror(tmp_path / "killed")
    target = f"s3://{BUCKET}/killed"
    run(project, s3, "publish", target)
    base = f"{s3.url}/{BUCKET}/killed/{API}"
    environment = {**os.environ, **s3.environment()}
    chance = random.Random(3)
    stop = threading.Event()
    gaps: list[str] = []
    seen = 0

    def look() -> None:
        nonlocal seen
        with requests.Session() as reader:
            reader.trust_env = False
            while not stop.is_set():
                for row in reader.get(base, timeout=20).json():
                    for manifest in reader.get(f"{base}/{row['name']}", timeout=20).json():
                        release, digest = manifest["release"], manifest["content"]["digest"]
                        one = reader.get(f"{base}/{row['name']}/{release}/helm/pull", timeout=20)
                        blob = f"{base}/{row['name']}/blobs/sha256/{digest}"
                        if (
                            one.status_code != 200
                            or reader.get(blob, timeout=20).status_code != 200
                        ):
                            gaps.append(f"{row['name']}@{release}")
                        seen += 1
                for path in ("", "/1.0.0", "/default/helm", "/channels/stable"):
                    if reader.get(f"{base}/ns/p0{path}", timeout=20).status_code != 200:
                        gaps.append(path)

    readers = [threading.Thread(target=look) for _ in range(1)]
    for reader in readers:
        reader.start()
    command = [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "publish", target]
    try:
        for number in range(KILLS):
            path = tmp_path / f"p{number % 5}-2.{number}.0.tgz"
            path.write_bytes(chart_bytes(f"p{number % 5}", f"2.{number}.0"))
            push(project, [path], Override(namespace="ns"), _now())
            if number % 7 == 6:
                change.remove(
                    project, change.Removal(f"ns/p{number % 5}", f"2.{number}.0", None, "x"), _now()
                )
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)  # fmt: skip
            time.sleep(0.35 + chance.random() * 0.6)
            process.send_signal(signal.SIGKILL)
            process.wait()
        run(project, s3, "publish", target)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert gaps == [] and seen > 20
    root = str(project.metadata.path / "1.root.json")
    run(project, s3, "check", "--from", target, "--root", root)
    assert json.loads(requests_get(session, f"{base}/ns/p1"))[0]["release"].startswith("2.")


def requests_get(session: requests.Session, url: str) -> bytes:
    with session.get(url) as answer:
        return answer.content


@pytest.mark.parametrize(
    ("target", "more", "code", "words"),
    [
        (f"s3://{BUCKET}/x", {"AWS_SECRET_ACCESS_KEY": "wrong"}, 16, "credentials"),
        (f"s3://{BUCKET}/x", {"AWS_ACCESS_KEY_ID": "nobody"}, 16, "credentials"),
        ("s3://absent-bucket/x", {"AWS_ACCESS_KEY_ID": "admin-of-the-tests"}, 5, "bucket"),
        (
            f"s3://{BUCKET}/x",
            {"AWS_ACCESS_KEY_ID": "reader-of-the-tests"},
            16,
            "check the credentials",
        ),
        (f"s3://{BUCKET}/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 12, ""),
    ],
)
def test_what_cannot_be_written_to_is_said_clearly(
    s3: S3, tmp_path: Path, target: str, more: dict[str, str], code: int, words: str
) -> None:
    project = mirror(tmp_path / "refused", 1)
    output = run(project, s3, "publish", target, code=code, **more)
    assert words in output and "Traceback" not in output


def test_a_large_archive_is_sent_in_parts_and_copied_on_the_server(
    s3: S3, session: requests.Session, tmp_path: Path
) -> None:
    project = make(tmp_path / "large", "large", _now())
    path = tmp_path / "big-1.0.0.tgz"
    chance = random.Random(5)
    files = {f"big/{n}.txt": chance.randbytes(5_000_000).hex().encode() for n in range(4)}
    path.write_bytes(tar_gz({"big/Chart.yaml": b"name: big\nversion: 1.0.0\n", **files}))
    push(project, [path], Override(namespace="ns"), _now())
    assert path.stat().st_size > 20_000_000
    run(project, s3, "publish", f"s3://{BUCKET}/large")
    with session.get(f"{s3.url}/{BUCKET}/large/{API}/ns/big/1.0.0/helm/pull") as answer:
        assert answer.content == path.read_bytes()
        assert answer.headers["Content-Type"] == "application/x-gzip"
    assert "all well" in run(project, s3, "publish", f"s3://{BUCKET}/large", "--audit")


@pytest.mark.parametrize("checksums", [True, False])
def test_any_key_is_written_read_by_everybody_and_removed(
    s3: S3, tmp_path: Path, checksums: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(tmp_path / "mirror", "keys", _now()).store
    keys = ["a b+c%2B~d:e@f=g&h!(i)é", "1.0.0+b.1/helm", "%", "p~q/-"]
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    address = f"s3://{BUCKET}/keys-{uuid.uuid4().hex}"
    place = BucketObjects(address, S3Settings(checksums=checksums), store)
    place.put([Resource(key, key.encode()) for key in keys], NoProgress())
    assert sorted(listed.key for listed in place.listing()) == sorted(keys)
    signed = BucketReader(address)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    anybody = BucketReader(address)
    web = HttpReader(f"{s3.url}/{address.removeprefix('s3://')}")
    for reader in (signed, anybody, web):
        for key in keys:
            assert read(reader.fetch(key, 100)) == key.encode()
        reader.close()
    assert place.delete(keys) == [] and list(place.listing()) == []
    place.close()


class TestBucket(ObjectsSuite):
    """A real service does what every kind of objects must do."""

    @pytest.fixture
    def pair(
        self, s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[tuple[Objects, Objects]]:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        store = make(tmp_path / "mirror", "suite", _now()).store
        address = f"s3://{BUCKET}/suite-{uuid.uuid4().hex}"
        pair = tuple(BucketObjects(address, S3Settings(), store) for _ in range(2))
        yield pair[0], pair[1]
        for objects in pair:
            objects.close()

    @pytest.fixture
    def project(self, pair: tuple[Objects, Objects], tmp_path: Path) -> Project:
        return reopen(tmp_path / "mirror")


class TestBucketReader(ReaderSuite):
    @pytest.fixture
    def reader(self, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
        for name, value in s3.environment().items():
            monkeypatch.setenv(name, value)
        for path, data in self.files.items():
            s3.client().put_object(Bucket=BUCKET, Key=f"reader/{path}", Body=data)
        reader = BucketReader(f"s3://{BUCKET}/reader")
        yield reader
        reader.close()
