"""Sync with upstreams that are wrong, hostile, or gone: nothing wrong enters, nothing is lost."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.inspect import inspect
from cnrmirror.mirror import change, config
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.documents import Channel, Tombstone
from cnrmirror.model.errors import InvalidDocument, NetworkError
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.sources.base import Ask, Hole, Listing, Offer
from cnrmirror.sources.filters import Filter, renamed
from cnrmirror.sources.helm import HelmSource
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import PARTIAL, SHRUNK, SyncReport
from cnrmirror.sync.run import sync
from tests.conftest import NOW, chart_bytes
from tests.hostile import HeldClock, drip, hosting

MANIFEST = "application/vnd.appr.package-manifest.helm.v0.json"


class Memory:
    """A source in memory, whose contents a test changes."""

    name = "up"

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.channels: dict[str, list[Channel]] = {}
        self.holes: list[Hole] = []
        self.tombstones: dict[str, list[Tombstone]] = {}
        self.opened: list[str] = []
        self.lie: bytes | None = None
        self.failure: Exception | None = None

    def put(self, package: str, release: str, text: str = "") -> None:
        self.blobs[package, release] = chart_bytes(package.partition("/")[2], release, text)

    def look(self, ask: Ask) -> Listing:
        if self.failure is not None:
            raise self.failure
        offers = [
            Offer(p, r, "helm", f"2026-01-0{n % 9 + 1}T00:00:00", MANIFEST, _digest(b), len(b), "")
            for n, ((p, r), b) in enumerate(sorted(self.blobs.items()))
        ]
        return Listing(offers, self.channels, self.holes, [], tombstones=self.tombstones)

    def open(self, offer: Offer) -> Iterator[bytes]:
        self.opened.append(f"{offer.upstream}@{offer.release}")
        yield self.lie or self.blobs[offer.upstream, offer.release]


def _digest(data: bytes) -> str:
    return inspect(io.BytesIO(data)).diff_id


@pytest.fixture
def upstream() -> Memory:
    source = Memory()
    for number in range(10):
        source.put(f"ns/p{number}", "1.0.0")
    source.put("ns/p1", "2.0.0")
    source.channels = {"ns/p1": [Channel("stable", "1.0.0", ["1.0.0"])]}
    return source


def run(project: Project, source: Any, **rules: Any) -> SyncReport:
    dry = rules.pop("dry_run", False)
    keep = rules.pop("keep", False)
    report = sync(project, [(source, Rules(**rules))], NOW, dry, keep)
    assert check(project).findings == []
    return report


def releases(project: Project) -> set[str]:
    return {
        f"{ref.name}@{r.release}"
        for ref in project.catalog.packages(project.tree())
        for r in project.catalog.document(ref).releases
    }


def test_a_first_sync_is_one_revision_and_a_second_one_is_none(
    project: Project, upstream: Memory
) -> None:
    report = run(project, upstream)
    assert (report.exit_code, report.revision, report.sources[0].fetched) == (0, 1, 11)
    assert project.document("ns/p1").channels == upstream.channels["ns/p1"]
    upstream.opened.clear()
    again = run(project, upstream)
    assert (again.exit_code, again.revision, upstream.opened) == (0, None, [])
    upstream.put("ns/p3", "1.1.0")
    run(project, upstream)
    assert upstream.opened == ["ns/p3@1.1.0"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(
    project: Project, upstream: Memory
) -> None:
    report = run(project, upstream, dry_run=True)
    assert [a.kind for a in report.sources[0].actions] == ["fetch"] * 11
    assert upstream.opened == [] and releases(project) == set()


def test_what_is_gone_upstream_is_kept_or_followed(project: Project, upstream: Memory) -> None:
    run(project, upstream)
    del upstream.blobs["ns/p9", "1.0.0"]
    run(project, upstream)
    assert "ns/p9@1.0.0" in releases(project)
    run(project, upstream, deletes="follow")
    assert "ns/p9@1.0.0" not in releases(project)
    upstream.put("ns/p9", "1.0.0", "with other content")
    assert run(project, upstream, deletes="follow").exit_code == 4
    upstream.put("ns/p9", "1.0.0")
    run(project, upstream, deletes="follow")
    assert "ns/p9@1.0.0" in releases(project)


@pytest.mark.parametrize("left", [0, 5])
def test_an_upstream_that_shrinks_much_deletes_nothing(
    project: Project, upstream: Memory, left: int
) -> None:
    run(project, upstream)
    before = releases(project)
    upstream.blobs = dict(list(upstream.blobs.items())[:left])
    report = run(project, upstream, deletes="follow")
    assert report.exit_code == SHRUNK and releases(project) == before


def test_an_upstream_that_fails_deletes_nothing(project: Project, upstream: Memory) -> None:
    run(project, upstream)
    before = releases(project)
    upstream.failure = NetworkError("it answers 500")
    report = run(project, upstream, deletes="follow", max_shrink=1.0)
    assert report.exit_code == 12 and releases(project) == before


def test_a_package_that_could_not_be_read_is_not_gone(project: Project, upstream: Memory) -> None:
    run(project, upstream)
    del upstream.blobs["ns/p9", "1.0.0"]
    upstream.holes = [Hole("ns/p9", "500")]
    report = run(project, upstream, deletes="follow")
    assert report.exit_code == PARTIAL and "ns/p9@1.0.0" in releases(project)


def test_a_changed_release_is_frozen_accepted_or_fails(project: Project, upstream: Memory) -> None:
    run(project, upstream)
    before = project.document("ns/p2").releases[0].content.digest
    upstream.put("ns/p2", "1.0.0", "changed")
    upstream.put("ns/p2", "3.0.0")
    report = run(project, upstream, changes="fail")
    assert report.exit_code == 4 and "ns/p2@3.0.0" not in releases(project)
    report = run(project, upstream)
    assert report.exit_code == 4 and "ns/p2@3.0.0" in releases(project)
    assert project.document("ns/p2").find("1.0.0", "helm").content.digest == before  # type: ignore[union-attr]
    assert run(project, upstream, changes="accept").exit_code == 0
    assert project.document("ns/p2").find("1.0.0", "helm").content.digest != before  # type: ignore[union-attr]


def test_what_was_pushed_here_is_never_touched(
    project: Project, upstream: Memory, tmp_path: Path
) -> None:
    path = tmp_path / "p1-1.0.0.tgz"
    path.write_bytes(chart_bytes("p1", "1.0.0", "our own"))
    push(project, [path], Override(namespace="ns"), NOW)
    report = run(project, upstream, changes="accept", deletes="follow")
    assert report.exit_code == 4
    assert project.document("ns/p1").find("1.0.0", "helm").origin == "push"  # type: ignore[union-attr]
    change.remove(project, change.Removal("ns/p5", "1.0.0", None, "bad"), NOW)
    run(project, upstream)
    assert "ns/p5@1.0.0" not in releases(project)


def test_an_archive_that_is_not_what_was_offered_is_a_hole(
    project: Project, upstream: Memory
) -> None:
    upstream.lie = chart_bytes("evil", "1.0.0")
    report = run(project, upstream)
    assert report.exit_code == PARTIAL and len(report.sources[0].holes) == 11
    assert releases(project) == set()
    upstream.lie = b"no archive at all"
    assert run(project, upstream).exit_code == PARTIAL
    upstream.lie = None
    assert run(project, upstream).exit_code == 0


def test_what_a_killed_run_fetched_is_not_fetched_again(
    project: Project, upstream: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Project, "commit", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            run(project, upstream)
    assert len(upstream.opened) == 11
    assert run(project, upstream).exit_code == 0
    assert len(upstream.opened) == 11


def test_a_tightened_filter_removes_and_says_so(project: Project, upstream: Memory) -> None:
    run(project, upstream)
    tight = Filter(packages=["ns/p1", "/ns.p[23]/"], newest=1)
    assert run(project, upstream, filter=tight, keep=True).revision is None
    report = run(project, upstream, filter=tight)
    assert releases(project) == {"ns/p1@2.0.0", "ns/p2@1.0.0", "ns/p3@1.0.0"}
    assert sum(a.kind == "drop" for a in report.sources[0].actions) == 8
    assert project.document("ns/p1").channels == []
    by_channel = Filter(channels=["stable"])
    run(project, upstream, filter=by_channel)
    assert releases(project) == {"ns/p1@1.0.0"}


def test_names_are_mapped_and_the_first_source_has_a_release(
    project: Project, upstream: Memory
) -> None:
    second = Memory()
    second.name = "second"
    second.put("theirs/p1", "1.0.0", "another")
    second.put("theirs/p1", "5.0.0")
    report = sync(
        project,
        [(upstream, Rules()), (second, Rules(names={"theirs/*": "ns/*"}))],
        NOW,
    )
    assert report.exit_code == 0
    assert project.document("ns/p1").versions() == ["5.0.0", "2.0.0", "1.0.0"]
    assert project.document("ns/p1").find("1.0.0", "helm").origin == "up"  # type: ignore[union-attr]
    assert renamed("quay/x", {"quay/x": "ours/y"}) == "ours/y"
    assert renamed("other/x", {"quay/*": "ours/*"}) == "other/x"


# -- several runs and several sources -------------------------------------------------------------


def both(project: Project, *sources: Any, **rules: Any) -> SyncReport:
    report = sync(project, [(source, Rules(**rules)) for source in sources], NOW)
    assert check(project).findings == []
    return report


def named(name: str, *packages: tuple[str, str, str]) -> Memory:
    source = Memory()
    source.name = name
    for package in packages:
        source.put(*package)
    return source


def origins(project: Project) -> dict[str, str]:
    return {
        f"{ref.name}@{r.release}": r.origin
        for ref in project.catalog.packages(project.tree())
        for r in project.catalog.document(ref).releases
    }


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_two_sources_keep_what_they_gave_in_any_order_of_runs(
    project: Project, order: tuple[str, str]
) -> None:
    sources = {
        "a": named("a", ("ns/x", "1.0.0", "as a has it"), ("ns/x", "2.0.0", "")),
        "b": named("b", ("ns/x", "1.0.0", "as b has it"), ("ns/x", "3.0.0", "")),
    }
    first, second = (sources[name] for name in order)
    assert both(project, first, deletes="follow").exit_code == 0
    assert both(project, second, deletes="follow").exit_code == 4  # says so, and leaves it
    before = origins(project)
    assert before["ns/x@1.0.0"] == order[0] and len(before) == 3
    for run_of in ((first,), (second,), (first, second), (second, first)):
        both(project, *run_of, deletes="follow")
        assert origins(project) == before


def test_a_release_that_the_first_source_gives_up_is_taken_from_the_second(
    project: Project,
) -> None:
    a = named("a", *[(f"ns/p{n}", "1.0.0", "") for n in range(5)])
    b = named("b", ("ns/p0", "1.0.0", ""))
    both(project, a, b, deletes="follow")
    del a.blobs["ns/p0", "1.0.0"]
    both(project, a, b, deletes="follow")
    both(project, a, b, deletes="follow")
    assert origins(project)["ns/p0@1.0.0"] == "b"


def test_the_first_source_has_a_channel_and_local_ones_stay(
    project: Project, tmp_path: Path
) -> None:
    a, b = named("a", ("ns/x", "1.0.0", "")), named("b", ("ns/x", "2.0.0", ""))
    path = tmp_path / "x-3.0.0.tgz"
    path.write_bytes(chart_bytes("x", "3.0.0"))
    push(project, [path], Override(namespace="ns"), NOW, What(["ours"]))
    a.channels = {"ns/x": [Channel("stable", "1.0.0", ["1.0.0"])]}
    b.channels = {"ns/x": [Channel("stable", "2.0.0", ["2.0.0"]),
                           Channel("ours", "2.0.0", ["2.0.0"])]}  # fmt: skip
    for _ in range(2):
        both(project, a, b)
        found = {c.name: c.current for c in project.document("ns/x").channels}
        assert found == {"stable": "1.0.0", "ours": "3.0.0"}


def test_of_two_sources_the_first_one_has_a_channel(project: Project) -> None:
    a, b = named("a", ("ns/x", "1.0.0", "")), named("b", ("ns/x", "2.0.0", ""))
    a.channels = {"ns/x": [Channel("stable", "1.0.0", ["1.0.0"])]}
    b.channels = {"ns/x": [Channel("stable", "2.0.0", ["2.0.0"])]}
    for _ in range(2):
        both(project, a, b)
        assert [c.current for c in project.document("ns/x").channels] == ["1.0.0"]
    both(project, b, a)
    assert [c.current for c in project.document("ns/x").channels] == ["2.0.0"]


def test_a_channel_that_is_gone_upstream_goes_only_if_deletes_are_followed(
    project: Project, upstream: Memory
) -> None:
    run(project, upstream)
    kept, upstream.channels = upstream.channels, {}
    run(project, upstream)
    assert project.document("ns/p1").channels == kept["ns/p1"]
    upstream.holes = [Hole("ns/p1 (channels)", "500", "ns/p1")]
    run(project, upstream, deletes="follow")
    assert project.document("ns/p1").channels == kept["ns/p1"]
    upstream.holes = []
    run(project, upstream, deletes="follow")
    assert project.document("ns/p1").channels == []


def test_an_old_release_stays_until_the_new_one_is_here(project: Project, upstream: Memory) -> None:
    newest = Filter(newest=1)
    run(project, upstream, filter=newest)
    before = releases(project)
    upstream.put("ns/p2", "9.0.0")
    upstream.lie = b"broken"
    report = run(project, upstream, filter=newest)
    assert report.exit_code == PARTIAL and releases(project) == before
    assert [a.kind for a in report.sources[0].actions if a.package == "ns/p2"] == ["kept", "fetch"]
    upstream.lie = None
    assert run(project, upstream, filter=newest).exit_code == 0
    assert releases(project) == (before - {"ns/p2@1.0.0"}) | {"ns/p2@9.0.0"}


def test_takedowns_spread_from_mirror_to_mirror(project: Project, upstream: Memory) -> None:
    gone = {"ns/p4": [Tombstone("1.0.0", "helm", "0" * 64, NOW, "bad")],
            "ns/p5": [Tombstone("1.0.0", "helm", "0" * 64, NOW, "bad")]}  # fmt: skip
    upstream.put("ns/p4", "2.0.0")
    run(project, upstream)
    del upstream.blobs["ns/p4", "1.0.0"], upstream.blobs["ns/p5", "1.0.0"]
    upstream.tombstones = gone
    run(project, upstream)
    assert {"ns/p4@1.0.0", "ns/p5@1.0.0"} <= releases(project)  # deletes: keep
    run(project, upstream, deletes="follow")
    for package, stones in gone.items():
        assert project.document(package).tombstones == stones
    other = named("other", ("ns/p4", "1.0.0", ""), ("ns/p5", "1.0.0", ""))
    both(project, other)
    assert not {"ns/p4@1.0.0", "ns/p5@1.0.0"} & releases(project)


def test_a_new_mirror_learns_of_takedowns_before_others_bring_them(
    project: Project, upstream: Memory
) -> None:
    del upstream.blobs["ns/p5", "1.0.0"]
    upstream.tombstones = {
        name: [Tombstone("1.0.0", "helm", "0" * 64, NOW, "bad")] for name in ("ns/p5", "xx/y")
    }
    wanted = Filter(packages=["ns/*"])
    other = named("other", ("ns/p5", "1.0.0", ""), ("xx/y", "1.0.0", ""))
    sync(project, [(upstream, Rules(filter=wanted)), (other, Rules())], NOW)
    assert "ns/p5@1.0.0" not in releases(project)
    assert "xx/y@1.0.0" in releases(project)  # not asked for of this mirror


@pytest.mark.parametrize(("changes", "code", "here"), [
    ("freeze", 4, "old"), ("accept", 0, "new"), ("fail", 4, "old")])  # fmt: skip
def test_a_changed_chart_is_seen_by_its_digest(
    project: Project, tmp_path: Path, changes: Any, code: int, here: str
) -> None:
    archives = {"old": chart_bytes("a", "1.0.0"), "new": chart_bytes("a", "1.0.0", "changed")}

    def offered(data: bytes) -> None:
        row = {"version": "1.0.0", "urls": ["a.tgz"], "digest": hashlib.sha256(data).hexdigest()}
        (tmp_path / "a.tgz").write_bytes(data)
        (tmp_path / "index.yaml").write_text(json.dumps({"entries": {"a": [row]}}))

    with hosting(tmp_path) as host:
        http = HttpReader(host.url)
        source = HelmSource("up", http, "charts")
        offered(archives["old"])
        assert run(project, source).exit_code == 0
        assert run(project, source).revision is None
        offered(archives["new"])
        assert run(project, source, changes=changes).exit_code == code
        http.close()
    (release,) = project.document("charts/a").releases
    assert release.blob.digest == hashlib.sha256(archives[here]).hexdigest()


def test_a_fault_in_one_adapter_is_no_harm_to_the_rest(
    project: Project, upstream: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = named("broken")
    broken.failure = ZeroDivisionError("a fault of ours")
    report = both(project, broken, upstream)
    assert report.exit_code == 1 and len(releases(project)) == 11
    assert "ZeroDivisionError" in report.sources[0].error
    upstream.put("ns/p1", "5.0.0")
    upstream.put("ns/p2", "5.0.0")
    opened = upstream.open

    def fails_once(offer: Offer) -> Iterator[bytes]:
        if offer.package == "ns/p1":
            raise KeyError("a fault of ours")
        return opened(offer)

    monkeypatch.setattr(upstream, "open", fails_once)
    report = both(project, upstream)
    assert report.exit_code == PARTIAL and "ns/p2@5.0.0" in releases(project)
    assert [hole.package for hole in report.sources[0].holes] == ["ns/p1"]


# -- upstreams that are wrong ---------------------------------------------------------------------


class FaultyRegistry:
    """A registry over HTTP, with a fault that a test chooses."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        self.blob = chart_bytes("a", "1.0.0")
        self.names = [f"ns/a{n}" for n in range(count)]
        self.fault = ""
        self.seen: list[tuple[str, str | None]] = []
        self.failures = 0
        self.clock = HeldClock()

    def __call__(self, handler: BaseHTTPRequestHandler, path: Path) -> bool:
        url = handler.path
        self.seen.append((url, handler.headers.get("Authorization")))
        if self.fault in ("429", "500", "503", "reset") and self.failures < 2:
            self.failures += 1
            if self.fault == "reset":
                handler.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                handler.close_connection = True
            else:
                self.answer(handler, int(self.fault), b"{}")
            return True
        api = "/cnr/api/v1/packages"
        if self.fault == "dies" and url != api:
            self.answer(handler, 503, b"{}")
        elif url == api:
            listed = ["1.0.0", "7.0.0"] if self.fault == "a lie" else ["1.0.0"]
            rows = [{"name": n, "releases": listed} for n in self.names]
            if self.fault == "cut list":
                handler.send_response(200)
                handler.send_header("Content-Length", "5000")
                handler.end_headers()
                handler.wfile.write(json.dumps(rows).encode())
                handler.close_connection = True
                return True
            body = {"huge": b"[" + b" " * (65 << 20) + b"]", "deep": b"[" * 9999,
                    "no list": b"{}"}.get(self.fault, json.dumps(rows).encode())  # fmt: skip
            self.answer(handler, 500 if self.fault == "list 500" else 200, body)
        elif url.endswith("/channels"):
            self.answer(handler, 200, b"[]")
        elif url.endswith("/pull"):
            self.pull(handler)
        else:
            name = "/".join(url.removeprefix(api).strip("/").split("/")[:2])
            digest = _digest(self.blob)
            if self.fault == "wrong digest":
                digest = hashlib.sha256(b"else").hexdigest()
            size = len(self.blob) + (self.fault == "wrong size")
            content = {"digest": digest, "size": size, "urls": [], "mediaType": "x"}
            manifest = {"package": name, "release": "1.0.0", "mediaType": MANIFEST,
                        "created_at": NOW, "metadata": None, "content": content}  # fmt: skip
            if self.fault == "another package":
                manifest["package"] = "evil/x"
            if self.fault == "bad release":
                manifest["release"] = "../../x"
            self.answer(handler, 200, json.dumps([manifest]).encode())
        return True

    def pull(self, handler: BaseHTTPRequestHandler) -> None:
        if self.fault in ("file", "other host"):
            target = {"file": "file:///etc/passwd", "other host": self.elsewhere}[self.fault]
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        elif self.fault == "cut off":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(self.blob)))
            handler.end_headers()
            handler.wfile.write(self.blob[:50])
            handler.close_connection = True
        elif self.fault == "base64":
            self.answer(handler, 200, base64.b64encode(self.blob))
        elif self.fault in ("endless", "bomb"):
            self.endless(handler, self.fault == "bomb")
        elif self.fault == "drip":
            drip("pull", self.clock)(handler, Path("pull"))
        else:
            self.answer(handler, 200, self.blob)

    elsewhere = ""

    def endless(self, handler: BaseHTTPRequestHandler, bomb: bool) -> None:
        """An archive without an end (a GiB at most): of noise, or of zeros that pack well."""
        member = tarfile.TarInfo("a/noise")
        member.size = 1 << 40
        gzipped = zlib.compressobj(wbits=31)
        piece = bytes(1 << 20) if bomb else random.Random(7).randbytes(1 << 20)
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            handler.wfile.write(gzipped.compress(member.tobuf(tarfile.GNU_FORMAT)))
            for _ in range(1 << 10):
                data = gzipped.compress(piece)
                handler.wfile.write(data)
                self.sent += len(data)
        except OSError:
            pass
        handler.close_connection = True

    sent = 0

    @staticmethod
    def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True


