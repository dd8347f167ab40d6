"""A plain site behind ``python -m http.server``, and a host that reads + as a space."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests
from click.testing import CliRunner
from werkzeug.test import Client

from cnrmirror.archive.identify import Override
from cnrmirror.cli import cli
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.instant import Instant
from cnrmirror.objects.address import for_every_host
from cnrmirror.objects.base import read
from cnrmirror.objects.http import HttpReader
from cnrmirror.server.app import Application
from tests.conftest import chart_bytes
from tests.crawl import crawl
from tests.hostile import hosting
from tests.loopback import on_loopback
from tests.mirrors import make, reopen
from tests.rivals import Arena
from tests.test_sources import reply


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *words: Any) -> None:
        pass


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    with on_loopback(partial(Quiet, directory=str(folder))) as url:
        yield url


@pytest.fixture
def project(tmp_path: Path) -> Project:
    now = str(Instant.of(datetime.now(UTC)))
    found = make(tmp_path / "mirror", "plain", now)
    path = found.folder / "mirror.yaml"
    path.write_text(path.read_text() + "views: {profile: plain}\n")
    found = reopen(found.folder)
    for release in ("1.0.0", "1.1.0+b.1"):
        chart = tmp_path / f"web-{release}.tgz"
        chart.write_bytes(chart_bytes("web", release))
        push(found, [chart], Override(namespace="c"), now)
    return found


def test_a_plain_site_behind_a_plain_server_is_well_and_a_changed_list_is_not(
    project: Project, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    shutil.copytree(project.site, served)
    root = str(project.metadata.path / "1.root.json")
    with plain_server(served) as url:
        done = CliRunner().invoke(cli, ["check", "--from", url, "--root", root])
        assert done.exit_code == 0, done.output
        for name in ("index.json", "index.html"):
            (served / "cnr/api/v1/packages" / name).write_text("[]")
        done = CliRunner().invoke(cli, ["check", "--from", url], standalone_mode=False)
        assert "not what the catalog says" in done.output


def test_every_link_of_every_page_leads_somewhere_on_a_plain_server(project: Project) -> None:
    with plain_server(project.site) as url, requests.Session() as session:
        session.trust_env = False
        found = crawl(session, f"{url}/")
        assert {a: r.status_code for a, r in found.items() if r.status_code != 200} == {}
        assert f"{url}/packages/c/web/index.html" in found and f"{url}/assets/pages.js" in found
        for path in ("packages", "packages/c", "packages/c/web", "revisions"):
            with session.get(f"{url}/{path}") as answer:
                assert (answer.status_code, answer.url) == (200, f"{url}/{path}/")


def test_what_is_asked_for_is_found_where_a_plus_is_read_as_a_space(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        found = unquote(handler.path.replace("+", " ")) == "/a/1.0.0+b.1"
        reply(handler, b"it" if found else b"", 200 if found else 404)
        return True

    with hosting(tmp_path) as host:
        host.fault = answer
        reader = HttpReader(host.url)
        assert read(reader.fetch("a/1.0.0+b.1", 10)) == b"it"
        assert read(reader.ask("a/1.0.0+b.1", 10)) == b"it"
        assert read(reader.get(f"{host.url}/a/1.0.0+b.1", 10)) == b"it"
        reader.close()


def test_a_plus_in_a_query_stays_what_it_means() -> None:
    assert for_every_host("https://h/a+b?c+d") == "https://h/a%2Bb?c+d"


def test_where_a_plain_mirror_is_published_or_served_its_registry_names_its_repositories(
    project: Project, tmp_path: Path
) -> None:
    wanted = b'{"repositories":["c/web"]}'
    assert not (project.site / "v2").exists()
    assert Client(Application(project)).get("/v2/_catalog").data == wanted
    arena = Arena(tmp_path, "memory")
    arena.session(project).publish(str(Instant.of(datetime.now(UTC))))
    assert arena.objects["v2/_catalog"] == wanted
