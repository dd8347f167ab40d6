"""Helm 3 (old and new) and 4, as people use it, against every kind of host.

A check is a test; what a client cannot do by itself is asserted as that, and stands in
docs/hosts.md.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import tar_gz
from tests.interop.helm import Result, helm, run
from tests.interop.ports import free_port
from tests.interop.servers import running
from tests.interop.today import Place, Shop, archive_of, manifest_digest
from tests.mirrors import reopen

pytestmark = pytest.mark.interop
HELMS = ("helm4", "helm3", "helm39")


class Client:
    """One helm with a home of its own that knows the repositories of one place."""

    def __init__(self, name: str, place: Place, shop: Shop, home: Path) -> None:
        self.name = name
        self.shop = shop
        self.url = place.url
        self.registry = place.registry
        self._program = helm(name)
        self._home = home
        # Helm 3.9 speaks plain HTTP to loopback by itself, and has no option for it.
        self.plain = () if name == "helm39" else ("--plain-http",)

    def run(self, *words: str | Path) -> Result:
        return run(self._program, self._home, *words)

    def __call__(self, *words: str | Path) -> str:
        done = self.run(*words)
        assert done.code == 0, done.out + done.err
        return done.out + done.err

    def oci(self, name: str) -> str:
        return f"oci://{self.registry}/{name}"

    def pull(self, out: Path, *words: str | Path) -> list[str]:
        """The names of the files that a pull leaves."""
        plain = self.plain if any(str(w).startswith("oci://") for w in words) else ()
        self("pull", *words, *plain, "-d", out)
        return sorted(path.name for path in out.iterdir())

    def depends(self, folder: Path, *lines: str) -> Path:
        """A chart on the disk that depends on others."""
        folder.mkdir()
        dependencies = "".join(f"- {{{line}}}\n" for line in lines)
        (folder / "Chart.yaml").write_text(
            f"apiVersion: v2\nname: {folder.name}\nversion: 1.0.0\ndependencies:\n{dependencies}"
        )
        return folder


@pytest.fixture(scope="session", params=HELMS)
def client(
    request: pytest.FixtureRequest, place: Place, shop: Shop,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Client]:  # fmt: skip
    client = Client(request.param, place, shop, tmp_path_factory.mktemp("home"))
    for name in ("edge", "charts", "myname"):
        client("repo", "add", name, f"{place.url}/helm/{name}")
    yield client


# -- a repository -----------------------------------------------------------------------------


def test_repo_update_reads_every_index(client: Client) -> None:
    said = client("repo", "update")
    assert said.count("Successfully got an update") == 3


def test_the_index_of_one_package_is_a_repository(client: Client, tmp_path: Path) -> None:
    url = f"{client.url}/helm/edge/web"
    assert client.pull(tmp_path, "web", "--repo", url, "--version", "1.0.0") == ["web-1.0.0.tgz"]
    same(client, tmp_path / "web-1.0.0.tgz")


def same(client: Client, path: Path) -> None:
    """What was pulled is what was pushed."""
    assert path.read_bytes() == client.shop.archives[path.name]


def test_search_lists_all_versions(client: Client) -> None:
    rows = client("search", "repo", "edge/", "-l", "--devel").splitlines()[1:]
    found = {tuple(row.split()[:2]) for row in rows}
    wanted = {(f"edge/{name}", version) for name, version in client.shop.versions}
    assert found == wanted


def test_pull_gives_the_newest_release(client: Client, tmp_path: Path) -> None:
    [name] = client.pull(tmp_path, "edge/web")
    assert name in ("web-1.2.0.tgz", "web-1.2.0+build.5.tgz")
    same(client, tmp_path / name)


@pytest.mark.parametrize(
    ("version", "file"),
    [("1.0.0", "web-1.0.0.tgz"), ("~1.1", "web-1.1.0.tgz"), ("<1.1.0", "web-1.0.0.tgz"),
     ("1.2.0+build.5", "web-1.2.0+build.5.tgz"), ("2.0.0-rc.1", "web-2.0.0-rc.1.tgz")],
)  # fmt: skip
def test_pull_gives_the_version_that_is_asked_for(
    client: Client, tmp_path: Path, version: str, file: str
) -> None:
    assert client.pull(tmp_path, "edge/web", "--version", version) == [file]
    same(client, tmp_path / file)


def test_pull_devel_gives_the_prerelease(client: Client, tmp_path: Path) -> None:
    assert client.pull(tmp_path, "edge/web", "--devel") == ["web-2.0.0-rc.1.tgz"]


def test_show_says_what_the_chart_says(client: Client) -> None:
    said = client("show", "all", "edge/full")
    assert 'appVersion: "1.10"' in said and "Zoë" in said and "a: 1" in said


def test_template_renders_a_chart(client: Client) -> None:
    assert 'v: "1.1.0"' in client("template", "x", "edge/web", "--version", "1.1.0")


def test_what_helm_must_refuse_is_refused(client: Client) -> None:
    library, newer = (client.run("template", "x", f"edge/{n}") for n in ("lib", "newkube"))
    assert library.code and "not installable" in library.err
    assert newer.code and "kubeVersion" in newer.err


def test_pull_verifies_provenance(client: Client, tmp_path: Path) -> None:
    ring = client.shop.signer.keyring
    found = client.pull(tmp_path, "edge/signed", "--verify", "--keyring", ring)
    assert found == ["signed-1.0.0.tgz", "signed-1.0.0.tgz.prov"]
    assert "Signed by: Tests" in client("verify", tmp_path / "signed-1.0.0.tgz", "--keyring", ring)


def test_pull_with_a_keyring_refuses_what_is_not_signed(client: Client, tmp_path: Path) -> None:
    ring = client.shop.signer.keyring
    assert client.run("pull", "edge/web", "--verify", "--keyring", ring, "-d", tmp_path).code


def test_dependencies_come_from_a_repository(client: Client, tmp_path: Path) -> None:
    source = f"repository: {client.url}/helm/edge"
    chart = client.depends(
        tmp_path / "above", f"name: web, version: ~1.1.0, {source}",
        f"name: lib, version: 1.x.x, {source}",
    )  # fmt: skip
    client("dependency", "update", chart)
    wanted = ["lib-1.0.0.tgz", "web-1.1.0.tgz"]
    assert sorted(p.name for p in (chart / "charts").iterdir()) == wanted
    for path in (chart / "charts").iterdir():
        same(client, path)
        path.unlink()
    client("dependency", "build", chart)
    assert sorted(p.name for p in (chart / "charts").iterdir()) == wanted
    assert "above" in client("package", chart, "-d", tmp_path)


def test_a_chart_with_its_files_at_the_root_is_pulled_repacked(
    client: Client, tmp_path: Path
) -> None:
    assert client.pull(tmp_path, "myname/flat") == ["flat-1.0.0.tgz"]
    assert "name: flat" in client("show", "chart", tmp_path / "flat-1.0.0.tgz")


def test_a_chart_that_helm_cannot_read_is_in_no_index(client: Client, tmp_path: Path) -> None:
    """The registry's documented demo: its maintainers are texts, and Helm wants objects."""
    assert "elasticsearch" not in client("search", "repo", "myname/", "-l")
    done = client.run("pull", "myname/elasticsearch", "-d", tmp_path)
    assert done.code and "not found" in done.err


