"""Values in strangers' YAML, weighed before they are walked.

An alias stands for its node again: nine lines can mean a billion values. So a document is counted
with its aliases written out, and one that means too much means nothing here.
"""

from __future__ import annotations

import math
from typing import Any

import yaml

from cnrmirror.archive.yamltext import TRUE, compose, node_in
from cnrmirror.model.errors import InputError

MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
_DEEP = 48
_SMALL = 8 << 10
_MAX_TEXT = 1 << 16
# Each value of a document needs one of these, but for the first.
_SEPARATORS = b",:\n[{-?"
_TYPES = "tag:yaml.org,2002:"


def values_in(data: bytes) -> dict[str, Any]:
    """The mapping in a YAML document; empty if it is none, or too much.

    Numbers are text, as a template writes them: 1.10 is "1.1". Texts of more than 65536 characters,
    and what lies in more than 48 others, are None.

    Example:
        >>> values_in(b"image: {tag: 1.10, pull: true}")
        {'image': {'tag': '1.1', 'pull': True}}
    """
    found = _values(data)
    return found if isinstance(found, dict) else {}


def list_in(data: bytes) -> list[Any]:
    """The list in a YAML document; empty if it is none, or too much."""
    found = _values(data)
    return found if isinstance(found, list) else []


def most_values(data: bytes) -> int:
    """How many values a document has at the most, without its aliases written out."""
    return len(data) - len(data.translate(None, _SEPARATORS)) + 1


def _values(data: bytes) -> Any:
    size = len(data)
    if not data or size > MAX_BYTES or most_values(data) > MAX_VALUES:
        return None
    try:
        # A Chart.yaml was read a moment ago, and is remembered.
        node = node_in(data, "") if size <= _SMALL else compose(data, "")
    except InputError:
        return None
    found = _Plain().value(node, 0) if node else None
    return found if weight(found) <= MAX_VALUES else None


def weight(value: Any, known: dict[int, int] | None = None) -> int:
    """How many values it has once shared ones are written out; takes linear time."""
    known = {} if known is None else known
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = 1  # it cannot hold itself
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(weight(part, known) for part in parts)
    return known[id(value)]


class _Plain:
    """Makes values of nodes: of one that is shared, one that is shared."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def value(self, node: yaml.Node, deep: int) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if deep > _DEEP:
            return None
        at = id(node)
        if at not in self._made:
            self._made[at] = None  # what stands for itself inside itself
            if isinstance(node, yaml.MappingNode):
                self._made[at] = self._mapping(node, deep)
            else:
                self._made[at] = [self.value(item, deep + 1) for item in node.value]
        return self._made[at]

    def _mapping(self, node: yaml.MappingNode, deep: int) -> dict[str, Any]:
        below: dict[str, Any] = {}
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or len(key.value) > _MAX_TEXT:
                continue
            if key.tag == f"{_TYPES}merge":
                merged = self.value(value, deep + 1)
                for some in merged if isinstance(merged, list) else [merged]:
                    below = {**some, **below} if isinstance(some, dict) else below
            else:
                found[key.value] = self.value(value, deep + 1)
        return {**below, **found} if below else found


def _scalar(node: yaml.ScalarNode) -> str | bool | None:
    kind = node.tag.removeprefix(_TYPES)
    text: str = node.value
    if kind == "null" or len(text) > _MAX_TEXT:
        return None
    if kind == "bool":
        return text.lower() in TRUE
    return _float(text) if kind == "float" else text


def _float(text: str) -> str:
    """A number as templates write it (Go's %v)."""
    try:
        value = float(text)
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    return str(int(value)) if value.is_integer() and abs(value) < 1e6 else repr(value)
