"""mirror/images.py, mirror/facts.py, cli/images.py: images in facts, and how they are listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from cnrmirror.archive.facts import EXTRACTOR
from cnrmirror.archive.identify import Override
from cnrmirror.catalog.facts import facts_for, with_facts
from cnrmirror.cli import cli
from cnrmirror.mirror import project as projects
from cnrmirror.mirror.check import check
from cnrmirror.mirror.facts import extract_anew
from cnrmirror.mirror.imageforms import FORMS
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model import format as formats
from cnrmirror.model.documents import ArchiveFacts, Image
from cnrmirror.model.errors import (
    STALE_ACCEPTED,
    InvalidDocument,
    NotFoundError,
    Tampered,
    UsageError,
)
from cnrmirror.model.format import Format
from tests.conftest import NOW, tar_gz
from tests.mirrors import make, reopen

NS = Override(namespace="ns")
PIN = "sha256:" + "ab" * 32

# -- facts -----------------------------------------------------------------------------------------


def pushed(project: Project, folder: Path, release: str = "1.0.0", name: str = "app") -> None:
    text = f"name: {name}\nversion: {release}\nappVersion: '{release}'\n"
    values = f"image: {{repository: ns/{name}}}\ndb: {{image: 'postgres:16'}}\n"
    path = folder / f"{name}-{release}.tgz"
    path.write_bytes(tar_gz({f"{name}/Chart.yaml": text.encode(),
                             f"{name}/values.yaml": values.encode()}))  # fmt: skip
    push(project, [path], NS, NOW)


@pytest.fixture
def older(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A mirror with one chart that a program of extractor 2 looked into."""
    monkeypatch.setattr(
        projects, "facts_for",
        lambda _, fresh: {d: ArchiveFacts(2, {**f.chart, "home": "x"}) for d, f in fresh.items()},
    )  # fmt: skip
    pushed(project, tmp_path)
    monkeypatch.undo()
    return reopen(project.folder)


def facts(project: Project, package: str = "ns/app") -> list[ArchiveFacts]:
    return list(project.catalog.facts(project.document(package)).values())


def test_a_push_puts_images_into_facts(project: Project, tmp_path: Path) -> None:
    pushed(project, tmp_path)
    [found] = facts(project)
    assert found.images == [
        Image("docker.io/library/postgres:16", "values.yaml: db.image"),
        Image("docker.io/ns/app:1.0.0", "values.yaml: image", False),
    ]


def test_build_facts_looks_again_and_keeps_the_chart_as_it_was_first(older: Project) -> None:
    [before] = facts(older)
    assert before.extractor == 2 and before.images == []
    done = extract_anew(older, NOW)
    assert (done.revision, done.archives, done.unreadable) == (2, 1, [])
    [after] = facts(older)
    assert after.extractor == EXTRACTOR and len(after.images) == 2
    assert after.first == before.chart and after.chart != before.chart
    again = extract_anew(older, NOW)
    assert (again.revision, again.archives) == (None, 0)
    assert check(older).findings == []


def test_first_stays_whatever_later_extractors_see(project: Project, tmp_path: Path) -> None:
    pushed(project, tmp_path)
    document = project.document("ns/app")
    digest = document.releases[0].blob.digest
    [start] = facts(project)
    for extractor, chart_seen, first in [
        (5, {**start.chart, "a": "1"}, start.chart),
        (6, {**start.chart, "a": "2"}, start.chart),
        (7, start.chart, {}),
        (8, {"b": "1"}, start.chart),
    ]:
        fresh = {digest: ArchiveFacts(extractor, chart_seen)}
        document = with_facts(project.catalog, document, document, fresh)
        found = project.catalog.facts(document)[digest]
        assert (found.extractor, found.chart, found.first) == (extractor, chart_seen, first)


def test_an_archive_that_is_damaged_gives_no_facts(older: Project) -> None:
    blob = older.document("ns/app").releases[0].blob
    path = older.store.blob_path(blob.digest)
    Path(path).write_bytes(bytes(blob.size))
    done = extract_anew(older, NOW)
    assert (done.revision, done.archives, done.unreadable) == (None, 1, [blob.digest])


