"""archive/images.py: the images that a chart names, found in its archive."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnrmirror.archive import imagename
from cnrmirror.archive.clues import ClueKeeper, Clues
from cnrmirror.archive.facts import EXTRACTOR, facts_of
from cnrmirror.archive.identify import Override
from cnrmirror.archive.imagelines import image_of
from cnrmirror.archive.images import MAX_IMAGES, images_in
from cnrmirror.archive.inspect import inspect
from cnrmirror.archive.scan import Limits, Member
from cnrmirror.archive.yamlvalues import MAX_VALUES, values_in, weight
from cnrmirror.model.documents import Image
from tests.conftest import tar_gz

NS = Override(namespace="ns")
CHART = b"name: app\nversion: 1.0.0\nappVersion: '2.5'\n"
PIN = "sha256:" + "ab" * 32


def chart(files: Mapping[str, bytes | str], name: str = "app") -> bytes:
    given = {f"{name}/{path}": data.encode() if isinstance(data, str) else data
             for path, data in files.items()}  # fmt: skip
    return tar_gz({f"{name}/Chart.yaml": CHART, **given})


def images(files: Mapping[str, bytes | str]) -> list[Image]:
    info = inspect(io.BytesIO(chart(files)))
    facts = facts_of(info.telling, info.clues)
    assert facts is not None and facts.extractor == EXTRACTOR
    return facts.images


def told(files: Mapping[str, bytes | str]) -> dict[str, str]:
    """Where each image was found; a guess has a question mark."""
    return {str(image): image.why + "?" * (not image.sure) for image in images(files)}


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ("image: nginx:1.25", {"docker.io/library/nginx:1.25": "image"}),
        ("image: quay.io/a/b", {"quay.io/a/b:latest": "image?"}),
        ("image: {repository: a/b}", {"docker.io/a/b:2.5": "image?"}),
        ("image: {repository: a/b, tag: v1}", {"docker.io/a/b:v1": "image"}),
        ("image: {registry: r.io, repository: a/b, tag: v1}", {"r.io/a/b:v1": "image"}),
        (f"image: {{repository: a/b, digest: '{PIN}'}}", {f"docker.io/a/b@{PIN}": "image"}),
        (f"image: {{repository: a/b, tag: v1, sha: {PIN[7:]}}}",
         {f"docker.io/a/b:v1@{PIN}": "image"}),
        ("image: {name: a/b, tag: '1', pullPolicy: Always}", {"docker.io/a/b:1": "image"}),
        ("image: a/b\nimageTag: '7'", {"docker.io/a/b:7": "image"}),
        ("db: {dbImage: mysql, dbImageTag: 8}", {"docker.io/library/mysql:8": "db.dbImage"}),
        ("side: [{image: busybox:1}]", {"docker.io/library/busybox:1": "side[].image"}),
        ("args: ['--reloader=quay.io/a/reload:v0.5']", {}),
        ("reloader: 'quay.io/a/reload:v0.5'", {"quay.io/a/reload:v0.5": "reloader"}),
        ("chart: {repository: 'https://charts.example.com'}", {}),
        ("text: see example.com/a/b for more", {}),
        ("image: {repository: '', tag: ''}", {}),
        ("image: 'NOT AN IMAGE'", {}),
    ],
)  # fmt: skip
def test_values_name_images_in_many_ways(values: str, found: dict[str, str]) -> None:
    expected = {image: f"values.yaml: {key}" for image, key in found.items()}
    assert told({"values.yaml": values}) == expected


def test_a_tag_that_is_a_number_is_what_helm_makes_of_it() -> None:
    values = "image: {repository: a/b, tag: 1.10}\nother: {image: {repository: c/d, tag: '1.10'}}"
    assert [*told({"values.yaml": values})] == ["docker.io/a/b:1.1", "docker.io/c/d:1.10"]


def test_the_registry_of_all_charts_takes_the_place_of_each() -> None:
    values = (
        "global: {imageRegistry: r.io}\nimage: {registry: docker.io, repository: a/b, tag: v1}\n"
    )
    values += "db: {metrics: {image: {registry: ''}}}\n"
    files: dict[str, bytes | str] = {f"charts/{path}": data for path, data in DB.items()}
    files["values.yaml"] = values
    assert [*told(files)] == ["docker.io/library/postgres:9", "r.io/a/b:v1", "r.io/x:v1"]


def test_merge_keys_and_aliases_are_followed() -> None:
    values = "base: &b {registry: r.io, tag: v1}\nimage:\n  <<: *b\n  repository: a/b\nmore: *b\n"
    assert told({"values.yaml": values}) == {"r.io/a/b:v1": "values.yaml: image"}


# -- subcharts -------------------------------------------------------------------------------------

DB = {
    "db/Chart.yaml": b"name: db\nversion: 1.0.0\nappVersion: '9'\n",
    "db/values.yaml": b"image: {repository: postgres}\n"
    b"metrics: {image: {repository: x, tag: v1}}\n",
    "db/templates/a.yaml": b'image: "{{ .Values.global.registry }}/helper:3"\n',
}


@pytest.mark.parametrize("packed", [False, True])
def test_a_subchart_has_its_own_values_and_what_its_parent_says(packed: bool) -> None:
    inside: dict[str, bytes] = {"charts/db-1.0.0.tgz": tar_gz(DB)} if packed else {
        f"charts/{path}": data for path, data in DB.items()
    }  # fmt: skip
    values = "db: {metrics: {image: {tag: v2}}}\nglobal: {registry: r.io}\n"
    folder = "charts/db-1.0.0.tgz" if packed else "charts/db"
    files: dict[str, bytes | str] = {"values.yaml": values, **inside}
    assert told(files) == {
        "docker.io/library/postgres:9": "values.yaml: db.image?",
        "docker.io/library/x:v2": "values.yaml: db.metrics.image",
        "r.io/helper:3": f"{folder}/templates/a.yaml",
    }


def test_a_subchart_is_called_by_its_aliases_and_lies_as_deep_as_it_does() -> None:
    deep = {f"charts/mid/charts/{path}": data for path, data in DB.items()}
    files: dict[str, bytes | str] = {
        **deep,
        "charts/mid/Chart.yaml": b"name: mid\nversion: 1.0.0\n",
        "charts/mid/requirements.yaml": "dependencies: [{name: db, alias: one}]",
        "charts/_no/Chart.yaml": b"name: no\nversion: 1.0.0\n",
        "charts/_no/values.yaml": "image: not:1",
        "values.yaml": "mid: {one: {image: {tag: '16'}, metrics: null}}",
    }
    assert told(files) == {"docker.io/library/postgres:16": "values.yaml: mid.one.image"}


def test_a_chart_with_its_files_at_the_root_has_subcharts_too() -> None:
    files = {"Chart.yaml": CHART, "values.yaml": b"image: a/b:1",
             "charts/db/Chart.yaml": DB["db/Chart.yaml"],
             "charts/db/values.yaml": DB["db/values.yaml"]}  # fmt: skip
    info = inspect(io.BytesIO(tar_gz(files)))
    assert [i.ref for i in images_in(info.clues)] == [
        "docker.io/a/b:1", "docker.io/library/postgres:9", "docker.io/library/x:v1",
    ]  # fmt: skip


# -- templates and annotations ---------------------------------------------------------------------

SCOPE = {
    "Values": {"r": "q.io/a", "image": {"name": "web", "tag": ""}, "n": {}},
    "Chart": {"AppVersion": "2.5", "Name": "app"},
}


@pytest.mark.parametrize(
    ("line", "image"),
    [
        ("busybox:1.36  # a comment", "docker.io/library/busybox:1.36"),
        ('"{{ .Values.r }}/{{ .Values.image.name }}:v1"', "q.io/a/web:v1"),
        ('{{ printf "%s/%s:%s" .Values.r .Values.image.name "3" | quote }}', "q.io/a/web:3"),
        ('"{{ .Values.r }}/b:{{ .Values.image.tag | default .Chart.AppVersion }}"', "q.io/a/b:2.5"),
        ('"{{ .Values.r }}/b:v{{ default .Chart.AppVersion .Values.image.tag }}"', "q.io/a/b:v2.5"),
        ('"{{- $.Values.r -}}/b:{{ coalesce .Values.image.tag "9" }}"', "q.io/a/b:9"),
        ('{{ trimSuffix "/a" .Values.r }}/c:{{ print "x" .Chart.Name }}', "q.io/c:xapp"),
        ('"{{ .Values.r }}/b:{{ (default "4" .Values.no) }}"', "q.io/a/b:4"),
        ('{{ include "app.image" . }}', None),
        ("{{ .Values.n }}", None),
        ('{{ printf "%1000000000d" 1 }}', None),
        ('{{ printf "%s" }}', None),
        ("{{ .Values.missing }}:", None),
        ("string", None),
        ("{{" * 400, None),
        ('{{ "' * 200, None),
    ],
)
def test_a_line_of_a_template_means_what_simple_functions_make_of_it(
    line: str, image: str | None
) -> None:
    found = image_of(line, SCOPE)
    assert (str(found) if found else None) == image


def test_lines_are_found_wherever_an_image_is_spelled() -> None:
    text = (
        "spec:\n  - image: a/b:1\r\n    initImage: 'a/c:1'\n  config: |\n    baseImage=a/d:1\n"
        "    pullImages: a/no:1\n  image:\n    repository: x\n" + f"image: a/{'x' * 1000}:1\n"
        "  image: a/e:1"
    )  # fmt: skip
    found = told({"templates/sub/x.yaml": text})
    assert found == {f"docker.io/a/{n}:1": "templates/sub/x.yaml" for n in "bcde"}


def test_a_line_may_come_in_pieces() -> None:
    text = b"x: 1\n  image: a/b:1\n  image: a/c:1"
    for size in range(1, len(text)):
        keeper = ClueKeeper(Limits())
        keeper.member(Member("app/templates/a.yaml", "file", len(text), b""))
        for at in range(0, len(text), size):
            keeper.content(text[at : at + size])
        assert [line[2] for line in keeper.close().lines] == [b"a/b:1", b"a/c:1"]


def test_a_guess_gives_way_to_a_tag_that_a_template_spells() -> None:
    files = {
        "values.yaml": "image: {repository: a/b}",
        "templates/a.yaml": 'image: "{{ .Values.image.repository }}:v{{ .Chart.AppVersion }}"',
    }
    assert told(files) == {"docker.io/a/b:v2.5": "templates/a.yaml"}


def test_the_annotation_of_artifact_hub_counts() -> None:
    text = CHART + b"annotations:\n  artifacthub.io/images: |\n    - {name: x, image: a/b:1}\n"
    text += b"    - image: [1]\n    - 7\n"
    info = inspect(io.BytesIO(tar_gz({"app/Chart.yaml": text})))
    expected = [Image("docker.io/a/b:1", "Chart.yaml: artifacthub.io/images")]
    assert images_in(info.clues) == expected


# -- what is hostile -------------------------------------------------------------------------------


def bomb() -> str:
    lines = ["a0: &a0 [x, {image: 'a/b:1'}]\n"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)]
    return "".join(lines)


@pytest.mark.parametrize(
    "values",
    [
        bomb(),
        "image: &a\n  b: *a\n  <<: *a\n",
        "image: " + "[" * 900 + "]" * 900,
        "image: " + "x" * 900_000,
        "image: [" + "a," * 400_000 + "]",
        "a: &a {<<: *a, b: *a}\nimages: *a\n",
        "? {image: {image: a}}\n: image\n",
        "\x00image: a",
        "image: !!python/object/apply:os.system [true]\n",
        "- image: a/b:1\n",
    ],
)
def test_hostile_values_are_weighed_and_name_nothing(values: str) -> None:
    found = images({"values.yaml": values, "charts/c/Chart.yaml": "name: c\nversion: 1.0.0",
                    "charts/c/values.yaml": values})  # fmt: skip
    assert found == []


def test_what_shares_values_is_weighed_with_all_its_copies() -> None:
    shared = [1] * 9
    for _ in range(30):
        shared = [shared, shared]  # type: ignore[list-item]
    assert weight(shared) > 1 << 32
    assert values_in(bomb().encode()) == {}


def test_no_chart_names_more_images_than_facts_may_have() -> None:
    values = "".join(f"i{n}: {{image: 'example.com/team/name-{n:05}:1'}}\n" for n in range(4_000))
    found = images({"values.yaml": values, "templates/a.yaml": "image: z/a:1\n" * 20_000})
    assert len(found) == MAX_IMAGES
    long = "".join(f"image: example.com/{'x' * 400}/{n}:1\n" for n in range(900))
    assert len(msgspec.json.encode(images({"templates/a.yaml": long}))) < 40_000


def test_many_subcharts_with_many_aliases_come_to_an_end() -> None:
    files: dict[str, bytes | str] = {}
    at = ""
    for _ in range(12):
        aliases = ", ".join(f"{{name: c, alias: a{n}}}" for n in range(20))
        files[f"{at}requirements.yaml"] = f"dependencies: [{aliases}]"
        at += "charts/c/"
        files[f"{at}Chart.yaml"] = "name: c\nversion: 1.0.0"
        files[f"{at}values.yaml"] = "image: a/b:1"
    assert len(images(files)) == 1


@pytest.mark.parametrize(
    "inside",
    [
        b"no gzip",
        gzip.compress(b"no tar" * 1000, mtime=0),
        gzip.compress(bytes(100 << 20), mtime=0),
        tar_gz({"../values.yaml": b"image: a/b:1"}),
        tar_gz({"values.yaml": b"image: a/b:1"}),
        tar_gz(DB)[:-20],
    ],
    ids=["no-gzip", "no-tar", "bomb", "climbs", "no-folder", "cut"],
)
def test_an_archive_inside_that_is_not_good_is_passed_over(inside: bytes) -> None:
    found = told({"values.yaml": "image: a/b:1", "charts/x.tgz": inside})
    assert found["docker.io/a/b:1"] == "values.yaml: image"


def test_archives_are_opened_only_so_deep() -> None:
    data = tar_gz(DB)
    for n in range(6):
        data = tar_gz({f"n{n}/Chart.yaml": f"name: n{n}\nversion: 1.0.0".encode(),
                       f"n{n}/values.yaml": f"image: deep/n{n}:1".encode(),
                       f"n{n}/charts/c.tgz": data})  # fmt: skip
    found = images({"charts/c.tgz": data})
    assert [i.ref for i in found] == [f"docker.io/deep/n{n}:1" for n in (3, 4, 5)]


def test_a_template_of_one_long_line_is_no_work() -> None:
    for text in ("image: " + " " * 2_000_000 + "x", "image" * 400_000, "-" * 2_000_000 + "\n",
                 " " * 2_000_000 + "image: a/b:1"):  # fmt: skip
        assert images({"templates/a.yaml": text}) == []


_WORDS = st.sampled_from(
    ["image", "repository", "tag", "digest", "registry", "a/b", "r.io/a:1", "v1", "", "name", PIN]
)
_TREES = st.recursive(
    st.one_of(_WORDS, st.text(max_size=20), st.none(), st.booleans(), st.integers(), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(_WORDS | st.text(max_size=5), inner, max_size=5),
    ),
    max_leaves=30,
)


@given(_TREES, _TREES, st.text(max_size=200))
def test_any_yaml_gives_references_that_are_whole_and_few(
    values: object, over: object, line: str
) -> None:
    files = {
        "a/Chart.yaml": CHART,
        "a/values.yaml": yaml.safe_dump({"c": over, "image": values}).encode(),
        "a/charts/c/Chart.yaml": b"name: c",
        "a/charts/c/values.yaml": yaml.safe_dump(values).encode(),
    }
    clues = Clues(files, [("a/", "templates/a", line.encode("utf-8", "replace"))])
    found = images_in(clues)
    assert found == images_in(clues) and len(found) <= MAX_IMAGES
    for image in found:
        assert str(imagename.parse(str(image))) == str(image)
        assert len(image.why) <= 160


@given(st.binary(max_size=300))
def test_any_bytes_give_values_that_can_be_walked(data: bytes) -> None:
    assert weight(values_in(data)) <= MAX_VALUES
