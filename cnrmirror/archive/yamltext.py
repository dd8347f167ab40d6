"""YAML as a tree of nodes: what is written there, without making values of it.

That halves the time, keeps ``1.10`` from becoming 1.1, and nothing in a stranger's file is run. An
alias is the same node again, so whoever walks a tree must bound the walk.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection

import yaml

from cnrmirror.model.errors import InvalidDocument

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
TRUE = ("true", "yes", "on")
"""The words that say yes (YAML 1.1), in lower case."""


def mapping_in(data: bytes, where: str) -> yaml.MappingNode:
    """The mapping that a YAML document is. Raises InvalidDocument; ``where`` names the document."""
    node = node_in(data, where)
    if not isinstance(node, yaml.MappingNode):
        raise InvalidDocument(f"{where}: not a mapping")
    return node


def node_in(data: bytes, where: str) -> yaml.Node | None:
    """What a YAML document is; None for an empty one. Raises InvalidDocument."""
    try:
        return _composed(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{where}: not YAML: {error}") from error


def compose(data: bytes, where: str) -> yaml.Node | None:
    """As ``node_in``; for what is asked once, and may be large. Raises InvalidDocument."""
    try:
        return yaml.compose(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{where}: not YAML: {error}") from error


@functools.lru_cache(maxsize=4)
def _composed(data: bytes) -> yaml.Node | None:
    # Who a package is and what is known of it are asked one after the other.
    return yaml.compose(data, Loader=_Loader)


def fields_of(
    node: yaml.MappingNode, where: str, wanted: Collection[str] | None = None
) -> dict[str, yaml.Node]:
    """The values of a mapping's plain keys; a key that is a mapping itself may have no end.

    Args:
        wanted: the keys that must not stand twice; all, if None. Of another one that does, the last
            value counts, as it does for Helm.

    Raises:
        InvalidDocument: a wanted key is there twice.
    """
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in fields and (wanted is None or key.value in wanted):
                raise InvalidDocument(f"{where}: the key {key.value!r} is there twice")
            fields[key.value] = value
    return fields


def repeated_keys(node: yaml.MappingNode) -> list[str]:
    """The plain keys of a mapping that stand in it more than once, sorted."""
    counted = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    return sorted(key for key, times in counted.items() if times > 1)