def test_a_mirror_of_an_older_format_keeps_no_images_until_it_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "KNOWN", Format(1, 1))
    make(tmp_path / "mirror", "old")
    monkeypatch.undo()
    monkeypatch.setenv("CNRMIRROR_ALLOW_PAST", "1")
    project = reopen(tmp_path / "mirror")
    pushed(project, tmp_path)
    [found] = facts(project)
    assert found.extractor == 2 and found.images == [] and found.chart["name"] == "app"
    with pytest.raises(UsageError, match="cnrmirror upgrade"):
        extract_anew(project, NOW)
    project.upgrade(NOW)
    assert extract_anew(project, NOW).archives == 1
    assert len(facts(project)[0].images) == 2
    fresh = {"": ArchiveFacts(3, {}, [Image("a", "b")])}
    assert facts_for(Format(1, 2), fresh) == fresh
    assert facts_for(Format(1, 1), fresh) == {"": ArchiveFacts(2, {})}


# -- the command -----------------------------------------------------------------------------------


def run(project: Project, *words: str) -> Result:
    return CliRunner().invoke(cli, ["-C", str(project.folder), *words])


def lines(project: Project, *words: str) -> list[list[str]]:
    result = run(project, "images", *words)
    assert result.exit_code in (0, STALE_ACCEPTED), result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


@pytest.fixture
def stocked(project: Project, tmp_path: Path) -> Project:
    for release in ("1.0.0", "1.1.0", "1.1.0-rc.1"):
        pushed(project, tmp_path, release)
    pushed(project, tmp_path, "3.0.0", "web")
    return project


DB16 = "docker.io/library/postgres:16"


def test_images_are_those_of_the_default_releases(stocked: Project) -> None:
    assert lines(stocked) == [
        [DB16, "sure", "ns/app", "1.1.0", "values.yaml: db.image"],
        [DB16, "sure", "ns/web", "3.0.0", "values.yaml: db.image"],
        ["docker.io/ns/app:1.1.0", "guess", "ns/app", "1.1.0", "values.yaml: image"],
        ["docker.io/ns/web:3.0.0", "guess", "ns/web", "3.0.0", "values.yaml: image"],
    ]


def test_references_and_all_say_which_releases(stocked: Project) -> None:
    def releases(*words: str) -> list[str]:
        return sorted({f"{row[2]}@{row[3]}" for row in lines(stocked, *words)})

    assert releases("ns/app") == ["ns/app@1.1.0"]
    assert releases("ns/app@1.0.0", "ns/web") == ["ns/app@1.0.0", "ns/web@3.0.0"]
    assert releases("ns/app", "--all") == ["ns/app@1.0.0", "ns/app@1.1.0", "ns/app@1.1.0-rc.1"]
    assert len(releases("--all")) == 4
    for nothing in ("ns/app@9.0.0", "ns/none"):
        assert isinstance(run(stocked, "images", nothing).exception, NotFoundError)


def test_missing_are_guesses_and_releases_that_nobody_looked_into(
    older: Project, tmp_path: Path
) -> None:
    pushed(older, tmp_path, "3.0.0", "web")
    result = run(older, "images", "--missing")
    assert result.stdout == "docker.io/ns/web:3.0.0\tguess\tns/web\t3.0.0\tvalues.yaml: image\n"
    assert "not known: the images of ns/app@1.0.0" in result.stderr
    assert "cnrmirror build --facts" in result.stderr
    told_json = json.loads(run(older, "--json", "images", "--missing").stdout)
    assert told_json["unknown"] == [{"package": "ns/app", "release": "1.0.0", "extractor": 2}]
    built = run(older, "build", "--facts")
    assert built.exit_code == 0 and "inspected 1 archive: revision 3" in built.stdout
    assert run(older, "images").stderr == ""


