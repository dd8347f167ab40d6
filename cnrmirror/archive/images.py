"""The container images that a chart names, found in its archive without running anything.

They stand in its values (with those of its subcharts, and what the chart says of these), in the
``image:`` lines of its templates, and in the annotation ``artifacthub.io/images``. Helm's own
render shows fewer: what is switched off by default is not in it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cnrmirror.archive import imagelines, imagename
from cnrmirror.archive.clues import Clues
from cnrmirror.archive.imagename import ImageName
from cnrmirror.archive.imagevalues import Defaults, named_in
from cnrmirror.archive.yamlvalues import MAX_VALUES, list_in, most_values, values_in, weight
from cnrmirror.model.documents import Image

MAX_IMAGES = 200
_MAX_CHARACTERS = 24 << 10
_MAX_WHY = 160
_MAX_CHARTS = 100
_DEEP = 8
_ANNOTATION = "artifacthub.io/images"
# Of two reasons for one image, the one that a reader can do most with.
_VALUES, _TEMPLATE, _LISTED = range(3)
_WORDS = b"image", b"repo", b"img", b"container"
_ADDRESS = re.compile(rb"\.[a-z0-9-]+(?::[0-9]+)?/[a-z0-9]")


def _speaks(text: bytes) -> bool:
    """Whether something in a text can be, or be part of, an image."""
    low = text.lower()
    return any(word in low for word in _WORDS) or _ADDRESS.search(low) is not None


class _Found(NamedTuple):
    """One place that names an image; the least is the best."""

    is_guess: bool
    kind: int
    why: str
    name: ImageName


def images_in(clues: Clues) -> list[Image]:
    """The images of one chart, sorted, each once with the best reason; at most 200.

    A tag that is guessed (the chart's appVersion, ``latest``) gives way to one that is spelled
    elsewhere for the same repository.
    """
    best: dict[ImageName, _Found] = {}
    for found in _Search(clues).all():
        known = best.setdefault(found.name, found)
        if found < known:
            best[found.name] = found
    spelled = {f.name.repository for f in best.values() if f.kind != _VALUES and not f.is_guess}
    images: list[Image] = []
    characters = 0
    for name in sorted(best):
        found = best[name]
        if found.is_guess and name.repository in spelled:
            continue
        image = Image(name.ref, found.why[:_MAX_WHY], not found.is_guess, name.digest)
        characters += len(image.ref) + len(image.why) + len(image.digest)
        if len(images) == MAX_IMAGES or characters > _MAX_CHARACTERS:
            break
        images.append(image)
    return images


class _Search:
    """A walk over a chart and its subcharts."""

    def __init__(self, clues: Clues) -> None:
        self._files = clues.files
        self._lines: dict[str, list[tuple[str, bytes]]] = defaultdict(list)
        self._top = "" if "Chart.yaml" in clues.files else _top(clues.files)
        for chart, template, line in dict.fromkeys(clues.lines):
            self._lines[chart].append((template, line))
        self._charts = _MAX_CHARTS
        self._to_read = self._to_walk = 2 * MAX_VALUES

    def all(self) -> Iterator[_Found]:
        yield from self._chart(self._top, {}, "", 0)

    def _chart(self, at: str, over: dict[str, Any], key: str, deep: int) -> Iterator[_Found]:
        """Those of the chart in the folder ``at``, whose values are at ``key`` of the topmost."""
        self._charts -= 1
        if self._charts < 0 or deep > _DEEP:
            return
        chart = self._read(f"{at}Chart.yaml")
        subcharts = self._subcharts(at, chart)
        values = merged(self._values(at, bool(subcharts)), over)
        self._to_walk -= weight(values)
        if self._to_walk < 0:
            return
        shared = values.get("global")
        registry = shared.get("imageRegistry") if isinstance(shared, dict) else ""
        defaults = Defaults(_text(chart.get("appVersion")), _text(registry))
        own = {name: value for name, value in values.items() if name not in subcharts}
        for name, where, sure in named_in(own, defaults, key):
            yield _Found(not sure, _VALUES, f"values.yaml: {where}", name)
        yield from self._templates(at, chart, values)
        yield from _listed(chart, at[len(self._top) :])
        for alias, below in subcharts.items():
            more = _passed_on(values, alias)
            yield from self._chart(below, more, f"{key}.{alias}" if key else alias, deep + 1)

    def _values(self, at: str, has_subcharts: bool) -> dict[str, Any]:
        """A chart's own values; not read where nothing in them can be, or be part of, an image."""
        path = f"{at}values.yaml"
        is_asked = has_subcharts or at in self._lines or _speaks(self._files.get(path, b""))
        return self._read(path) if is_asked else {}

    def _read(self, path: str) -> dict[str, Any]:
        """What a file says; nothing, once enough was read of one archive."""
        data = self._files.get(path, b"")
        self._to_read -= most_values(data)
        return values_in(data) if self._to_read >= 0 else {}

    def _templates(
        self, at: str, chart: Mapping[str, Any], values: dict[str, Any]
    ) -> Iterator[_Found]:
        fields = {name[:1].upper() + name[1:]: value for name, value in chart.items()}
        scope = {"Values": values, "Chart": fields}
        for template, line in self._lines.get(at, ()):
            name = imagelines.image_of(line.decode(errors="replace"), scope)
            if name:
                where = f"{at[len(self._top) :]}{template}"
                yield _Found(False, _TEMPLATE, where, name)

    def _subcharts(self, at: str, chart: Mapping[str, Any]) -> dict[str, str]:
        """The folders of the charts in ``charts/``, by the names that their values have here."""
        called = self._aliases(at, chart)
        found = {}
        start = f"{at}charts/"
        folders = {
            f"{start}{path[len(start) :].partition('/')[0]}/"
            for path in self._files
            if path.startswith(start)
        }
        for folder in sorted(folders):
            if f"{folder}Chart.yaml" in self._files:
                name = self._read(f"{folder}Chart.yaml").get("name")
                for alias in called.get(str(name), [str(name)]):
                    found[alias] = folder
        return found

    def _aliases(self, at: str, chart: Mapping[str, Any]) -> dict[str, list[str]]:
        requirements = self._read(f"{at}requirements.yaml")
        called = defaultdict(list)
        for declared in (chart.get("dependencies"), requirements.get("dependencies")):
            for entry in declared if isinstance(declared, list) else ():
                if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                    alias = entry.get("alias")
                    called[entry["name"]].append(alias if isinstance(alias, str) else entry["name"])
        return called


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _top(files: Mapping[str, bytes]) -> str:
    """The one folder at the top that holds the chart, with a slash."""
    tops = sorted(path for path in files if path.endswith("/Chart.yaml") and path.count("/") == 1)
    return tops[0].removesuffix("Chart.yaml") if tops else ""


def merged(below: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A chart's values and what its parent says of them, as Helm joins them: null takes away."""
    found = dict(below)
    for key, value in over.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict) and isinstance(found.get(key), dict):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def _passed_on(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a chart's values say to a subchart: what stands under its name, and ``global``."""
    below, shared = values.get(name), values.get("global")
    more = dict(below) if isinstance(below, dict) else {}
    if isinstance(shared, dict):
        own = more.get("global")
        more["global"] = merged(own if isinstance(own, dict) else {}, shared)
    return more


def _listed(chart: Mapping[str, Any], at: str) -> Iterator[_Found]:
    """``artifacthub.io/images``, or ``images`` as others write it: mappings with ``image``."""
    annotations = chart.get("annotations")
    if not isinstance(annotations, dict):
        return
    for key in (_ANNOTATION, "images"):
        text = annotations.get(key)
        for entry in list_in(text.encode()) if isinstance(text, str) else ():
            image = entry.get("image") if isinstance(entry, dict) else None
            name = imagename.parse(image) if isinstance(image, str) else None
            if name:
                yield _Found(False, _LISTED, f"{at}Chart.yaml: {key}", name)
