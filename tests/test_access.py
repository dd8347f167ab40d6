"""access.py, room.py: who is asked, with what, and the words for who refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cnrmirror.cli import cli
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import (
    STALE_ACCEPTED,
    AccessDenied,
    CnrMirrorError,
    IncompleteError,
    InputError,
)
from cnrmirror.model.finding import problem_of
from cnrmirror.objects.access import Access
from cnrmirror.objects.base import read
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.kind import Web
from cnrmirror.sync.room import OwnRoom
from tests.conftest import chart_bytes
from tests.hostile import Host, hosting
from tests.mirrors import make
from tests.test_http import answer

SECRET = "Bearer s3cr3t"
HEADER = {"Authorization": SECRET}
REGISTRY = Access("quay", "authorization_env", "give credentials", static=False)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "site").mkdir()
    with hosting(tmp_path / "site") as found:
        yield found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "other").mkdir()
    with hosting(tmp_path / "other") as found:
        yield found


def refusal(url: str, access: Access, headers: dict[str, str], path: str = "odd") -> CnrMirrorError:
    reader = HttpReader(url, Patience(attempts=1), headers, access)
    with pytest.raises(CnrMirrorError) as caught:
        read(reader.fetch(path, 1000))
    reader.close()
    assert SECRET.split()[1] not in caught.value.message
    return caught.value


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_that_refuses_is_named_with_its_setting(host: Host, status: int) -> None:
    host.fault = answer(status)
    where = f"source quay: {host.url}/odd refuses ({status}); "
    error = refusal(host.url, REGISTRY, {})
    assert isinstance(error, AccessDenied) and error.exit_code == 16
    assert error.message == f"{where}give credentials"
    assert error.details == {"status": status}
    error = refusal(host.url, REGISTRY, HEADER)
    assert error.message == f"{where}the credentials of authorization_env are refused"


def test_a_static_host_may_answer_403_for_what_is_missing(host: Host) -> None:
    host.fault = answer(403)
    assert isinstance(refusal(host.url, Access(), {}), IncompleteError)
    host.fault = answer(401)
    error = refusal(host.url, Access(), {})
    assert isinstance(error, AccessDenied)
    assert error.message.endswith("(401); give credentials in the address: "
                                  "https://USER:PASSWORD@HOST")  # fmt: skip
    error = refusal(host.url.replace("//", "//me:s3cr3t@"), Access(), {})
    assert error.message.endswith("(401); the credentials of the address are refused")


@pytest.mark.parametrize(
    ("headers", "said"),
    [(HEADER, "the credentials were not sent"), ({}, "no credentials are sent")],
)
def test_another_host_that_refuses_is_said_to_be_another(
    host: Host, other: Host, headers: dict[str, str], said: str
) -> None:
    host.fault = answer(302, Location=other.url.replace("127.0.0.1", "localhost") + "/odd")
    other.fault = answer(403)
    message = refusal(host.url, REGISTRY, headers).message
    assert message == (
        f"source quay: {host.url}/odd refuses (403); {said}: localhost is not the source's own host"
    )


def synced(project: Project, settings: str, **environment: str) -> Result:
    text = f"id: {project.config.id}\nsources:\n  quay:\n{settings}"
    (project.folder / "mirror.yaml").write_text(text)
    return CliRunner().invoke(cli, ["-C", str(project.folder), "sync"], env=environment)


def source(kind: str, url: str) -> str:
    more = {"helm": "    namespace: ns\n", "keyvalue": ""}.get(kind, "")
    key = "etcd" if kind == "keyvalue" else "url"
    return f"    type: {kind}\n    {key}: {url}\n{more}"


@pytest.mark.parametrize("kind", ["registry", "helm", "keyvalue"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_sync_from_who_refuses_ends_with_16(
    project: Project, host: Host, kind: str, status: int
) -> None:
    refuse = answer(status)
    host.fault = lambda handler, path: refuse(handler, Path("odd"))
    result = synced(project, source(kind, host.url))
    assert result.exit_code == 16, result.output
    assert "source quay: " in result.output and f"refuses ({status})" in result.output
    assert "give credentials with authorization_env or authorization_file" in result.output
    settings = source(kind, host.url) + "    authorization_env: QUAY_TOKEN\n"
    result = synced(project, settings, QUAY_TOKEN=SECRET)
    assert result.exit_code == 16
    assert "the credentials of authorization_env are refused" in result.output
    assert SECRET.split()[1] not in result.output


def test_an_api_that_is_not_below_cnr_is_found_where_what_is_not_there_is_refused(
    project: Project, host: Host
) -> None:
    refuse = answer(403)
    host.fault = lambda handler, path: (
        handler.path.startswith("/cnr/") and refuse(handler, Path("odd"))
    )
    (host.folder / "api/v1").mkdir(parents=True)
    (host.folder / "api/v1/packages").write_text("[]")
    assert synced(project, source("registry", host.url)).exit_code in (0, 15)
    assert "/api/v1/packages" in host.requests


def test_a_chart_of_another_host_that_refuses_is_a_hole_that_says_so(
    project: Project, host: Host, other: Host
) -> None:
    url = other.url.replace("127.0.0.1", "localhost")
    entries = f"a: [{{version: 1.0.0, urls: ['{url}/odd.tgz']}}]"
    (host.folder / "index.yaml").write_text(f"entries: {{{entries}}}")
    other.fault = answer(403)
    settings = source("helm", host.url) + "    authorization_env: TOKEN\n"
    result = synced(project, settings, TOKEN=SECRET)
    assert result.exit_code == 14
    assert "the credentials were not sent: localhost is not the source's own host" in result.output


def test_a_file_that_is_refused_is_not_called_wrong() -> None:
    assert problem_of(AccessDenied("refused")) == "network"


def test_the_next_mirror_is_read_where_one_refuses(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good = make(tmp_path / "good", "00000000-0000-4000-8000-000000000002")
    root = good.metadata.path / "1.root.json"
    refuse = answer(401)
    host.fault = lambda handler, path: refuse(handler, Path("odd"))
    command = ["list", "--root", str(root), "--from", host.url]
    result = CliRunner().invoke(cli, command)
    assert isinstance(result.exception, AccessDenied)
    result = CliRunner().invoke(cli, ["check", *command[1:]])
    assert result.exit_code == AccessDenied.exit_code and "refuses (401)" in result.output
    command += ["--from", str(good.folder / "site"), "--at", "2026-01-02T03:05:00"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code in (0, STALE_ACCEPTED) and "refuses (401)" in result.output


@pytest.fixture
def room(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnRoom:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def reader_for(location: str) -> Any:
        raise AssertionError(location)

    return OwnRoom(project, "up", {}, reader_for)


def test_a_path_is_relative_to_the_mirror_and_a_tilde_is_the_home(
    room: OwnRoom, project: Project, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    assert room.path("a/b") == project.folder / "a/b"
    assert room.path("/a") == Path("/a")
    assert room.path("~/a") == home / "a" and room.path("~") == home
    assert room.path("./~") == project.folder / "~"
    assert room.located("~/mirror") == str(home / "mirror")
    assert room.located("s3://a/~") == "s3://a/~"


def test_every_file_of_a_source_may_be_in_the_home(
    room: OwnRoom, project: Project, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for name in ("ca.pem", "own.pem", "own.key"):
        (home / name).touch()
    (home / "secret").write_text(SECRET)
    settings = Web(
        ca_file="~/ca.pem", client_certificate="~/own.pem", client_key="~/own.key",
        authorization_file="~/secret",
    )  # fmt: skip
    tls = room.tls(settings)
    assert tls.ca_file == str(home / "ca.pem") and tls.certificate == str(home / "own.pem")
    assert tls.key == str(home / "own.key")
    room.http("https://up.example", settings).close()
    with pytest.raises(InputError, match="home/none"):
        room.http("https://up.example", Web(authorization_file="~/none"))
    (home / "root.json").write_bytes((project.metadata.path / "1.root.json").read_bytes())
    room.verifying("~/root.json")


def test_folders_and_files_of_packages_may_be_in_the_home(room: OwnRoom, tmp_path: Path) -> None:
    project = make(tmp_path / "second", "00000000-0000-4000-8000-000000000003")
    charts = tmp_path / "home/charts"
    charts.mkdir()
    (charts / "a-1.0.0.tgz").write_bytes(chart_bytes("a", "1.0.0"))
    result = synced(project, "    type: charts\n    folder: ~/charts\n    namespace: ns\n")
    assert result.exit_code == 0 and "1" in result.output
    for settings in ("type: backup\n    file: ~/none", "type: keyvalue\n    folder: ~/none"):
        result = synced(project, f"    {settings}\n")
        assert result.exit_code and "~" not in result.output
