"""What one look into an archive tells: the known fields of its Chart.yaml, the images it names.

Everything is text as it is written there; what is too long or too much is left out, so that no
chart makes a list of charts unreadable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from cnrmirror.archive.clues import Clues
from cnrmirror.archive.identify import by_file_name
from cnrmirror.archive.images import images_in
from cnrmirror.archive.inspect import REQUIREMENTS, ArchiveInfo
from cnrmirror.archive.yamltext import mapping_in, repeated_keys
from cnrmirror.model.documents import ArchiveFacts
from cnrmirror.model.errors import InputError
from cnrmirror.model.flags import REPEATED_KEYS, ROOT_FILES
from cnrmirror.model.names import is_utf8

EXTRACTOR = 3
"""Raise it when the same archive would give other facts."""

_SCALARS = {
    "apiVersion", "name", "version", "appVersion", "description", "type", "home", "icon",
    "kubeVersion", "tillerVersion", "condition", "tags", "engine", "deprecated",
}  # fmt: skip
_TEXTS = {"keywords", "sources"}
_OF_MAINTAINER = {"name", "email", "url"}
_OF_DEPENDENCY = {"name", "version", "repository", "alias", "condition", "tags"}
_MAX_TEXT = 4096
_MAX_NODES = 4000
_MAX_CHARACTERS = 64 << 10


def facts_of(telling: dict[str, bytes], clues: Clues = Clues()) -> ArchiveFacts | None:
    """The facts of an archive, out of its ``ArchiveInfo``; None if there are none.

    Example:
        >>> facts_of({"x/Chart.yaml": b"name: x\\nversion: 1.0.0\\nappVersion: 1.10"}).chart
        {'appVersion': '1.10', 'name': 'x', 'version': '1.0.0'}
    """
    try:
        files = by_file_name(telling, Path())
        if "Chart.yaml" not in files:
            return None
        chart = _Look().chart(mapping_in(files["Chart.yaml"], ""))
        if REQUIREMENTS in files and "dependencies" not in chart:
            more = _Look().chart(mapping_in(files[REQUIREMENTS], ""))
            chart |= {key: more[key] for key in ("dependencies",) if key in more}
    except InputError:
        return None  # who must know its name and version has said so already
    return ArchiveFacts(EXTRACTOR, dict(sorted(chart.items())), images_in(clues))


def odd_keys(telling: dict[str, bytes]) -> list[str]:
    """The keys that stand more than once in the Chart.yaml of an archive, as far as it is one."""
    try:
        data = by_file_name(telling, Path()).get("Chart.yaml")
        return repeated_keys(mapping_in(data, "")) if data is not None else []
    except InputError:
        return []


def flags_of(info: ArchiveInfo, media_type: str) -> list[str]:
    """What is odd about an archive of a package of this kind, sorted: see ``model.flags``."""
    found = set(info.flags)
    if odd_keys(info.telling):
        found.add(REPEATED_KEYS)
    if media_type == "helm" and "Chart.yaml" in info.telling:
        found.add(ROOT_FILES)
    return sorted(found)


def missing_dependencies(facts: ArchiveFacts | None, subcharts: Collection[str]) -> list[str]:
    """The dependencies that a chart declares, and that do not lie in its ``charts/``.

    Args:
        subcharts: ``ArchiveInfo.subcharts``: folders by their name, archives as NAME-VERSION.tgz.
    """
    declared = facts.chart.get("dependencies", []) if facts else []
    names = [entry["name"] for entry in declared if "name" in entry]
    return [
        name
        for name in dict.fromkeys(names)
        if not any(there == name or there.startswith(f"{name}-") for there in subcharts)
    ]


class _Look:
    """A walk over one document's nodes, bounded whatever aliases it has."""

    def __init__(self) -> None:
        self._nodes = _MAX_NODES
        self._characters = _MAX_CHARACTERS

    def chart(self, node: yaml.MappingNode) -> dict[str, Any]:
        """The known fields of a Chart.yaml or requirements.yaml."""
        found: dict[str, Any] = {}
        for key, value in self._pairs(node):
            entry: Any = None
            if key == "deprecated":
                entry = self._text(value) == "true"
            elif key in _SCALARS:
                entry = self._text(value)
            elif key in _TEXTS:
                entry = [text for item in self._items(value) if (text := self._text(item))]
            elif key == "annotations":
                entry = {k: t for k, v in self._pairs(value) if (t := self._text(v))}
            elif key == "maintainers":
                entry = [self._some(item, _OF_MAINTAINER) for item in self._items(value)]
            elif key == "dependencies":
                entry = [self._some(item, _OF_DEPENDENCY) for item in self._items(value)]
            found.pop(key, None)  # of a key that stands twice, the last value counts for Helm
            if entry:
                found[key] = entry
        return found

    def _some(self, node: yaml.Node, known: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in self._pairs(node):
            if key in known:
                texts = [text for item in self._items(value) if (text := self._text(item))]
                entry = texts or self._text(value)
                if entry:
                    found.setdefault(key, entry)
        return dict(sorted(found.items()))

    def _pairs(self, node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            self._nodes -= 1
            if self._nodes < 0:
                return
            if name := self._text(key):
                yield name, value

    def _items(self, node: yaml.Node) -> Iterator[yaml.Node]:
        for item in node.value if isinstance(node, yaml.SequenceNode) else ():
            self._nodes -= 1
            if self._nodes < 0:
                return
            yield item

    def _text(self, node: yaml.Node) -> str:
        """A scalar as it is written; "" for null, for what is none, and for what is too long."""
        if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
            return ""
        text: str = node.value
        self._characters -= len(text)
        fits = len(text) <= _MAX_TEXT and self._characters >= 0
        return text if fits and (text.isascii() or is_utf8(text)) else ""
