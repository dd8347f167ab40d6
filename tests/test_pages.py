"""Pages for people: what they show, how lists are split, and how an auditor compares them."""

from __future__ import annotations

import html.parser
import io
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive import readme
from cnrmirror.archive.identify import Override
from cnrmirror.archive.readme import MAX_README, Readme, readme_in
from cnrmirror.audit.report import Audit, Order
from cnrmirror.audit.run import audit
from cnrmirror.cli import cli
from cnrmirror.mirror.change import Removal, remove, set_channel
from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.objects.folder import FolderReader
from cnrmirror.publish.session import Session
from cnrmirror.trust.verify import Policy, Trust
from cnrmirror.views import pagelists
from cnrmirror.views.pagelists import parts_of, touched
from cnrmirror.views.theme import theme
from tests.conftest import tar_gz
from tests.mirrors import make, reopen

NOW = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()
NS = Override(namespace="charts")
CHART = """\
apiVersion: v2
name: web
version: {release}
appVersion: "9.1"
description: A web server & <more>
home: https://web.example.com
keywords: [http, proxy]
maintainers: [{{name: Some One, email: one@example.com, url: "javascript:alert(1)"}}]
dependencies: [{{name: db, version: ~1.0, repository: "https://db.example.com"}}]
annotations:
  artifacthub.io/license: MIT
  artifacthub.io/changes: |
    - kind: added
      description: a door
    - a window
"""
README = b"# Web\n\nIt *serves*. <script>alert(1)</script>\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"


def web(folder: Path, release: str) -> Path:
    path = folder / f"web-{release}.tgz"
    files = {
        "web/Chart.yaml": CHART.format(release=release).encode(),
        "web/README.md": README,
        "web/values.yaml": b"image: {repository: docker.io/library/web, tag: '9.1'}\n",
    }
    path.write_bytes(tar_gz(files))
    return path


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three releases of a chart, one that was removed, a channel, and another package."""
    folder = tmp_path_factory.mktemp("pages")
    project = make(folder / "m", "00000000-0000-4000-8000-00000000000d", NOW)
    for release in ("1.0.0", "1.1.0", "2.0.0-rc.1"):
        push(project, [web(folder, release)], NS, NOW)
    remove(project, Removal("charts/web", "1.0.0", None, "it <b>burned</b>"), NOW)
    set_channel(project, "charts/web", "stable", "1.1.0", NOW)
    kpm = folder / "kpm.tar.gz"
    kpm.write_bytes(tar_gz({"manifest.yaml": b"package: {name: apps/old, version: 0.1.0}\n"}))
    push(project, [kpm], Override(), NOW)
    return project


class Links(html.parser.HTMLParser):
    """The addresses in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("href", "src")]


def links(page: Path) -> Iterator[str]:
    parser = Links()
    parser.feed(page.read_text())
    yield from parser.found


def read(project: Project, path: str) -> str:
    return (project.site / path).read_text()


def test_a_package_has_one_page_that_says_all_of_it_without_script(mirror: Project) -> None:
    page = read(mirror, "packages/charts/web/index.html")
    for text in (
        "A web server &amp; &lt;more&gt;", "https://web.example.com", "Some One", "MIT", "proxy",
        "a door", "a window", "docker.io/library/web:9.1", "stable", "<em>serves</em>", "<table>",
        "it &lt;b&gt;burned&lt;/b&gt;", "helm install web charts/web --version 1.1.0",
        "cnrmirror pull charts/web@1.1.0", "appr pull", "curl -fsS", "2.0.0-rc.1",
    ):  # fmt: skip
        assert text in page, text
    assert "javascript:" not in page
    assert "<script>alert" not in page
    assert len(list((mirror.site / "packages").rglob("web/*"))) == 1


def test_the_readme_of_an_archive_is_found_at_its_root_and_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"a/docs/README.md": b"no", "a/README": b"plain", "a/readme.md": b"# yes"}
    found = readme_in(io.BytesIO(tar_gz(files)))
    assert found == Readme("readme.md", b"# yes")
    assert found.is_markdown
    assert readme_in(io.BytesIO(tar_gz({"a/b": b"x"}))) is None
    assert readme_in(io.BytesIO(b"no archive")) is None
    assert readme_in(io.BytesIO(tar_gz({"README.md": bytes(MAX_README + 1)}))) is None
    monkeypatch.setattr(readme, "MAX_UNPACKED", 1 << 20)
    behind = {"a/large": bytes(2 << 20), "a/README.md": b"x"}
    assert readme_in(io.BytesIO(tar_gz(behind))) is None


def test_home_lists_and_the_feed_name_what_is_there(mirror: Project) -> None:
    home = read(mirror, "index.html")
    assert "charts/web" in home
    assert "apps/old" in home
    assert mirror.metadata.root_in_force().digest in home
    assert "web" in read(mirror, "packages/charts/index.html")
    assert "apps" in read(mirror, "packages/index.html")
    assert "<id>urn:cnr:" in read(mirror, "feed.xml")
    log = read(mirror, "revisions/index.html")
    assert all(str(number) in log for number in range(mirror.head().revision + 1))
    assert "remove charts/web@1.0.0" in log


