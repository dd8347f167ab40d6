"""Every kind of objects does the same: one suite for all, and what an address means."""

from __future__ import annotations

import functools
import io
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cnrmirror.bundle import format as bundle
from cnrmirror.bundle.read import BundleReader
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError, InputError
from cnrmirror.model.progress import NoProgress
from cnrmirror.objects.base import Objects, Reader
from cnrmirror.objects.folder import FolderObjects, FolderReader
from cnrmirror.objects.http import HttpReader
from cnrmirror.objects.memory import MemoryObjects
from cnrmirror.objects.scheme import AZURE, FOLDER, GOOGLE, S3, folder_of, scheme_of
from tests.objects_suite import ObjectsSuite, ReaderSuite
from tests.test_bundle import contents


class TestMemory(ObjectsSuite):
    tells = False

    @pytest.fixture
    def pair(self, project: Project) -> tuple[Objects, Objects]:
        shared: dict[str, bytes] = {}
        return MemoryObjects(project.store, shared), MemoryObjects(project.store, shared)


class TestFolder(ObjectsSuite):
    tells = False

    @pytest.fixture
    def pair(self, project: Project, tmp_path: Path) -> tuple[Objects, Objects]:
        out = tmp_path / "out"
        return FolderObjects(out, project.store), FolderObjects(out, project.store)


class TestFolderWithoutHardLinks(TestFolder):
    @pytest.fixture(autouse=True)
    def no_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object, **more: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("cnrmirror.objects.folder.os.link", refuse)


class TestFolderReader(ReaderSuite):
    @pytest.fixture
    def reader(self, tmp_path: Path) -> Reader:
        for path, data in self.files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        return FolderReader(tmp_path)


class TestMemoryReader(ReaderSuite):
    @pytest.fixture
    def reader(self, project: Project) -> Reader:
        return MemoryObjects(project.store, dict(self.files))


class TestHttpReader(ReaderSuite):
    @pytest.fixture
    def reader(self, tmp_path: Path) -> Iterator[Reader]:
        for path, data in self.files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(data)
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        reader = HttpReader(f"http://127.0.0.1:{server.server_port}")
        yield reader
        reader.close()
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class TestBundleReader(ReaderSuite):
    @pytest.fixture
    def reader(self, tmp_path: Path) -> Iterator[Reader]:
        members = [bundle.Member(path, len(data)) for path, data in self.files.items()]
        (tmp_path / "out").mkdir()
        made = bundle.write_volume(
            tmp_path / "out", bundle.volume_name(1), members,
            lambda member: io.BytesIO(self.files[member.path]), NoProgress(), None,
        )  # fmt: skip
        bundle.write_text(tmp_path / "out", contents([made]), "", b"")
        reader = BundleReader([tmp_path / "out"])
        yield reader
        reader.close()


def test_an_address_is_of_a_kind_that_is_known(tmp_path: Path) -> None:
    assert scheme_of("s3://bucket/x") is S3
    for folder in ("out", "a/b", "/a/b:c", "./gs:bucket", str(tmp_path)):
        assert scheme_of(folder) is FOLDER
    assert scheme_of("gs://bucket/x") is GOOGLE and scheme_of("az://account/box/x") is AZURE
    for address in ("gcs://bucket", "az:/c/x", "S4://b", "http://host", "ftp:x", "s3:/bucket",
                    "user@host:/x", "host:/x"):  # fmt: skip
        with pytest.raises(InputError, match="s3://"):
            scheme_of(address)


def test_what_takes_a_folder_takes_no_address() -> None:
    assert folder_of("out") == Path("out")
    for address in ("s3://bucket/x", "gs://bucket"):
        with pytest.raises(CnrMirrorError):
            folder_of(address)
