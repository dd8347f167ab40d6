"""The command line where a stream, a home or a locale is unusual: words, and the right code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.errors import UsageError
from cnrmirror.model.xdg import own_folder
from tests.conftest import NOW, chart_bytes
from tests.mirrors import make

PROGRAM = [sys.executable, "-m", "cnrmirror"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    chart = tmp_path / "a-1.0.0.tgz"
    chart.write_bytes(chart_bytes("a", "1.0.0"))
    found = make(tmp_path / "mirror", "streams")
    push(found, [chart], Override(namespace="t"), NOW)
    return found


def shell(script: str, project: Project, **variables: str) -> tuple[int, str]:
    """Exit code and standard error of a line of sh in which ``$MIRROR`` is the program."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), **variables,
                   "MIRROR": f"{' '.join(PROGRAM)} -C {project.folder}"}  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, check=False, timeout=60
    )
    text = done.stderr.decode(errors="replace")
    assert "Traceback" not in text and "Exception ignored" not in text, text
    return done.returncode, text


@pytest.mark.parametrize("command", ["list", "show t/a", "--json list", "--help", "--version"])
@pytest.mark.parametrize(
    ("streams", "code"),
    [(">&-", 0), (">&- 2>&-", 0), ("<&-", 0), (">/dev/full", 8),
     ("| true; exit ${PIPESTATUS[0]}", 141)],
)  # fmt: skip
def test_a_stream_that_is_closed_full_or_gone_has_its_code_and_no_traceback(
    project: Project, command: str, streams: str, code: int
) -> None:
    assert shell(f"$MIRROR {command} {streams}", project)[0] == code


def test_a_closed_stream_is_not_taken_by_the_first_file_that_is_opened(project: Project) -> None:
    before = (project.folder / "mirror.yaml").read_bytes()
    assert shell("$MIRROR build >&- 2>&-", project)[0] == 0
    assert (project.folder / "mirror.yaml").read_bytes() == before
    assert shell("$MIRROR check", project)[0] == 18  # nothing but its age is wrong


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_names_are_found_where_no_locale_says_utf8(
    project: Project, tmp_path: Path, locale: str
) -> None:
    place = tmp_path / "für-alle"
    plain = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for _ in range(2):
        code, text = shell(f"$MIRROR publish '{place}'", project, **plain)
        assert code == 0, text
    assert (place / "catalog").is_dir()


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(UsageError, match="set HOME, or XDG_STATE_HOME"):
        own_folder("STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert own_folder("STATE") == Path("/state/cnrmirror")


def test_what_nohup_started_goes_on_after_a_hang_up_and_ends_when_asked_to(
    project: Project,
) -> None:
    command = ["bash", "-c", 'trap "" HUP; exec "$@"', "-", *PROGRAM, "-C", str(project.folder)]
    process = subprocess.Popen(
        [*command, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert process.stderr is not None
    while "serving on" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=1)
    process.terminate()
    assert process.wait(timeout=30) == 143
    process.stderr.close()