@pytest.mark.parametrize("program", HELMS)
def test_a_host_that_only_knows_index_html_is_a_repository(
    shop: Shop, tmp_path: Path, program: str
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(shop.project.folder, plain, symlinks=True)
    (plain / "mirror.yaml").write_text("{id: conformance, views: {profile: plain}}\n")
    with reopen(plain).writing():
        pass
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with running(command, port, tmp_path, cwd=plain / "site"):
        words = "--repo", f"http://127.0.0.1:{port}/helm/edge", "-d", tmp_path
        done = run(helm(program), tmp_path, "pull", "web", "--version", "1.2.0+build.5", *words)
        assert done.code == 0, done.err
    file = "web-1.2.0+build.5.tgz"
    assert (tmp_path / file).read_bytes() == shop.archives[file]


# -- an OCI registry --------------------------------------------------------------------------


def test_oci_pull_gives_the_newest_tag(client: Client, tmp_path: Path) -> None:
    [name] = client.pull(tmp_path, client.oci("edge/web"))
    assert name in ("web-1.2.0.tgz", "web-1.2.0+build.5.tgz")


@pytest.mark.parametrize(
    ("version", "file"),
    [("1.0.0", "web-1.0.0.tgz"), ("~1.1", "web-1.1.0.tgz"),
     ("1.2.0+build.5", "web-1.2.0+build.5.tgz"), ("2.0.0-rc.1", "web-2.0.0-rc.1.tgz"),
     (">0.0.0-0", "web-2.0.0-rc.1.tgz")],
)  # fmt: skip
def test_oci_pull_gives_the_version_that_is_asked_for(
    client: Client, tmp_path: Path, version: str, file: str
) -> None:
    assert client.pull(tmp_path, client.oci("edge/web"), "--version", version) == [file]
    same(client, tmp_path / file)


def test_oci_pull_by_digest(client: Client, tmp_path: Path) -> None:
    digest = manifest_digest(client.shop, "edge/web", "1.0.0")
    wanted = f"{client.oci('edge/web')}@{digest}"
    if client.name == "helm39":
        # It knows references with a tag only.
        done = client.run("pull", wanted, "-d", tmp_path)
        assert done.code and "invalid" in done.err
        return
    [name] = client.pull(tmp_path, wanted)
    assert (tmp_path / name).read_bytes() == client.shop.archives["web-1.0.0.tgz"]


def test_oci_pull_fetches_and_verifies_provenance(client: Client, tmp_path: Path) -> None:
    ring = client.shop.signer.keyring
    for option in (("--prov",), ("--verify", "--keyring", ring)):
        out = tmp_path / option[0].strip("-")
        out.mkdir()
        words = client.oci("edge/signed"), "--version", "1.0.0", *option
        assert client.pull(out, *words) == ["signed-1.0.0.tgz", "signed-1.0.0.tgz.prov"]


def test_oci_show_and_template(client: Client) -> None:
    words = "--version", "1.0.0", *client.plain
    assert "Zoë" in client("show", "chart", client.oci("edge/full"), *words)
    assert 'v: "1.0.0"' in client("template", "x", client.oci("edge/full"), *words)


def test_oci_pull_of_a_chart_that_came_with_its_own_manifest(
    client: Client, tmp_path: Path
) -> None:
    client.pull(tmp_path, client.oci("edge/sealed"), "--version", "1.0.0")
    same(client, tmp_path / "sealed-1.0.0.tgz")


def test_oci_pull_where_a_release_has_several_formats(client: Client, tmp_path: Path) -> None:
    client.pull(tmp_path, client.oci("charts/nginx"), "--version", "1.2.0")
    path = tmp_path / "nginx-1.2.0.tgz"
    assert path.read_bytes() == archive_of("charts/nginx", "1.2.0", "helm")


def test_oci_pull_chooses_the_chart_out_of_an_index(client: Client, tmp_path: Path) -> None:
    [name] = client.pull(tmp_path, client.oci("charts/nginx/formats"), "--version", "1.2.0")
    wanted = archive_of("charts/nginx", "1.2.0", "helm")
    assert (tmp_path / name).read_bytes() == wanted


def test_dependencies_come_from_an_oci_registry(client: Client, tmp_path: Path) -> None:
    source = f"repository: {client.oci('edge')}"
    chart = client.depends(tmp_path / "above", f"name: web, version: ^1.0.0, {source}")
    client("dependency", "update", chart, *client.plain)
    [found] = (chart / "charts").iterdir()
    same(client, found)
    found.unlink()
    client("dependency", "build", chart, *client.plain)
    assert found.exists()


def test_oci_login_is_not_asked_for_and_nothing_is_pushed(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "web-9.9.9.tgz"
    path.write_bytes(tar_gz({"web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 9.9.9\n"}))
    assert client.run("push", path, client.oci("edge"), *client.plain).code != 0
