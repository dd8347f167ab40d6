"""Helm repositories: the provenance beside an archive, and charts that lie in OCI registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.mirror.check import check
from cnrmirror.model import oci
from cnrmirror.model.documents import Attachment
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.helmoci import Address, address_of
from cnrmirror.sync.report import PARTIAL
from tests.conftest import chart_bytes
from tests.hostile import Host, hosting
from tests.oci_double import BASIC, Registry, digest_of
from tests.test_helm_indexes import Repository, row, served
from tests.test_sources import reply
from tests.test_sync import releases

PROV = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nname: a\n"


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Repository]:
    with served(tmp_path) as repository:
        yield repository


def attached(repo: Repository, package: str = "c/a") -> list[Attachment]:
    (release,) = repo.project.document(package).releases
    return release.attachments


def test_provenance_is_attached_and_asked_for_once(repo: Repository) -> None:
    entries = {"a": [row("a", "1.0.0", repo.archive("a"))]}
    (repo.folder / "a-1.0.0.tgz.prov").write_bytes(PROV)
    assert repo.sync(entries).exit_code == 0
    (found,) = attached(repo)
    assert found.media_type == oci.HELM_PROVENANCE and found.annotations == {}
    assert f"sha256:{found.digest}" == digest_of(PROV)
    assert check(repo.project).findings == []
    repo.asked()
    assert repo.sync(entries).exit_code == 0 and repo.asked() == ["/index.yaml"]


def test_provenance_is_not_asked_for_if_nobody_wants_it(repo: Repository) -> None:
    entries = {"a": [row("a", "1.0.0", repo.archive("a"))]}
    (repo.folder / "a-1.0.0.tgz.prov").write_bytes(PROV)
    assert repo.sync(entries, provenance=False).exit_code == 0
    assert attached(repo) == [] and "/a-1.0.0.tgz.prov" not in repo.asked()


@pytest.mark.parametrize(
    ("status", "body", "note"),
    [(404, b"", ""), (410, b"", ""), (403, b"", ""), (401, b"", "refuses"),
     (500, b"", "answers 500"), (200, b"<html>not here", "no such file"),
     (200, b"-----BEGIN PGP SIGNED MESSAGE-----" + b"x" * (1 << 20), "longer than")],
)  # fmt: skip
def test_provenance_that_cannot_be_had_is_no_harm_to_its_chart(
    repo: Repository, status: int, body: bytes, note: str
) -> None:
    def fault(handler: BaseHTTPRequestHandler, path: Path) -> bool:
        if path.suffix != ".prov":
            return False
        reply(handler, body, status)
        return True

    repo.host.fault = fault
    report = repo.sync({"a": [row("a", "1.0.0", repo.archive("a"))]})
    assert report.exit_code == 0 and attached(repo) == []
    assert [note in text and "c/a@1.0.0" in text for text in report.notes] == [True] * bool(note)


# -- oci:// ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "found"),
    [("oci://h.example/c/a:1.0.0", Address("h.example", "c/a", "1.0.0")),
     ("oci://h.example:5000/a", Address("h.example:5000", "a", "1.0.0_b")),
     ("oci://[::1]:5000/a:x", Address("[::1]:5000", "a", "x")),
     (f"oci://h/a:1@sha256:{'0' * 64}", Address("h", "a", f"sha256:{'0' * 64}")),
     ("oci://h/A:1", None), ("oci://h/../a:1", None), ("oci://u:p@h/a:1", None), ("oci://h", None),
     ("oci://h/a:", None), ("oci://h/a:1?x", None), ("https://h/a:1", None)],
)  # fmt: skip
def test_addresses_of_charts_in_registries(url: str, found: Address | None) -> None:
    assert address_of(url, "1.0.0+b") == found


class Both:
    """A Helm repository, and a registry that its index names."""

    def __init__(self, repo: Repository, host: Host) -> None:
        self.repo = repo
        self.registry = Registry()
        host.fault = self.registry
        self.host = host.url.removeprefix("http://")

    def row(self, tag: str = ":1.0.0", **fields: Any) -> dict[str, Any]:
        return row("a", "1.0.0", urls=[f"oci://{self.host}/c/a{tag}"], **fields)


@pytest.fixture
def both(repo: Repository, tmp_path: Path) -> Iterator[Both]:
    with ExitStack() as stack:
        yield Both(repo, stack.enter_context(hosting(tmp_path)))


@pytest.mark.parametrize("tag", [":1.0.0", "", "digest"])
def test_a_chart_in_a_registry_comes_with_its_manifest_and_provenance(both: Both, tag: str) -> None:
    data = chart_bytes("a", "1.0.0")
    digest = both.registry.chart("c/a", "1.0.0", data, PROV)
    both.registry.auth = "token"
    entry = both.row(f"@{digest}" if tag == "digest" else tag)
    assert both.repo.sync({"a": [entry]}).exit_code == 0
    found = {a.annotations.get(oci.ROLE, ""): a for a in attached(both.repo)}
    assert found.keys() == {"", "manifest", "blob"}
    assert f"sha256:{found['manifest'].digest}" == digest
    assert found[""].media_type == oci.HELM_PROVENANCE
    assert check(both.repo.project).findings == []
    both.registry.seen.clear()
    assert both.repo.sync({"a": [entry]}).exit_code == 0 and both.registry.seen == []


def test_what_is_no_chart_or_another_one_is_a_hole(both: Both) -> None:
    both.registry.put("c/a", "1.0.0", [(b"x", "text/x")], config=(b"", oci.EMPTY_CONFIG))
    report = both.repo.sync({"a": [both.row()]})
    assert report.exit_code == PARTIAL and "no chart" in report.holes[0].reason
    both.registry.chart("c/a", "1.0.0", chart_bytes("a", "1.0.0"))
    report = both.repo.sync({"a": [both.row(digest="ab" * 32)]})
    assert report.exit_code == PARTIAL and "was announced" in report.holes[0].reason
    both.registry.chart("c/a", "1.0.0", chart_bytes("a", "2.0.0"))
    report = both.repo.sync({"a": [both.row()]})
    assert "calls itself" in report.holes[0].reason and releases(both.repo.project) == set()


def test_the_repositorys_password_does_not_go_to_the_registry(both: Both) -> None:
    both.registry.auth, both.registry.anonymous = "token", False
    both.registry.chart("c/a", "1.0.0", chart_bytes("a", "1.0.0"))
    headers = {"Authorization": BASIC}
    http = both.repo.http = HttpReader(
        both.repo.host.url, Patience(attempts=1), headers, sleep=lambda s: None
    )
    report = both.repo.sync({"a": [both.row()]})
    http.close()
    assert report.exit_code == PARTIAL
    assert {given for _, given in both.registry.seen} == {""}