def test_every_link_inside_the_site_leads_to_a_file(mirror: Project) -> None:
    pages = list(mirror.site.glob("*.html")) + list((mirror.site / "packages").rglob("*.html"))
    for page in (*pages, mirror.site / "revisions" / "index.html"):
        for link in links(page):
            parts = urlsplit(link)
            if parts.scheme or not parts.path:
                continue
            assert not link.startswith("/"), link
            target = (page.parent / unquote(parts.path)).resolve()
            target = target / "index.json" if target.is_dir() else target
            assert target.is_file(), f"{page}: {link}"


def test_a_page_is_the_same_whatever_revision_it_is_of(
    tmp_path: Path, chart: Callable[..., Path]
) -> None:
    project = make(tmp_path / "m", "00000000-0000-4000-8000-00000000000e", NOW)
    push(project, [chart("a", "1.0.0")], NS, NOW)
    before = written(project)
    push(project, [chart("b", "1.0.0")], NS, NOW)
    new = changed(before, written(project))
    assert "packages/charts/a/index.html" not in new
    assert len(new) <= 20
    before = written(project)
    push(project, [chart("b", "1.1.0")], NS, NOW)
    assert len(changed(before, written(project))) <= 8


def written(project: Project) -> dict[str, bytes]:
    tops = ("packages", "search", "revisions", "assets", "index.html", "feed.xml", "trust.html")
    return {
        path.relative_to(project.site).as_posix(): path.read_bytes()
        for path in project.site.rglob("*")
        if path.is_file() and path.relative_to(project.site).parts[0] in tops
    }


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    paths = before.keys() | after.keys()
    return {path for path in paths if before.get(path) != after.get(path)}


NAMES = st.sets(st.from_regex(r"[abAB][abc.-]{0,3}", fullmatch=True), max_size=60)


@given(NAMES, NAMES)
def test_the_pages_of_a_list_that_a_change_touches_are_all_that_differ(
    before: set[str], after: set[str]
) -> None:
    rows, pagelists.ROWS = pagelists.ROWS, 5
    try:
        moved = {n: (n in before or None, n in after or None) for n in before ^ after}
        old = {part.file: part.names for part in touched(before, moved)[1]}
        new = {part.file: part.names for part in touched(after, moved)[1] if part.names}
        whole = [{p.file: p.names for p in parts_of(each) if p.names} for each in (before, after)]
        state = {name: names for name, names in whole[0].items() if name not in old} | new
        assert state == whole[1]
        assert len({name.lower() for name in whole[1]}) == len(whole[1])
        assert sorted(n for names in whole[1].values() for n in names) == sorted(after)
    finally:
        pagelists.ROWS = rows


def test_a_namespace_of_many_packages_is_split_by_letters(
    tmp_path: Path, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagelists, "ROWS", 2)
    project = make(tmp_path / "m", "00000000-0000-4000-8000-00000000000f", NOW)
    push(project, [chart(name, "1.0.0") for name in ("aa", "ab", "b")], NS, NOW)
    assert (project.site / "packages/charts/-/p-a.html").is_file()
    assert list(links(project.site / "packages/charts/index.html")).count("-/p-a.html") == 1
    push(project, [chart("ac", "1.0.0")], NS, NOW)
    assert not (project.site / "packages/charts/-/p-a.html").exists()
    assert (project.site / "packages/charts/-/p-ac.html").is_file()
    assert check(project).findings == []
    assert project.builder.rebuild(project.head()) == (0, 0)


def test_lists_are_right_after_every_push_however_they_are_split(
    tmp_path: Path, chart: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagelists, "ROWS", 3)
    project = make(tmp_path / "m", "00000000-0000-4000-8000-000000000014", NOW)
    dice = random.Random(5)
    names = ["".join(dice.choices("ab-c", k=3)).strip("-") + "x" for _ in range(14)]
    for number, name in enumerate(names):
        wish = Override(namespace=dice.choice(["n", "ns", "nt", "o", "p", "q"]))
        push(project, [chart(name, f"1.{number}.0")], wish, NOW)
        if number % 4 == 3:
            wish = Override(namespace="n")
            push(project, [chart("gone", f"1.{number}.0")], wish, NOW)
            remove(project, Removal("n/gone", f"1.{number}.0", None, "x"), NOW)
        assert check(project).findings == []


def look_at(
    project: Project, place: Path, work: Path, strict: bool = False,
    templates: Mapping[str, str] = MappingProxyType({}), pages: bool = True,
) -> Audit:  # fmt: skip
    trust = Trust((project.metadata.path / "1.root.json").read_bytes(), work / "c", work / "m")
    order = Order(Policy(), datetime.now(UTC), strict=strict, templates=templates, pages=pages)
    return audit(FolderReader(place), trust, order)


