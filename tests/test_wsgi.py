"""create_app: the registry under servers that are not ours."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import requests
import waitress

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.errors import UsageError
from cnrmirror.server import create_app
from cnrmirror.server.app import Application
from tests.conftest import NOW
from tests.floods import PATIENCE
from tests.mirrors import reopen
from tests.test_serve import BASE
from tests.test_serve import chart as body_of

ROOT = Path(__file__).parents[1]
TOKEN = {"Authorization": "Bearer word"}


class Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def under_wsgiref(app: Application) -> Iterator[str]:
    with make_server("127.0.0.1", 0, validator(app), handler_class=Silent) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def under_waitress(app: Application) -> Iterator[str]:
    server = waitress.create_server(app, host="127.0.0.1", port=0)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.trigger.pull_trigger(server.close)
    thread.join(PATIENCE)
    server.task_dispatcher.shutdown()


@pytest.mark.parametrize("host", [under_wsgiref, under_waitress])
def test_any_wsgi_server_answers_whole_and_by_range(
    project: Project, chart: Callable[..., Path], host: Callable[..., object]
) -> None:
    archive = chart("a", "1.0.0")
    push(project, [archive], Override(namespace="ns"), NOW)
    with host(create_app(project.folder)) as address:  # type: ignore[attr-defined]
        reads_well(address, archive.read_bytes())
        assert post(address, "b").status_code == 405


def reads_well(address: str, archive: bytes) -> None:
    pull = f"{address}{BASE}/ns/a/1.0.0/helm/pull"
    for asked in (pull, f"{pull}/json"):
        whole = requests.get(asked, timeout=PATIENCE).content
        assert asked != pull or whole == archive
        part = requests.get(asked, headers={"Range": "bytes=7-40"}, timeout=PATIENCE)
        assert (part.status_code, part.content) == (206, whole[7:41])
        assert requests.head(asked, timeout=PATIENCE).content == b""
    health = requests.get(f"{address}/healthz", timeout=PATIENCE)
    assert (health.status_code, health.json()["state"]) == (200, "ok")


def post(address: str, name: str) -> requests.Response:
    url = f"{address}{BASE}/ns/{name}"
    return requests.post(url, json=body_of(), headers=TOKEN, timeout=PATIENCE)


def test_pushes_are_taken_when_asked_with_a_token(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNRMIRROR_TOKEN", raising=False)
    with pytest.raises(UsageError, match="CNRMIRROR_TOKEN"):
        create_app(project.folder, accept_push=True)
    with pytest.raises(UsageError):
        create_app(project.folder / "nowhere")
    with under_wsgiref(create_app(project.folder, accept_push=True, token="word")) as address:
        assert post(address, "a").status_code == 200
        refused = requests.post(f"{address}{BASE}/ns/b", json=body_of(), timeout=PATIENCE)
        assert refused.status_code == 401
    assert project.head().revision == 1


@contextmanager
def under_gunicorn(folder: Path, *options: str) -> Iterator[str]:
    """The address of real gunicorn with two processes of four threads; skips without it."""
    if importlib.util.find_spec("gunicorn") is None:
        if os.environ.get("CI"):
            pytest.fail("gunicorn is missing, and CI must not skip this test")
        pytest.skip("gunicorn is not installed")
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--workers", "2", "--threads", "4",
         "--bind", "127.0.0.1:0", *options,
         f'cnrmirror.server:create_app("{folder}", accept_push=True)'],
        cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "CNRMIRROR_TOKEN": "word"},
    )  # fmt: skip
    assert server.stderr is not None
    try:
        while "Listening at: " not in (line := server.stderr.readline()):
            assert line, "gunicorn has ended"
        yield line.partition("Listening at: ")[2].split()[0]
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)


@pytest.mark.interop
@pytest.mark.parametrize("options", [(), ("--preload",)])
def test_gunicorn_with_several_processes_shows_each_push_at_once(
    project: Project, chart: Callable[..., Path], options: tuple[str, ...]
) -> None:
    archive = chart("a", "1.0.0")
    push(project, [archive], Override(namespace="ns"), NOW)
    with under_gunicorn(project.folder, *options) as address:
        for _ in range(4):
            reads_well(address, archive.read_bytes())
        for name in "bcdef":
            assert post(address, name).status_code == 200
            for _ in range(8):  # whichever process answers
                listed = requests.get(f"{address}{BASE}", timeout=PATIENCE).json()
                assert f"ns/{name}" in {package["name"] for package in listed}
                health = requests.get(f"{address}/healthz", timeout=PATIENCE).json()
                assert health["revision"] == reopen(project.folder).head().revision
    assert project.head().revision == 6
