"""The registry's own clients, appr 0.7.4 and cnr 0.3.5, against nginx and against serve."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cnrmirror.mirror.project import Project
from tests.interop.ports import free_port, wait_for
from tests.interop.reference import legacy
from tests.interop.servers import running, serving
from tests.mirrors import reopen
from tests.recorded import CONFORMANCE, Recorded

pytestmark = pytest.mark.interop
ROOT = Path(__file__).parents[2]
PACKAGE = "charts/nginx"
STABLE = "44187bd7abf4db75ca681d99340289ebccf21f223789fbc92b3a895cc8d687fb"


class Client:
    """One of the command lines."""

    def __init__(self, name: str, base: str, folder: Path) -> None:
        self.program = legacy(name, name)
        self.name = name
        # Both take plain http for "localhost" only; appr adds /cnr to the address, cnr nothing.
        self.registry = base.replace("http://127.0.0.1", "localhost")
        self.folder = folder

    def __call__(self, command: str, *arguments: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [str(self.program), command, *arguments],
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": str(self.folder), "PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Recorded("appr").mirror(tmp_path_factory.mktemp("clients") / "mirror").folder


@pytest.fixture(scope="module")
def nginx(mirror: Path) -> Iterator[str]:
    with serving("nginx", mirror / "site", mirror.parent / "nginx") as url:
        yield url


@pytest.fixture(params=["appr", "cnr"])
def client(request: pytest.FixtureRequest, nginx: str, tmp_path: Path) -> Client:
    return Client(request.param, nginx, tmp_path)


def archive(release: str, media_type: str = "helm") -> str:
    path = CONFORMANCE / f"packages/charts__nginx__{release}__{media_type}.tar.gz"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_version_list_show_channel_and_inspect_answer(client: Client) -> None:
    assert "appr-api" in client("version", client.registry)
    assert PACKAGE in client("list", client.registry)
    assert "1.10.0" in client("show", reference(client))
    assert "stable" in client("channel", reference(client))
    tree = client("inspect", f"{reference(client)}@1.0.1", "-t", "helm", "--tree")
    assert "Chart.yaml" in tree


def reference(client: Client) -> str:
    """``HOST/NS/NAME`` as both clients take it."""
    return f"{client.registry}/{PACKAGE}"


@pytest.mark.parametrize(
    ("how", "release"),
    [
        (("@1.0.1", "-t", "helm"), "1.0.1"),
        (("@1.0.1",), "1.0.1"),
        ((":stable", "-t", "helm"), "1.2.0"),
        ((f"@sha256:{STABLE}", "-t", "helm"), "1.2.0"),
        (("", "-t", "helm"), "2.0.0-alpha.1"),
        (("",), "2.0.0-alpha.1"),
    ],
)
def test_pull_by_release_channel_digest_and_default(
    client: Client, how: tuple[str, ...], release: str
) -> None:
    rest, *options = how
    if client.name == "cnr" and not options:
        options = ["-t", "helm"]  # this client has another default than "-"
    for old in client.folder.glob("*.tar.gz"):
        old.unlink()
    client("pull", reference(client) + rest, *options, "--tarball", "--dest", str(client.folder))
    (path,) = client.folder.glob("*.tar.gz")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == archive(release)


def test_appr_pushes_into_serve(tmp_path: Path, project: Project) -> None:
    folder = project.folder
    chart = tmp_path / "hello"
    chart.mkdir()
    (chart / "Chart.yaml").write_text("name: hello\nversion: 0.1.0\ndescription: x\n")
    (chart / "values.yaml").write_text("a: 1\n")
    token = "the-token-of-this-test"
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "cnrmirror", "-C", str(folder), "serve", "--accept-push",
         "--port", str(port)],
        cwd=ROOT, env={**os.environ, "CNRMIRROR_TOKEN": token},
    )  # fmt: skip
    try:
        wait_for(port)
        base = f"localhost:{port}"
        appr = Client("appr", base, tmp_path)
        (tmp_path / ".appr").mkdir()
        (tmp_path / ".appr" / "auths.yaml").write_text(
            f'auths:\n  "http://{base}/cnr":\n    token: "Bearer {token}"\n'
            '    scope: {namespace: "*", repo: "*"}\n'
        )
        appr("push", f"{base}/me/hello", "--namespace", "me", "-t", "helm", "-c", "stable",
             cwd=chart)  # fmt: skip
        shown = appr("show", f"{base}/me/hello")
        assert "0.1.0" in shown
        assert "stable" in appr("channel", f"{base}/me/hello")
    finally:
        server.terminate()
        server.wait(10)
    subprocess.run(
        [sys.executable, "-m", "cnrmirror", "-C", str(folder), "check"], check=True, cwd=ROOT
    )


@pytest.mark.parametrize("rest", ["@1.0.1", ":stable", ""])
def test_appr_pulls_from_a_host_that_only_knows_index_html(
    mirror: Path, tmp_path: Path, rest: str
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(mirror, plain, symlinks=True)
    text = yaml.safe_dump(
        {"id": "plain", "views": {"profile": "plain", "plain_pull": "json", "dialect": "appr"}}
    )
    (plain / "mirror.yaml").write_text(text)
    with reopen(plain).writing():
        pass
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with running(command, port, tmp_path, cwd=plain / "site"):
        appr = Client("appr", f"http://127.0.0.1:{port}", tmp_path)
        assert PACKAGE in appr("list", appr.registry)
        appr("pull", reference(appr) + rest, "-t", "helm", "--tarball", "--dest", str(tmp_path))
    (path,) = tmp_path.glob("*.tar.gz")
    release = {"@1.0.1": "1.0.1", ":stable": "1.2.0", "": "2.0.0-alpha.1"}[rest]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == archive(release)
