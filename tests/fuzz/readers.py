"""Five readers of tar: what each makes of an archive, in one form that can be compared."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import posixpath
import shutil
import stat
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

SOURCE = Path(__file__).parent / "readtar" / "main.go"
TOOLS = {
    "GNU tar": ("tar", "--no-same-owner", "--no-same-permissions"),
    "bsdtar": ("bsdtar", "--no-same-owner", "--no-same-permissions", "--no-xattrs", "--no-acls"),
    "busybox": ("busybox", "tar", "-o"),
}
PROGRAMS = ("tar", "bsdtar", "busybox", "go")
SHARED_MEMORY = Path("/dev/shm")


class Entry(NamedTuple):
    """A member as it lies in a folder; ``what`` is a file's digest or a link's target."""

    kind: str
    what: str


Reading = dict[str, Entry] | str
"""The entries by path, or what the reader complained of."""


class Reader(Protocol):
    def __call__(self, archive: Path, data: bytes) -> Reading: ...


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def comparable(entries: dict[str, Entry]) -> dict[str, Entry]:
    """Without the folders that something lies in: whether they have a member does not count."""
    parents = {parent for name in entries for parent in _parents(name)}
    return {
        name: entry
        for name, entry in entries.items()
        if name != "." and not (entry.kind == "directory" and name in parents)
    }


def _parents(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        yield name


def _path(name: str) -> str:
    return posixpath.normpath(name)


def python(archive: Path, data: bytes) -> Reading:
    """What tarfile reads."""
    found: dict[str, Entry] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz", encoding="utf-8") as tar:
            for member in tar:
                if member.isreg():
                    content = tar.extractfile(member)
                    assert content is not None
                    entry = Entry("file", digest(content.read()))
                elif member.issym():
                    entry = Entry("symlink", member.linkname)
                else:
                    entry = Entry("directory" if member.isdir() else str(member.type), "")
                found[_path(member.name)] = entry
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return comparable(found)


class Extracting:
    """What a program makes of an archive in an empty folder."""

    def __init__(self, command: tuple[str, ...], folder: Path) -> None:
        self._command = command
        self._folder = folder / command[0]
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def __call__(self, archive: Path, data: bytes) -> Reading:
        self._folder.mkdir()
        try:
            done = subprocess.run(
                [*self._command, "-xzf", str(archive)],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                close_fds=False,
            )
            if done.returncode:
                return done.stderr.decode(errors="replace").strip() or f"exit {done.returncode}"
            return comparable(dict(walk(os.fsencode(self._folder))))
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def walk(folder: bytes, below: str = "") -> Iterator[tuple[str, Entry]]:
    """What lies in a folder, by its path; modes are changed so that all can be read."""
    os.chmod(folder, 0o755)
    for item in os.scandir(folder):
        name, mode = below + os.fsdecode(item.name), item.stat(follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode):
            yield name, Entry("symlink", os.fsdecode(os.readlink(item.path)))
        elif stat.S_ISDIR(mode):
            yield name, Entry("directory", "")
            yield from walk(item.path, f"{name}/")
        elif stat.S_ISREG(mode):
            os.chmod(item.path, 0o644)
            yield name, Entry("file", digest(Path(os.fsdecode(item.path)).read_bytes()))
        else:
            yield name, Entry("special", "")


class Go:
    """What Go's archive/tar reads, in one process for all archives."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
        )

    def __enter__(self) -> Go:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def __call__(self, archive: Path, data: bytes) -> Reading:
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None and pipes[1] is not None
        pipes[0].write(struct.pack(">I", len(data)) + data)
        pipes[0].flush()
        answer = json.loads(pipes[1].readline())
        if answer["Error"]:
            return str(answer["Error"])
        found = {}
        for item in answer["Members"] or ():
            name, target = (os.fsdecode(base64.b64decode(item[k])) for k in ("Name", "Target"))
            what = {"file": item["Digest"], "symlink": target}.get(item["Kind"], "")
            found[_path(name)] = Entry(item["Kind"], what)
        return comparable(found)


def build_go(folder: Path) -> Path:
    """The Go program of this folder, built."""
    program = folder / "readtar"
    environment = {**os.environ, "GO111MODULE": "off", "GOCACHE": str(folder / "gocache")}
    subprocess.run(["go", "build", "-o", program, SOURCE], check=True, env=environment)
    return program


@contextmanager
def all_readers(folder: Path | None = None) -> Iterator[dict[str, Reader]]:
    """The five, as long as the block lasts."""
    with ExitStack() as stack:
        if folder is None:
            base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=base)))
        readers: dict[str, Reader] = {"Python": python}
        readers["Go"] = stack.enter_context(Go(build_go(folder)))
        for name, command in TOOLS.items():
            readers[name] = Extracting(command, folder)
        yield readers
