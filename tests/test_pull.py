"""Verified pulls: what arrives is what tar gives, whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.scan import Limits
from cnrmirror.client.pull import pull, resolve
from cnrmirror.client.remote import Remote
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import (
    ConflictError,
    HostileArchive,
    NotFoundError,
    Tampered,
    UsageError,
)
from cnrmirror.model.names import Reference
from cnrmirror.objects.folder import FolderReader
from cnrmirror.objects.http import HttpReader
from cnrmirror.objects.parallel import AT_ONCE
from cnrmirror.trust.verify import Policy, Trust
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.hostile import hosting
from tests.mirrors import make
from tests.recorded import Recorded

CLOCK = datetime.fromisoformat(NOW).replace(tzinfo=UTC) + timedelta(hours=1)
ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("CNRMIRROR_KILLS", "40"))


def remote(project: Project, folder: Path) -> Remote:
    pinned = (project.metadata.path / "1.root.json").read_bytes()
    trust = Trust(pinned, folder / "cache", folder / "marks")
    reader = FolderReader(project.site)
    return Remote(reader, trust.verify(reader, Policy(), CLOCK))


def content(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Every file, folder and link: its kind and executable bit, and what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", b"")
        else:
            executable = "x" if path.stat().st_mode & stat.S_IXUSR else ""
            found[name] = (f"file{executable}", path.read_bytes())
    return found


def test_what_is_extracted_is_what_tar_gives(tmp_path: Path) -> None:
    project = Recorded("appr").mirror(tmp_path / "mirror")
    there = remote(project, tmp_path)
    compared = 0
    for document in there.documents(AT_ONCE):
        for release in document.releases:
            reference = Reference.parse(f"{document.package}@{release.release}")
            dest = tmp_path / "dest" / str(compared)
            pulled = pull(there, reference, release.media_type, dest, False, Limits())
            expected = tmp_path / "tar" / str(compared)
            expected.mkdir(parents=True)
            blob = Path(project.store.blob_path(release.blob.digest))
            subprocess.run(["tar", "xzf", str(blob)], cwd=expected, check=True)
            assert content(Path(pulled.path)) == content(expected)
            compared += 1
    assert compared == there.verified.root.releases > 15


def test_a_package_with_links_and_programs_arrives_as_it_is(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in (("a/Chart.yaml", 0o644), ("a/run.sh", 0o755)):
            member = tarfile.TarInfo(name)
            data = b"name: a\nversion: 1.0.0\n"
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("a/link")
        link.type, link.linkname = tarfile.SYMTYPE, "Chart.yaml"
        tar.addfile(link)
    path = tmp_path / "a-1.0.0.tgz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    project = make(tmp_path / "mirror", "links")
    report = push(project, [path], Override(namespace="ns"), NOW)
    assert report.pushed[0].flags == ("symlinks",)
    pulled = pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path / "d",
                  False, Limits())  # fmt: skip
    found = content(Path(pulled.path))
    assert found["a/link"] == ("link", b"Chart.yaml")
    assert found["a/run.sh"][0] == "filex"


def test_a_hostile_archive_extracts_nothing(tmp_path: Path) -> None:
    """A publisher that signs one all the same: the client looks for itself."""
    project = make(tmp_path / "mirror", "hostile")
    good = tmp_path / "a-1.0.0.tgz"
    good.write_bytes(tar_gz({"a/Chart.yaml": b"name: a\nversion: 1.0.0\n"}))
    push(project, [good], Override(namespace="ns"), NOW)
    for limits in (Limits(member=3), Limits(members=0), Limits(unpacked=10)):
        with pytest.raises(Exception, match="archive"):
            pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path / "d",
                 False, limits)  # fmt: skip
        assert list((tmp_path / "d").iterdir()) == []
    evil = gzip.compress(_evil_tar())
    document = project.document("ns/a")
    _forge(project, document.releases[0].blob.digest, evil)
    with pytest.raises(HostileArchive):
        pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path / "d", False,
             Limits())  # fmt: skip
    assert list((tmp_path / "d").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def _evil_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("../evil")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    return buffer.getvalue()


def _forge(project: Project, old: str, data: bytes) -> None:
    """Sign a revision in which the package's archive is another one."""
    document = project.document("ns/a")
    blob = Descriptor.of(data)
    project.store.add_blob(blob, [data])
    release = msgspec.structs.replace(
        document.releases[0], blob=blob,
        content=msgspec.structs.replace(
            document.releases[0].content,
            digest=hashlib.sha256(gzip.decompress(data)).hexdigest(),
        ),
    )  # fmt: skip
    with project.writing():
        new = msgspec.structs.replace(document, releases=[release])
        project.commit({"ns/a": new}, "forged", NOW)


