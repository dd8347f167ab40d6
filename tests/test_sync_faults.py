"""Whole runs of ``cnrmirror sync`` that go wrong: hosts that die, secrets, SIGKILL."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cnrmirror.archive.inspect import inspect
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes
from tests.hostile import hosting
from tests.test_sync import MANIFEST, FaultyRegistry, releases

KILLS = int(os.environ.get("CNRMIRROR_KILLS", "40"))
PARALLEL = 4
API = "/cnr/api/v1/packages"
ROOT = Path(__file__).parents[1]
SECRET = "c2VjcmV0LXRva2Vu"


def configured(project: Project, text: str) -> None:
    (project.folder / "mirror.yaml").write_text(f"id: {project.config.id}\n{text}")


def command(project: Project, *words: str) -> list[str]:
    return [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), *words]


def ran(project: Project, *words: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command(project, *words), cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_a_host_that_dies_after_the_list_is_given_up_after_few_requests(
    project: Project, tmp_path: Path
) -> None:
    registry = FaultyRegistry(tmp_path, count=200)
    with hosting(tmp_path) as host:
        host.fault = registry
        http = HttpReader(host.url, Patience(give_up_after=8), sleep=lambda seconds: None)
        assert sync(project, [(RegistrySource("up", http), Rules())], NOW).exit_code == 0
        before = releases(project)
        registry.fault = "dies"
        registry.seen.clear()
        rules = Rules(deletes="follow", max_shrink=1)
        report = sync(project, [(RegistrySource("up", http), rules)], NOW)
        http.close()
    assert report.exit_code == 12 and "given up" in report.sources[0].error
    assert len(registry.seen) <= 1 + 3 * (8 + 4) and releases(project) == before


def test_a_host_that_dies_while_archives_are_fetched_is_given_up(
    project: Project, tmp_path: Path
) -> None:
    registry = FaultyRegistry(tmp_path, count=200)
    whole = registry.pull
    pulled: list[int] = []

    def pull(handler: BaseHTTPRequestHandler) -> None:
        pulled.append(1)
        if len(pulled) > 20:
            registry.answer(handler, 503, b"{}")
        else:
            whole(handler)

    registry.pull = pull  # type: ignore[method-assign]
    with hosting(tmp_path) as host:
        host.fault = registry
        http = HttpReader(host.url, Patience(give_up_after=8), sleep=lambda seconds: None)
        report = sync(project, [(RegistrySource("up", http), Rules())], NOW)
        http.close()
    assert report.exit_code == 12 and len(pulled) <= 20 + 3 * (8 + 4)
    assert len(releases(project)) == 20 == report.sources[0].fetched
    assert check(project).findings == []


def test_a_secret_is_sent_to_its_host_and_stands_nowhere(project: Project, tmp_path: Path) -> None:
    (project.folder / "token").write_text(f"Bearer {SECRET}\n")
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {SECRET}\n")
    registry, other = FaultyRegistry(tmp_path), FaultyRegistry(tmp_path)
    registry.fault, other.fault = "other host", "503"
    with hosting(tmp_path) as host, hosting(tmp_path) as stranger:
        registry.elsewhere = f"{stranger.url}/somewhere/pull"
        host.fault, stranger.fault = registry, other
        configured(
            project,
            f"sources:\n  up: {{type: registry, url: '{host.url}', authorization_file: token}}\n"
            f"  plain: {{type: registry, url: '{stranger.url}'}}\n",
        )
        said = ""
        for words in (["sync", "--json"], ["sync"], ["report"], ["--json", "report"]):
            said += ran(project, *words, HOME=str(tmp_path), NETRC=str(netrc))[1]
    assert {value for _, value in registry.seen} == {f"Bearer {SECRET}"}
    assert {value for _, value in other.seen} == {None}
    hidden = base64.b64encode(SECRET.encode()).decode()
    assert SECRET not in said and hidden not in said and "up" in said
    for path in project.folder.rglob("*"):
        if path.is_file() and path.name != "token":
            assert SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("text", "file"),
    [("url: 'http://127.0.0.1:9', authorization_file: token", f"Bearer x\n{SECRET}\n"),
     ("url: 'http://127.0.0.1:9', authorization_file: token", f"Bearer {SECRET}\x07"),
     ("url: 'http://127.0.0.1:9', authorization_env: TOKEN", ""),
     (f"url: 'http://user:{SECRET}@127.0.0.1:9'", ""),
     (f"url: 'http://user:{SECRET}@127.0.0.1:99999'", "")],
)  # fmt: skip
@pytest.mark.parametrize("word", ["sync", "config"])
def test_a_secret_that_cannot_be_used_is_not_told(
    project: Project, text: str, file: str, word: str
) -> None:
    (project.folder / "token").write_text(file)
    configured(project, f"sources:\n  up: {{type: registry, {text}}}\n")
    words = ["config", "check", "--secrets"] if word == "config" else ["sync"]
    code, said = ran(project, *words, TOKEN=f"Bearer x\r\n{SECRET}")
    assert code == 3 and SECRET not in said and said.count("\n") < 4, said


# -- killed ---------------------------------------------------------------------------------------


class Counted:
    """A registry of many packages that get a release each at a time; counts what is pulled."""

    def __init__(self, count: int) -> None:
        self.names = [f"ns/p{n}" for n in range(count)]
        self.releases: list[str] = []
        self.pulls: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.blobs: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.grow()

    def grow(self) -> None:
        release = f"1.{len(self.releases)}.0"
        for name in self.names:
            blob = chart_bytes(name.partition("/")[2], release)
            self.blobs[name, release] = blob, inspect(io.BytesIO(blob)).diff_id
        self.releases.append(release)

    def __call__(self, handler: BaseHTTPRequestHandler, path: Path) -> bool:
        parts = handler.path.removeprefix(API).strip("/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        if handler.path.endswith("/pull"):
            with self.lock:
                self.pulls[handler.path] += 1
            time.sleep(0.002)
            body = self.blobs[name, rest[0]][0]
        elif rest == ["channels"]:
            body = json.dumps([{"name": "stable", "current": self.releases[-1],
                                "releases": self.releases}]).encode()  # fmt: skip
        elif name:
            body = json.dumps([self.manifest(name, r) for r in rest or self.releases]).encode()
        else:
            rows = [{"name": n, "releases": self.releases} for n in self.names]
            body = json.dumps(rows).encode()
        FaultyRegistry.answer(handler, 200, body)
        return True

    def manifest(self, name: str, release: str) -> dict[str, object]:
        blob, digest = self.blobs[name, release]
        content = {"digest": digest, "size": len(blob), "urls": [], "mediaType": "x"}
        return {"package": name, "release": release, "mediaType": MANIFEST, "created_at": NOW,
                "metadata": None, "content": content}  # fmt: skip


def half(project: Project) -> list[str]:
    """What a reader of the folder finds that is half done; read as a web server does."""
    base = project.site / "cnr/api/v1/packages"
    wrong = []
    for row in json.loads((base / "index.json").read_text()):
        package = base / row["name"]
        wanted = [package / "channels/stable/index.json"]
        wanted += [package / r / "helm/pull" for r in row["releases"]]
        for manifest in json.loads((package / "index.json").read_text()):
            wanted.append(package / manifest["release"] / "helm/index.json")
            wanted.append(package / "blobs/sha256" / manifest["content"]["digest"])
        wrong += [str(path) for path in wanted if not path.exists()]
    return wrong


def test_a_sync_that_is_killed_at_any_moment_goes_on_where_it_was(
    project: Project, tmp_path: Path
) -> None:
    dice = random.Random(11)
    registry = Counted(60)
    killed = 0
    with hosting(tmp_path) as host:
        host.fault = registry
        configured(project, f"sources:\n  up: {{type: registry, url: '{host.url}', "
                            f"parallel: {PARALLEL}}}\n")  # fmt: skip
        begun = time.monotonic()
        assert ran(project, "sync")[0] == 0
        whole = time.monotonic() - begun
        registry.grow()
        for _ in range(KILLS):
            process = subprocess.Popen(
                command(project, "sync"), cwd=ROOT, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            deadline = time.monotonic() + dice.uniform(0.3, 1.1) * whole
            while time.monotonic() < deadline and process.poll() is None:
                assert half(project) == []
            killed += process.poll() is None
            process.kill()
            code = process.wait()
            assert half(project) == []
            catalog = project.catalog
            counts = {ref.releases for ref in catalog.packages(project.tree())}
            assert len(counts) == 1 and counts <= {len(registry.releases) - n for n in (0, 1)}
            if code == 0:
                registry.grow()
        assert ran(project, "sync")[0] == 0
        assert ran(project, "sync")[0] == 0
    needed = len(registry.names) * len(registry.releases)
    assert len(registry.pulls) == needed and killed > KILLS // 4
    assert registry.pulls.total() <= needed + killed * PARALLEL
    assert len(releases(project)) == needed and check(project).findings == []
    assert list((project.layout.making).iterdir()) == []
    print(f"{killed} kills, {registry.pulls.total() - needed} pulls more than {needed}")
