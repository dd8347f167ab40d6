"""Verified pulls and audits from real hosts: nginx, and a bucket read anonymously."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from tests.conftest import chart_bytes
from tests.interop.bucket import BUCKET, s3_server
from tests.interop.servers import serving
from tests.mirrors import make

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("trusted")
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    project = make(folder / "mirror", "trusted hosts", now)
    charts = folder / "charts"
    charts.mkdir()
    for number in range(80):
        (charts / f"p{number}-1.0.0.tgz").write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    push(project, [charts], Override(namespace="ns"), now, What(["stable"]))
    return project


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.run(
        [sys.executable, "-m", "cnrmirror", "--json", *arguments], cwd=ROOT,
        capture_output=True, text=True, timeout=120, env={**kept, **environment},
    )  # fmt: skip


@pytest.fixture(scope="module", params=["nginx", "caddy", "apache", "lighttpd"])
def host(
    request: pytest.FixtureRequest, mirror: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with serving(request.param, mirror.site, tmp_path_factory.mktemp(request.param)) as url:
        yield url


def test_a_pull_and_an_audit_from_a_web_server(host: str, mirror: Project, tmp_path: Path) -> None:
    root = str(mirror.metadata.path / "1.root.json")
    done = run("pull", "ns/p7:stable", "--from", host, "--root", root, "--dest", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ns_p7_1.0.0" / "p7" / "Chart.yaml").exists()
    done = run("check", "--from", host, "--strict")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["complete"] and report["packages"] == 80 and report["views"] > 800


def test_an_audit_names_a_view_that_is_not_what_the_catalog_says(
    mirror: Project, tmp_path: Path
) -> None:
    root = str(mirror.metadata.path / "1.root.json")
    path = mirror.site / "cnr/api/v1/packages/ns/p7/1.0.0/helm/index.json"
    before = path.read_bytes()
    with serving("nginx", mirror.site, tmp_path / "nginx") as url:
        path.write_bytes(before.replace(b"1.0.0", b"9.0.0"))
        try:
            done = run("check", "--from", url, "--root", root)
        finally:
            path.write_bytes(before)
    assert done.returncode == 9
    found = {f["path"] for f in json.loads(done.stdout)["findings"]}
    assert "cnr/api/v1/packages/ns/p7/1.0.0/helm/index.json" in found


def test_a_pull_and_an_audit_from_a_bucket(mirror: Project, tmp_path: Path) -> None:
    root = str(mirror.metadata.path / "1.root.json")
    with s3_server(tmp_path / "s3") as server:
        client = server.client()
        for path in (mirror.site / "catalog").rglob("*"):
            if path.is_file():
                key = f"some/prefix/{path.relative_to(mirror.site).as_posix()}"
                client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        client.close()
        address = f"s3://{BUCKET}/some/prefix"
        where = {"AWS_ENDPOINT_URL": server.url, "AWS_EC2_METADATA_DISABLED": "true"}
        done = run("pull", "ns/p7", "--from", address, "--root", root, "--dest", str(tmp_path),
                   "--tarball", **where)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "ns_p7_1.0.0.tar.gz").read_bytes() == chart_bytes("p7", "1.0.0")
        done = run("check", "--from", address, "--strict", "--no-views", **where)
        assert done.returncode == 0, done.stdout + done.stderr
        done = run("pull", "ns/p7", "--from", f"s3://{BUCKET}/nowhere", "--root", root, **where)
        assert done.returncode == 11
