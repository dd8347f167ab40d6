"""The images that are found in charts, and what helm renders of the same charts."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from cnrmirror.archive import imagename
from cnrmirror.archive.facts import facts_of
from cnrmirror.archive.inspect import inspect
from tests.conftest import tar_gz
from tests.interop.helm import helm, run

pytestmark = pytest.mark.interop

_RENDERED = re.compile(r"""^\s*(?:- )?image: ["']?([^\s"']+)""", re.M)
_TOP = "apiVersion: v2\nname: app\nversion: 1.0.0\nappVersion: '2.5'\n"
_POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  containers:\n  - name: c\n%s"


def _pod(name: str, *images: str) -> str:
    return _POD % (name, "".join(f"    image: {image}\n" for image in images))


_SUB = {
    "Chart.yaml": "apiVersion: v2\nname: db\nversion: 1.0.0\nappVersion: '16'\n",
    "values.yaml": "image: {registry: quay.io, repository: a/pg, tag: ''}\n"
    "metrics: {enabled: true, image: {repository: a/exp, tag: v1}}\n",
    "templates/a.yaml": _pod(
        "db",
        '"{{ .Values.image.registry }}/{{ .Values.image.repository }}:'
        '{{ .Values.image.tag | default .Chart.AppVersion }}"',
    )
    + "---\n"
    + "{{ if .Values.metrics.enabled }}\n"
    + _pod("exp", '{{ printf "%s:%s" .Values.metrics.image.repository .Values.metrics.image.tag }}')
    + "{{ end }}\n",
}
_TABLE: dict[str, tuple[dict[str, str], set[str]]] = {
    # Each chart, and what is switched off in it, which helm does not render.
    "literal": ({"templates/a.yaml": _pod("a", "busybox:1.36")}, set()),
    "parts": (
        {"values.yaml": "image: {repository: nginx, tag: 1.25.3}\n",
         "templates/a.yaml": _pod("a", '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"')},
        set(),
    ),
    "number": (
        {"values.yaml": "image: {repository: nginx, tag: 1.10}\n",
         "templates/a.yaml": _pod("a", '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"')},
        set(),
    ),
    "helper": (
        {"values.yaml": "image: {registry: r.io, repository: a/b, tag: v1}\n",
         "templates/_helpers.tpl": '{{ define "it" }}{{ printf "%s/%s:%s" .registry .repository '
         '.tag }}{{ end }}',
         "templates/a.yaml": _pod("a", '{{ include "it" .Values.image | quote }}')},
        set(),
    ),
    "app version": (
        {"values.yaml": "image: {repository: nginx, pullPolicy: Always}\n",
         "templates/a.yaml": _pod(
             "a", '"{{ .Values.image.repository }}:v{{ .Values.image.tag | default '
             '.Chart.AppVersion }}"')},
        set(),
    ),
    "switched off": (
        {"values.yaml": "exporter: {enabled: false, image: {repository: a/exp, tag: v1}}\n",
         "templates/a.yaml": "{{ if .Values.exporter.enabled }}\n" + _pod(
             "a", '"{{ .Values.exporter.image.repository }}:{{ .Values.exporter.image.tag }}"')
         + "{{ end }}\n" + _pod("b", "busybox:1")},
        {"docker.io/a/exp:v1"},
    ),
    "digest": (
        {"values.yaml": f"image: {{repository: nginx, digest: 'sha256:{'ab' * 32}'}}\n",
         "templates/a.yaml": _pod(
             "a", '"{{ .Values.image.repository }}@{{ .Values.image.digest }}"')},
        set(),
    ),
    "subchart": (
        {**{f"charts/db/{path}": text for path, text in _SUB.items()},
         "values.yaml": "db: {metrics: {image: {tag: v2}}}\n",
         "templates/a.yaml": _pod("a", "busybox:1")},
        set(),
    ),
    "global": (
        {"values.yaml": "global: {registry: r.io}\n",
         "charts/c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n",
         "charts/c/templates/a.yaml": _pod("a", '"{{ .Values.global.registry }}/h:3"')},
        set(),
    ),
    "null": (
        {"charts/c/Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n",
         "charts/c/values.yaml": "image: {repository: a/b, tag: v1}\n",
         "charts/c/templates/a.yaml": "{{ with .Values.image }}\n" + _pod(
             "a", '"{{ .repository }}:{{ .tag }}"') + "{{ end }}\n",
         "values.yaml": "c: {image: null}\n", "templates/a.yaml": _pod("b", "busybox:1")},
        set(),
    ),
}  # fmt: skip


def _archive(files: dict[str, str]) -> bytes:
    whole = {"Chart.yaml": _TOP, **files}
    return tar_gz({f"app/{path}": text.encode() for path, text in whole.items()})


def _found(data: bytes) -> set[str]:
    info = inspect(io.BytesIO(data))
    facts = facts_of(info.telling, info.clues)
    assert facts is not None
    return {str(image) for image in facts.images}


@pytest.mark.parametrize("program", ["helm3", "helm4"])
@pytest.mark.parametrize("name", _TABLE)
def test_found_is_what_helm_renders_and_what_is_switched_off(
    name: str, program: str, tmp_path: Path
) -> None:
    files, off = _TABLE[name]
    data = _archive(files)
    path = tmp_path / "app-1.0.0.tgz"
    path.write_bytes(data)
    done = run(helm(program), tmp_path / "home", "template", "x", path)
    assert done.code == 0, done.err
    rendered = {str(imagename.parse(image)) for image in _RENDERED.findall(done.out)}
    assert rendered and _found(data) == rendered | off


def test_a_subchart_in_an_archive_is_as_one_in_a_folder(tmp_path: Path) -> None:
    inside = tar_gz({f"db/{path}": text.encode() for path, text in _SUB.items()})
    data = tar_gz({"app/Chart.yaml": _TOP.encode(), "app/charts/db-1.0.0.tgz": inside})
    path = tmp_path / "app-1.0.0.tgz"
    path.write_bytes(data)
    done = run(helm("helm4"), tmp_path / "home", "template", "x", path)
    rendered = {str(imagename.parse(image)) for image in _RENDERED.findall(done.out)}
    assert _found(data) == rendered == {"quay.io/a/pg:16", "docker.io/a/exp:v1"}