def test_an_auditor_makes_every_page_again_and_finds_each_that_differs(
    mirror: Project, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(mirror.site, tmp_path / "site", symlinks=True))
    assert look_at(mirror, place, tmp_path, strict=True).findings == []
    found = [path for path in written(mirror) if not (place / path).is_symlink()]
    for path in found:
        data = (place / path).read_bytes()
        (place / path).unlink()
        (place / path).write_bytes(data[:-1] + b" ")
    assert {f.path for f in look_at(mirror, place, tmp_path).findings} == set(found)
    report = look_at(mirror, place, tmp_path, pages=False)
    assert report.findings == []  # and the report says what it did not compare
    assert [u.reason for u in report.unchecked if u.what == "pages"] == [
        "only --pages compares them"
    ]


def test_own_templates_take_the_place_of_the_program_s_and_are_not_run_by_an_auditor(
    tmp_path: Path, chart: Callable[..., Path]
) -> None:
    project = make(tmp_path / "m", "00000000-0000-4000-8000-000000000010", NOW)
    push(project, [chart("a", "1.0.0")], NS, NOW)
    own = project.folder / "own"
    own.mkdir()
    base = '{% extends "original/pages/home.html" %}{% block main %}Our own words{% endblock %}'
    (own / "home.html").write_text(base)
    with (project.folder / "mirror.yaml").open("a") as stream:
        stream.write("views: {templates: own, look: {title: Ours, accent: '#123456'}}\n")
    project = reopen(project.folder)
    push(project, [chart("b", "1.0.0")], NS, NOW)
    assert "Our own words" in read(project, "index.html")
    assert "Ours" in read(project, "packages/charts/a/index.html")
    out = tmp_path / "out"
    with Session.open(project, PublishTo(to=str(out))) as session:
        session.publish(NOW)
    assert (out / "index.html").read_bytes() == (project.site / "index.html").read_bytes()
    report = look_at(project, project.site, tmp_path)
    assert [u.reason for u in report.unchecked if u.what == "pages"] == [
        "own templates, not compared; --templates DIR gives them"
    ]
    assert report.findings == []
    templates = {"home.html": base}
    report = look_at(project, project.site, tmp_path, templates=templates)
    assert "pages" not in [u.what for u in report.unchecked]
    (project.site / "index.html").write_text("other")
    report = look_at(project, project.site, tmp_path, templates=templates)
    assert [f.path for f in report.findings] == ["index.html"]


@pytest.mark.parametrize(
    "text", ["{{ nothing }}", "{% if %}", "{{ 1 / 0 }}", "{{ site.__class__.__mro__ }}"]
)
def test_an_own_template_that_is_wrong_is_named_and_nothing_is_changed(
    tmp_path: Path, chart: Callable[..., Path], text: str
) -> None:
    project = make(tmp_path / "m", "00000000-0000-4000-8000-000000000013", NOW)
    push(project, [chart("a", "1.0.0")], NS, NOW)
    (project.folder / "own").mkdir()
    (project.folder / "own" / "home.html").write_text(text)
    with (project.folder / "mirror.yaml").open("a") as stream:
        stream.write("views: {templates: own}\n")
    before = project.head()
    with pytest.raises(InvalidDocument, match=r"views\.templates: .*home\.html"):
        push(reopen(project.folder), [chart("b", "1.0.0")], NS, NOW)
    assert project.head() == before


def test_a_changed_look_is_signed_by_build(tmp_path: Path, chart: Callable[..., Path]) -> None:
    project = make(tmp_path / "m", "00000000-0000-4000-8000-000000000011", NOW)
    push(project, [chart("a", "1.0.0")], NS, NOW)
    before = project.head().revision
    with (project.folder / "mirror.yaml").open("a") as stream:
        stream.write("views: {look: {title: Ours}}\n")
    for _ in range(2):
        assert CliRunner().invoke(cli, ["-C", str(project.folder), "build"]).exit_code == 0
        assert reopen(project.folder).head().revision == before + 1
    assert look_at(project, project.site, tmp_path).findings == []


def test_without_pages_there_is_the_plain_front_page(
    tmp_path: Path, chart: Callable[..., Path]
) -> None:
    project = make(tmp_path / "m", "00000000-0000-4000-8000-000000000012", NOW)
    push(project, [chart("a", "1.0.0")], NS, NOW)
    with (project.folder / "mirror.yaml").open("a") as stream:
        stream.write("views: {pages: false}\n")
    project = reopen(project.folder)
    push(project, [chart("b", "1.0.0")], NS, NOW)
    assert not (project.site / "packages").exists()
    assert "curl" in read(project, "index.html")
    assert check(project).findings == []
    assert look_at(project, project.site, tmp_path, strict=True).findings == []


@given(st.from_regex(r"#[0-9a-f]{6}", fullmatch=True))
def test_any_accent_becomes_one_in_which_text_can_be_read(accent: str) -> None:
    light, dark = theme(accent).splitlines()
    assert contrast(light.split("--accent:")[1][:7], "#ffffff") >= 4.5
    assert contrast(dark.split("--accent:")[1][:7], "#14181f") >= 4.5


def contrast(one: str, other: str) -> float:
    """By WCAG 2.2."""

    def luminance(text: str) -> float:
        channels = [int(text[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