def test_mirror_yaml_adds_images_and_leaves_some_out(stocked: Project) -> None:
    path = stocked.folder / "mirror.yaml"
    path.write_text(
        path.read_text() + "images:\n  add_for:\n    'ns/w*': ['quay.io/a/agent:v{appVersion}',"
        " 'b:{release}', 'docker.io/library/postgres:15']\n"
        "  exclude: ['docker.io/library/postgres:*', '/.*/app:.+/']\n"
    )
    assert [(row[0], row[4]) for row in lines(stocked)] == [
        ("docker.io/library/b:3.0.0", "mirror.yaml: images.add_for"),
        ("docker.io/ns/web:3.0.0", "values.yaml: image"),
        ("quay.io/a/agent:v3.0.0", "mirror.yaml: images.add_for"),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{add_for: {'/(/': [a]}}", "regular expression"),
        ("{exclude: ['/(/']}", "regular expression"),
        ("{add_for: {'ns/*': ['NO IMAGE']}}", "NO IMAGE: not an image reference"),
        ("{ad_for: {}}", "there is no key"),
    ],
)
def test_settings_that_cannot_be_are_refused(project: Project, text: str, why: str) -> None:
    path = project.folder / "mirror.yaml"
    path.write_text(path.read_text() + f"images: {text}\n")
    with pytest.raises(InvalidDocument, match=why):
        Project(project.folder)


def test_another_mirror_is_asked_and_verified(stocked: Project, tmp_path: Path) -> None:
    root = stocked.site / "catalog/metadata/1.root.json"
    words = ("--from", str(stocked.site), "--root", str(root), "--at", NOW)
    other = make(tmp_path / "other", "other")
    assert lines(other, *words) == lines(stocked)
    assert lines(other, "ns/app@1.0.0", *words) == lines(stocked, "ns/app@1.0.0")
    for node in (stocked.site / "catalog/nodes").rglob("*"):
        if node.is_file() and b'"images"' in node.read_bytes():
            node.write_bytes(node.read_bytes().replace(b"postgres", b"postgras"))
    assert isinstance(run(other, "images", *words).exception, Tampered)


NAMED = [
    "docker.io/library/nginx:1.25", "docker.io/library/nginx:1.9", f"quay.io/a/b:v1@{PIN}",
    "registry.example.com:5000/c:latest",
]  # fmt: skip
GOLDEN = {
    "list": "".join(f"{name}\n" for name in NAMED),
    "skopeo": f"""\
"docker.io":
  images:
    "library/nginx":
      - "1.25"
      - "1.9"
"quay.io":
  images:
    "a/b":
      - "{PIN}"
"registry.example.com:5000":
  images:
    "c":
      - "latest"
""",
    "hauler": f"""\
apiVersion: content.hauler.cattle.io/v1
kind: Images
metadata:
  name: "x"
spec:
  images:
    - name: "docker.io/library/nginx:1.25"
    - name: "docker.io/library/nginx:1.9"
    - name: "quay.io/a/b:v1@{PIN}"
    - name: "registry.example.com:5000/c:latest"
""",
    "oc-mirror": f"""\
apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
mirror:
  additionalImages:
    - name: "docker.io/library/nginx:1.25"
    - name: "docker.io/library/nginx:1.9"
    - name: "quay.io/a/b:v1@{PIN}"
    - name: "registry.example.com:5000/c:latest"
""",
    "zarf": f"""\
kind: ZarfPackageConfig
metadata:
  name: "x"
components:
  - name: images
    required: true
    images:
      - "docker.io/library/nginx:1.25"
      - "docker.io/library/nginx:1.9"
      - "quay.io/a/b:v1@{PIN}"
      - "registry.example.com:5000/c:latest"
""",
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_as_its_tool_reads_it(form: str) -> None:
    assert FORMS[form](NAMED, "x") == GOLDEN[form]
    if form != "list":
        assert yaml.safe_load(FORMS[form](NAMED, "x"))
        yaml.safe_load(FORMS[form]([], "x"))


def test_a_form_has_each_image_once(stocked: Project) -> None:
    result = run(stocked, "images", "--format", "list")
    assert result.stdout.splitlines() == [
        DB16, "docker.io/ns/app:1.1.0", "docker.io/ns/web:3.0.0",
    ]  # fmt: skip


def test_show_has_images_from_facts_and_looks_itself_where_they_are_older(
    older: Project, stocked: Project
) -> None:
    for release, count in (("1.0.0", 2), ("1.1.0", 2)):
        told_json = json.loads(run(older, "--json", "show", f"ns/app@{release}").stdout)
        assert len(told_json["images"]) == count
    shown = run(stocked, "show", "ns/web").stderr
    assert "image: docker.io/ns/web:3.0.0 (a guess)" in shown
