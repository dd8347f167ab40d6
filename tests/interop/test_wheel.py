"""What is installed: the same bytes from the same commit, with documents, templates, manual."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]


def wheel(folder: Path) -> Path:
    """A wheel of what git has, built in a folder. Skips where pip cannot get what builds it."""
    source = folder / "source"
    source.mkdir(parents=True)
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, files)):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            path.symlink_to(os.readlink(ROOT / name))
        else:
            path.write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), "."],
        cwd=source, capture_output=True, text=True, check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1767323045"},
    )  # fmt: skip
    if done.returncode and not os.environ.get("CI"):
        pytest.skip("pip cannot get what builds a wheel")
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_a_wheel_is_built_to_the_same_bytes_and_has_what_commands_show(tmp_path: Path) -> None:
    one, other = wheel(tmp_path / "a"), wheel(tmp_path / "b" / "deeper")
    assert one.read_bytes() == other.read_bytes()
    names = zipfile.ZipFile(one).namelist()
    for path in ("docs/trust.md", "docs/exit-codes.md", "docs/CHANGELOG.md", "py.typed",
                 "templates/recover.sh", "mirror/configuration.yaml"):  # fmt: skip
        assert f"cnrmirror/{path}" in names
    assert any(name.endswith("share/man/man1/cnrmirror-push.1") for name in names)