def test_nothing_is_ever_overwritten(tmp_path: Path, project: Project) -> None:
    path = tmp_path / "a-1.0.0.tgz"
    path.write_bytes(chart_bytes("a", "1.0.0"))
    push(project, [path], Override(namespace="ns"), NOW)
    there = remote(project, tmp_path)
    for name, tarball in (("ns_a_1.0.0", False), ("ns_a_1.0.0.tar.gz", True)):
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / name).symlink_to(tmp_path / "nowhere")
        with pytest.raises(ConflictError):
            pull(there, Reference.parse("ns/a"), None, tmp_path / "d", tarball, Limits())
        assert [p.name for p in (tmp_path / "d").iterdir()] == [name]
        shutil.rmtree(tmp_path / "d")


def test_references_are_resolved_as_the_registry_does(tmp_path: Path, project: Project) -> None:
    for release in ("1.0.0", "1.2.0", "2.0.0-rc.1", "1.2.0+b.7"):
        path = tmp_path / f"a-{release}.tgz"
        path.write_bytes(chart_bytes("a", release))
        channels = ["stable"] if release == "1.0.0" else []
        push(project, [path], Override(namespace="ns"), NOW, What(channels))
    wish = Override(namespace="ns", package="ns/a", release="1.0.0", media_type="kpm")
    push(project, [tmp_path / "a-1.0.0.tgz"], wish, NOW)
    document = remote(project, tmp_path).document("ns/a")

    def found(text: str, media_type: str | None = "helm") -> str:
        return resolve(document, Reference.parse(f"ns/a{text}"), media_type).release

    assert found("") == "2.0.0-rc.1"
    assert found(":stable") == "1.0.0"
    assert found("@<2.0.0") == "1.2.0+b.7"
    assert found("@1.2.0") == "1.2.0"
    digest = document.of_release("1.2.0")[0].content.digest
    assert found(f"@sha256:{digest}") in ("1.2.0", "1.2.0+b.7")
    digest = document.of_release("1.0.0")[0].content.digest
    for media_type in ("helm", "kpm"):
        chosen = resolve(document, Reference.parse(f"ns/a@sha256:{digest}"), media_type)
        assert (chosen.release, chosen.media_type) == ("1.0.0", media_type)
    with pytest.raises(UsageError):
        found("@1.0.0", None)
    for wrong in ("@9.9.9", ":nowhere", "@>=9.0.0", f"@sha256:{'0' * 64}"):
        with pytest.raises(NotFoundError):
            found(wrong)


