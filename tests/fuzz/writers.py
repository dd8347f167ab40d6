"""What real programs write for a package folder: nothing of it is refused or read differently."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

DEEP = "/".join(["deep" * 12] * 5)
CHART = {
    "Chart.yaml": b"name: c\nversion: 1.0.0\n",
    "values.yaml": b"a: 1\n" * 300,
    "templates/empty.yaml": b"",
    "templates/with blank.yaml": b"x" * 512,
    "charts/sub/Chart.yaml": b"name: sub\n",
    ".helmignore": b"*.tmp\n",
}
LONG = {
    "n" * 110: b"longer than a header's name",
    f"{'m' * 97}/cut at a slash": b"its first 100 bytes end with a slash",
    f"{DEEP}/values.yaml": b"longer than 256 bytes",
    f"{'p' * 150}/values.yaml": b"a prefix of 155 bytes",
    "é" * 60: b"cut inside a letter",
}
OTHER = {"é.txt": b"1", "日本/😀.yaml": b"2", "a:b*?": b"3"}
Write = Callable[[Path, Path, Path], None]
"""Packs a folder as a file; the last is the Go program of ``readers``."""


def folder(
    base: Path,
    files: dict[str, bytes],
    links: dict[str, str],
    owners: tuple[int, ...] = (0, 1000, 3_000_000, 1_000_660_000),
) -> Path:
    """A package folder with times, modes and, where that is allowed, owners of all kinds."""
    root = base / "c"
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(10**18 + 5, 1_700_000_000_123_456_789))
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "empty").mkdir()
    (root / "values.yaml").chmod(0o600)
    (root / "Chart.yaml").chmod(0o755)
    if os.geteuid() == 0:
        for n, path in enumerate(sorted(root.rglob("*"))):
            owner, group = owners[n % len(owners)], owners[n // 2 % len(owners)]
            os.chown(path, owner, group, follow_symlinks=False)
    return root


def _run(*command: str | Path, cwd: Path, locale: str = "C.UTF-8") -> None:
    environment = {**os.environ, "LC_ALL": locale, "HOME": str(cwd), "npm_config_offline": "true"}
    subprocess.run(command, cwd=cwd, check=True, env=environment, capture_output=True)


def _tar(*words: str, locale: str = "C.UTF-8", what: str = "c") -> Write:
    def write(root: Path, out: Path, go: Path) -> None:
        cwd = root if what == "." else root.parent
        _run(*words, "-czf", out, what, cwd=cwd, locale=locale)

    return write


def _python(form: int) -> Write:
    def write(root: Path, out: Path, go: Path) -> None:
        with tarfile.open(out, "w:gz", format=form) as tar:
            tar.add(root, "c")

    return write


def _go(mode: str) -> Write:
    return lambda root, out, go: _run(go, mode, root, out, cwd=root.parent)


def _git(root: Path, out: Path, go: Path) -> None:
    git = partial(_run, "git", "-c", "user.name=a", "-c", "user.email=a@example.org", cwd=root)
    git("init", "-q")
    git("add", "-f", ".")
    git("commit", "-qm", "x")
    git("archive", "--format=tar.gz", "--prefix=c/", "-o", out, "HEAD")
    shutil.rmtree(root / ".git")


def _npm(root: Path, out: Path, go: Path) -> None:
    (root / "package.json").write_text('{"name": "c", "version": "1.0.0"}')
    _run("npm", "pack", "--ignore-scripts", cwd=root)
    (root / "c-1.0.0.tgz").rename(out)
    (root / "package.json").unlink()


def _gzip_program(root: Path, out: Path, go: Path) -> None:
    _run("tar", "-cf", "c.tar", "c", cwd=root.parent)
    _run("gzip", "c.tar", cwd=root.parent)
    (root.parent / "c.tar.gz").rename(out)


def _empty_end(root: Path, out: Path, go: Path) -> None:
    """Without end blocks, as programs that forget to close their writer."""
    _tar("tar", "--format=ustar")(root, out, go)
    data = gzip.decompress(out.read_bytes()).rstrip(b"\0")
    out.write_bytes(gzip.compress(data + bytes(-len(data) % 512)))


WRITERS: dict[str, Write] = {
    "GNU tar": _tar("tar"),
    "GNU tar, gnu": _tar("tar", "--format=gnu"),
    "GNU tar, oldgnu": _tar("tar", "--format=oldgnu"),
    "GNU tar, posix": _tar("tar", "--format=posix"),
    "GNU tar, posix, numeric": _tar("tar", "--format=posix", "--numeric-owner"),
    "GNU tar, sorted": _tar("tar", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"),
    "GNU tar, the folder itself": _tar("tar", what="."),
    "GNU tar, ./": _tar("tar", what="./c"),
    "GNU tar, a dot": _tar("tar", what="c/."),
    "bsdtar": _tar("bsdtar"),
    "bsdtar, pax": _tar("bsdtar", "--format=pax"),
    "bsdtar, gnutar": _tar("bsdtar", "--format=gnutar"),
    "bsdtar, C locale": _tar("bsdtar", locale="C"),
    "bsdtar, the folder itself": _tar("bsdtar", what="."),
    "busybox": _tar("busybox", "tar"),
    "busybox, the folder itself": _tar("busybox", "tar", what="."),
    "Python gnu": _python(tarfile.GNU_FORMAT),
    "Python pax": _python(tarfile.PAX_FORMAT),
    "Go as helm package": _go("pack"),
    "Go pax": _go("pax"),
    "git archive": _git,
    "gzip with a name": _gzip_program,
    "npm pack": _npm,
}
USTAR: dict[str, Write] = {
    "GNU tar, ustar": _tar("tar", "--format=ustar"),
    "bsdtar, ustar": _tar("bsdtar", "--format=ustar"),
    "Python ustar": _python(tarfile.USTAR_FORMAT),
    "no end blocks": _empty_end,
}