@pytest.mark.parametrize(
    ("fault", "code", "holes"),
    [("", 0, 0), ("429", 0, 0), ("500", 0, 0), ("503", 0, 0), ("reset", 0, 0),
     ("list 500", 12, 0), ("cut list", 12, 0), ("wrong size", 0, 0),
     ("a lie", PARTIAL, 3), ("endless", PARTIAL, 3), ("bomb", PARTIAL, 3), ("drip", PARTIAL, 3),
 ("huge", 9, 0),
     ("deep", 3, 0), ("no list", 3, 0), ("wrong digest", PARTIAL, 3), ("cut off", PARTIAL, 3),
     ("another package", PARTIAL, 6), ("bad release", PARTIAL, 6), ("file", PARTIAL, 3),
     ("base64", PARTIAL, 3)],
)  # fmt: skip
def test_a_faulty_registry_ends_as_it_must(
    project: Project, tmp_path: Path, fault: str, code: int, holes: int
) -> None:
    registry = FaultyRegistry(tmp_path)
    registry.fault = fault
    with hosting(tmp_path) as host:
        host.fault = registry
        http = HttpReader(host.url, Patience(give_up_after=8), **registry.clock.times)
        report = run(project, RegistrySource("up", http, max_archive=1_000_000), parallel=1)
        http.close()
    assert report.exit_code == code, report
    assert len(report.sources[0].holes) in (holes, 3 if holes else 0)
    assert bool(releases(project)) == (code == 0 or fault == "a lie")
    assert bool(report.sources[0].notes) == (fault == "wrong size")
    assert registry.sent <= 30_000_000 * holes
    assert len(registry.seen) < 60