@pytest.mark.parametrize("tarball", [True, False])
def test_a_pull_that_is_killed_leaves_nothing_or_the_whole(tmp_path: Path, tarball: bool) -> None:
    project = make(tmp_path / "mirror", f"killed {tarball}")
    dice = random.Random(7)
    files = {f"a/{n}": random.Random(n).randbytes(200_000) for n in range(20)}
    chart = tmp_path / "a-1.0.0.tgz"
    chart.write_bytes(tar_gz({"a/Chart.yaml": b"name: a\nversion: 1.0.0\n", **files}))
    push(project, [chart], Override(namespace="ns"), datetime.now(UTC).isoformat()[:19])
    dest = tmp_path / "dest"
    command = [sys.executable, "-m", "cnrmirror", "pull", "ns/a", "--from", str(project.site),
               "--root", str(project.metadata.path / "1.root.json"), "--dest", str(dest),
               *(["--tarball"] if tarball else [])]  # fmt: skip
    begun = time.monotonic()
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    takes = time.monotonic() - begun
    name = "ns_a_1.0.0.tar.gz" if tarball else "ns_a_1.0.0"
    whole = (dest / name).read_bytes() if tarball else content(dest / name)
    for _ in range(max(5, KILLS // 4)):
        shutil.rmtree(dest)
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(takes * dice.uniform(0.5, 1.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (dest / name).exists():
            assert ((dest / name).read_bytes() if tarball else content(dest / name)) == whole
        dest.mkdir(exist_ok=True)
    shutil.rmtree(dest / name, ignore_errors=True)
    (dest / name).unlink(missing_ok=True)
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert [p.name for p in dest.iterdir()] == [name]  # and nothing of what was killed


def test_a_cold_pull_out_of_many_packages_is_ten_small_requests(tmp_path: Path) -> None:
    charts = tmp_path / "charts"
    charts.mkdir()
    for number in range(1200):
        (charts / f"p{number}-1.0.0.tgz").write_bytes(chart_bytes(f"p{number}", "1.0.0"))
    project = make(tmp_path / "mirror", "many")
    push(project, [charts], Override(namespace="ns"), NOW)
    pinned = (project.metadata.path / "1.root.json").read_bytes()
    trust = Trust(pinned, tmp_path / "cache", tmp_path / "marks")
    with hosting(project.site) as host:
        reader = HttpReader(host.url)
        there = Remote(reader, trust.verify(reader, Policy(), CLOCK))
        pulled = pull(there, Reference.parse("ns/p7"), None, tmp_path, True, Limits())
        reader.close()
        assert len(host.requests) <= 10
        assert host.sent - pulled.blob.size <= 64 << 10


@pytest.mark.parametrize("tarball", [True, False])
@pytest.mark.parametrize("where", [0, 0.5, 1])
def test_one_wrong_byte_in_a_large_archive_is_found_and_nothing_appears(
    tmp_path: Path, project: Project, tarball: bool, where: float
) -> None:
    chart = tmp_path / "a-1.0.0.tgz"
    noise = random.Random(7).randbytes(3 << 20)
    chart.write_bytes(tar_gz({"a/Chart.yaml": b"name: a\nversion: 1.0.0\n", "a/noise": noise}))
    push(project, [chart], Override(namespace="ns"), NOW)
    blob = Path(project.store.blob_path(project.document("ns/a").releases[0].blob.digest))
    data = bytearray(blob.read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    with pytest.raises(Tampered):
        pull(remote(project, tmp_path), Reference.parse("ns/a"), None, tmp_path / "d", tarball,
             Limits())  # fmt: skip
    assert list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_modes_are_those_that_tar_sets(tmp_path: Path, project: Project, mask: int) -> None:
    buffer = io.BytesIO()
    chart = b"name: a\nversion: 1.0.0\n"
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("a", 0o700), ("a/Chart.yaml", 0o644), ("a/private", 0o600),
                           ("a/fixed", 0o444), ("a/all", 0o777), ("a/shut", 0o555),
                           ("a/shut/inside", 0o4711)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.mode = mode
            if name in ("a", "a/shut"):
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
                continue
            member.size = len(chart)
            tar.addfile(member, io.BytesIO(chart))
    path = tmp_path / "a-1.0.0.tgz"
    path.write_bytes(gzip.compress(buffer.getvalue()))
    push(project, [path], Override(namespace="ns"), NOW)
    (tmp_path / "tar").mkdir()
    there = remote(project, tmp_path)
    before = os.umask(mask)
    try:
        pulled = pull(there, Reference.parse("ns/a"), None, tmp_path / "d", False, Limits())
        command = ["tar", "xzf", str(path), "--no-same-permissions"]
        subprocess.run(command, cwd=tmp_path / "tar", check=True)
    finally:
        os.umask(before)

    def modes(folder: Path) -> dict[str, int]:
        found = {p.relative_to(folder).as_posix(): p.stat().st_mode for p in folder.rglob("*")}
        return {name: stat.S_IMODE(mode) & 0o777 for name, mode in found.items()}

    assert modes(Path(pulled.path)) == modes(tmp_path / "tar")
