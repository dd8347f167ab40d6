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
from cnrmirror.archive.yamltext import TRUE, mapping_in, repeated_keys
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
_OF_DEPENDENCY = {"name", "version", "repository", "alias", "condition", "enabled"}
_OF_IMPORT = {"child", "parent"}
_TRUTHS = {"deprecated", "enabled"}
_BOOL, _NULL = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"
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
        look = _Look()
        chart = look.chart(mapping_in(files["Chart.yaml"], ""))
        if REQUIREMENTS in files:
            more = _Look().chart(mapping_in(files[REQUIREMENTS], "")).get("dependencies", [])
            if more:
                chart["dependencies"] = _both(chart.get("dependencies", []), more)
    except InputError:
        return None  # who must know its name and version has said so already
    chart = dict(sorted(chart.items()))
    return ArchiveFacts(EXTRACTOR, chart, images_in(clues), unreadable=look.unreadable)


def _both(chart: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The dependencies of requirements.yaml, which Helm reads over those of Chart.yaml."""
    below = [*chart, *({} for _ in more)]
    return [dict(sorted({**old, **new}.items())) for old, new in zip(below, more, strict=False)]


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
    """A walk over one document's nodes, bounded whatever aliases it has.

    ``unreadable`` is the first known field whose value is of another kind than Helm reads there (a
    list for a text): Helm then reads no field of the chart.
    """

    def __init__(self) -> None:
        self._nodes = _MAX_NODES
        self._characters = _MAX_CHARACTERS
        self.unreadable = ""

    def chart(self, node: yaml.MappingNode) -> dict[str, Any]:
        """The known fields of a Chart.yaml or requirements.yaml."""
        found: dict[str, Any] = {}
        for key, value in self._pairs(node):
            entry: Any = None
            if key in _SCALARS:
                entry = self._scalar(key, value)
            elif key in _TEXTS:
                entry = self._texts(key, value)
            elif key == "annotations":
                self._expect(key, value, yaml.MappingNode)
                entry = {k: t for k, v in self._pairs(value) if (t := self._scalar(key, v))}
            elif key == "maintainers":
                entry = [self._some(key, item, _OF_MAINTAINER) for item in self._list(key, value)]
            elif key == "dependencies":
                entry = [self._some(key, item, _OF_DEPENDENCY) for item in self._list(key, value)]
            found.pop(key, None)  # of a key that stands twice, the last value counts for Helm
            if entry:
                found[key] = entry
        return found

    def _some(self, of: str, node: yaml.Node, known: set[str]) -> dict[str, Any]:
        """The known fields of one maintainer or dependency."""
        found: dict[str, Any] = {}
        self._expect(of, node, yaml.MappingNode)
        for key, value in self._pairs(node):
            where = f"{of}.{key}"
            entry: Any = None
            if key == "import-values":
                entry = [self._import(item) for item in self._list(where, value)]
            elif key == "tags":
                entry = self._texts(where, value)
            elif key in known:
                entry = self._scalar(where, value)
            if entry:
                found.setdefault(key, entry)
        return dict(sorted(found.items()))

    def _import(self, node: yaml.Node) -> str | dict[str, str]:
        if not isinstance(node, yaml.MappingNode):
            return self._text(node)
        return {k: t for k, v in self._pairs(node) if k in _OF_IMPORT and (t := self._text(v))}

    def _scalar(self, where: str, node: yaml.Node) -> str | bool:
        """A text, or whether it is true, where a truth is wanted."""
        self._expect(where, node, yaml.ScalarNode)
        if where.rpartition(".")[2] not in _TRUTHS:
            return self._text(node)
        if node.tag not in (_BOOL, _NULL):
            self._refuse(where)
        return node.tag == _BOOL and node.value.lower() in TRUE

    def _texts(self, where: str, node: yaml.Node) -> list[str]:
        found = [self._scalar(where, item) for item in self._list(where, node)]
        return [text for text in found if isinstance(text, str) and text]

    def _list(self, where: str, node: yaml.Node) -> Iterator[yaml.Node]:
        self._expect(where, node, yaml.SequenceNode)
        return self._items(node)

    def _expect(self, where: str, node: yaml.Node, kind: type[yaml.Node]) -> None:
        if not isinstance(node, kind) and node.tag != _NULL:
            self._refuse(where)

    def _refuse(self, where: str) -> None:
        self.unreadable = self.unreadable or where

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
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL:
            return ""
        text: str = node.value
        self._characters -= len(text)
        fits = len(text) <= _MAX_TEXT and self._characters >= 0
        return text if fits and (text.isascii() or is_utf8(text)) else ""
