"""The container images that a chart names: in the values of its archive, and in its annotations.

What a template makes of the values is not known here: these are the images that stand there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from cnrmirror.archive.inspect import ArchiveReader
from cnrmirror.archive.scan import Limits, Member
from cnrmirror.archive.yamltext import mapping_in, node_in
from cnrmirror.model.errors import InputError

_VALUES = re.compile(r"(?:[^/]+/)?values\.ya?ml")
_MAX_VALUES = 1 << 20
_MAX_NODES = 20_000
_MAX_IMAGES = 200
# A name, perhaps with a registry and folders, perhaps with a tag and a digest.
_IMAGE = re.compile(r"[a-z0-9][\w.-]*(?::[0-9]+)?(?:/[\w.-]+)*(?::[\w.-]{1,128})?(?:@sha256:\w+)?")


def images_of(chart: Mapping[str, Any], archive: Iterable[bytes], limits: Limits) -> list[str]:
    """The images of one chart, sorted, each once; at most 200.

    Args:
        chart: the facts of its Chart.yaml.
        archive: the bytes of its archive, which are read to the end.

    Raises:
        HostileArchive, TooLarge: as ``ArchiveReader`` does.
    """
    values = _Values()
    reader = ArchiveReader(limits, values)
    for piece in archive:
        reader.feed(piece)
    reader.close()
    annotated = chart.get("annotations", {}).get("artifacthub.io/images", "")
    found = {*_annotated(annotated), *_in_values(bytes(values.data))}
    return sorted(found)[:_MAX_IMAGES]


class _Values:
    """Keeps the values.yaml of the chart itself, not those of its subcharts."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._keeps = False

    def member(self, member: Member) -> None:
        self._keeps = _VALUES.fullmatch(member.name) is not None and member.size <= _MAX_VALUES

    def content(self, data: bytes) -> None:
        if self._keeps:
            self.data += data


def _annotated(text: str) -> Iterator[str]:
    """``artifacthub.io/images``: a list of mappings with ``image``."""
    try:
        node = node_in(text.encode(), "artifacthub.io/images")
    except InputError:
        return
    for item in node.value if isinstance(node, yaml.SequenceNode) else ():
        image = _scalars(item).get("image", "")
        if _IMAGE.fullmatch(image):
            yield image


def _in_values(data: bytes) -> Iterator[str]:
    """Where ``repository`` (or ``image``) stands, with the registry, tag and digest beside it."""
    try:
        waiting: list[yaml.Node] = [mapping_in(data, "values.yaml")]
    except InputError:
        return
    for _ in range(_MAX_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            image = _image(_scalars(node))
            if _IMAGE.fullmatch(image):
                yield image
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _image(beside: dict[str, str]) -> str:
    name = beside.get("repository") or beside.get("image", "")
    if name and (registry := beside.get("registry")):
        name = f"{registry}/{name}"
    if not name or "://" in name:
        return ""
    if (tag := beside.get("tag")) and ":" not in name.rpartition("/")[2]:
        name = f"{name}:{tag}"
    digest = beside.get("digest", "")
    return f"{name}@{digest}" if digest and "@" not in name else name


def _scalars(node: yaml.Node) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {
        key.value: value.value
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode)
    }