def test_a_secret_never_follows_a_redirect_to_another_host(
    project: Project, tmp_path: Path
) -> None:
    registry, other = FaultyRegistry(tmp_path, 1), FaultyRegistry(tmp_path, 1)
    registry.fault = "other host"
    with hosting(tmp_path) as host, hosting(tmp_path) as stranger:
        registry.elsewhere = f"{stranger.url}/somewhere/pull"
        host.fault, stranger.fault = registry, other
        http = HttpReader(host.url, headers={"Authorization": "Bearer secret"})
        report = run(project, RegistrySource("up", http))
        http.close()
    assert report.exit_code == 0
    assert {value for _, value in registry.seen} == {"Bearer secret"}
    assert {value for _, value in other.seen} == {None}


def test_a_helm_repository_is_mirrored_and_its_digests_are_checked(
    project: Project, tmp_path: Path
) -> None:
    site = tmp_path / "helm"
    site.mkdir()
    entries: dict[str, Any] = {}
    for name, wrong in (("a", False), ("b", True)):
        data = chart_bytes(name, "1.0.0")
        (site / f"{name}-1.0.0.tgz").write_bytes(data)
        digest = hashlib.sha256(b"else" if wrong else data).hexdigest()
        entries[name] = [
            {"version": "1.0.0", "urls": [f"{name}-1.0.0.tgz"], "digest": digest,
             "created": "2026-01-02T03:04:05Z"},
            {"version": "not semver", "urls": ["x"]},
            {"version": "2.0.0", "urls": ["file:///etc/passwd"]},
        ]  # fmt: skip
    (site / "index.yaml").write_text(json.dumps({"apiVersion": "v1", "entries": entries}))
    with hosting(site) as host:
        http = HttpReader(host.url)
        report = run(project, HelmSource("up", http, "charts"))
        http.close()
    assert report.exit_code == PARTIAL and len(report.sources[0].holes) == 5
    assert releases(project) == {"charts/a@1.0.0"}


@pytest.mark.parametrize(
    ("text", "line"),
    [("sources:\n  up:\n    type: registry\n    url: http://x\n    uri: x\n", 6),
     ("sources:\n  up:\n    type: regsitry\n", 4), ("views:\n  dialect: quay\n", 3),
     ("sources:\n  up:\n    type: helm\n    url: http://x\n", 3)],
)  # fmt: skip
def test_a_wrong_configuration_is_named_with_its_line(
    project: Project, text: str, line: int
) -> None:
    path = project.folder / "mirror.yaml"
    path.write_text(f"id: x\n{text}")
    with pytest.raises(InvalidDocument, match=rf"mirror.yaml:{line}:"):
        config.load(path)
