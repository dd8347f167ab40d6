"""The schema of mirror.yaml, with what each key means; and what is wrong, said by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cnrmirror.mirror import settings
from cnrmirror.model.near import did_you_mean
from cnrmirror.model.schema import schema_text

SCHEMA_ID = "urn:cnrmirror:mirror.yaml:1"
_SHARED = "SourceRules"
MEANINGS = Path(__file__).with_name("configuration.yaml")
"""What each key means, and an example."""
# What msgspec says of a value that is not as its type wants it.
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_TYPES = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false",
    "object": "a mapping", "array": "a list", "null": "nothing",
}  # fmt: skip


def schema() -> dict[str, Any]:
    """The JSON Schema of mirror.yaml (draft 2020-12): each key with description and example."""
    found = msgspec.json.schema(settings.Config)
    parts: dict[str, Any] = found.pop("$defs")
    (source,), more = msgspec.json.schema_components(
        [settings.any_source()], ref_template="#/$defs/{name}"
    )
    parts["Config"]["properties"]["sources"]["additionalProperties"] = source
    parts |= more
    meanings = yaml.safe_load(MEANINGS.read_bytes())
    for name, part in parts.items():
        known = {**meanings[_SHARED], **meanings.get(name, {})}
        for key, value in part["properties"].items():
            if key in known:
                value["description"], example = known[key]
                value["examples"] = value["enum"] if key == "type" else [example]
    return {"$id": SCHEMA_ID, **found, "$defs": parts}


def schema_as_text() -> str:
    """The same as text."""
    found = schema()
    return schema_text("mirror.yaml of cnrmirror", found, found.pop("$defs"))


def explained(reason: str, key: str, value: Any) -> str:
    """What is wrong with mirror.yaml, for people.

    Args:
        reason: what msgspec says of it.
        key: where it is: ``sources.quay.type``.
        value: the whole of it.

    Example:
        ``'x' is none of: appr, cnr``
    """
    node = _node(key, value)
    if match := _UNKNOWN.match(reason):
        known = [*node.get("properties", {})]
        hint = did_you_mean(match[1], known) or f"; there are: {', '.join(known)}"
        return f"there is no key {match[1]!r}{hint}"
    if match := _MISSING.match(reason):
        text = node.get("properties", {}).get(match[1], {}).get("description", "").rstrip(".")
        return f"the key {match[1]!r} is missing{': ' * bool(text)}{text}"
    if allowed := [word for word in _allowed(node) if word]:
        said = re.search(r"value '(.*)'", reason)
        return f"{repr(said[1]) if said else 'it'} is none of: {', '.join(allowed)}"
    if match := _TYPE.match(reason):
        wanted = " or ".join(_TYPES.get(t, t) for t in match[1].split(" | "))
        got = _TYPES.get(match[2], match[2])
        if "matching regex" not in reason:
            limits = _limits(node)
            return f"must be {wanted}{limits}, not {got}" if got != wanted else f"must be{limits}"
    if "regex" in reason:
        example = f"; for example {node['examples'][0]!r}" if "examples" in node else ""
        return f"it has not the form that it must have{example}"
    if reason.startswith("Expected") and (limits := _limits(node)):
        return f"must be{limits}"
    return reason


def _limits(node: dict[str, Any]) -> str:
    words = {
        "minimum": "at least", "maximum": "at most",
        "exclusiveMinimum": "more than", "exclusiveMaximum": "less than",
    }  # fmt: skip
    return " and".join(f" {word} {node[name]}" for name, word in words.items() if name in node)


def _allowed(node: dict[str, Any]) -> list[str]:
    """The words that a value may be; of a source's type, its kinds."""
    if "mapping" in node.get("discriminator", {}):
        return sorted(node["discriminator"]["mapping"])
    if "items" in node:
        node = node["items"]
    return [str(value) for value in node.get("enum", ())]


def _node(key: str, value: Any) -> dict[str, Any]:
    """The part of the schema that a key leads to; the last one that it knows."""
    whole = schema()
    node: dict[str, Any] = {"$ref": whole["$ref"]}
    for part in re.findall(r"[^.\[\]]+", key):
        node = _resolved(node, whole, value)
        if part == "type" and "discriminator" in node:
            return node
        below = node.get("properties", {}).get(part) or node.get("additionalProperties")
        below = node.get("items") if part.isdecimal() and below is None else below
        if not isinstance(below, dict):
            break
        node, value = below, value.get(part) if isinstance(value, dict) else None
    return _resolved(node, whole, value)


def _resolved(node: dict[str, Any], whole: dict[str, Any], value: Any) -> dict[str, Any]:
    """A part of the schema itself, where it only refers to one; of a source, that of its type."""
    kinds = node.get("discriminator", {}).get("mapping", {})
    ref = node.get("$ref") or kinds.get(value.get("type") if isinstance(value, dict) else None)
    return {**whole["$defs"][ref.rpartition("/")[2]], **node} if ref else node


def keys() -> Iterator[tuple[str, str]]:
    """Every definition of the schema with each of its keys."""
    for name, part in schema()["$defs"].items():
        for key in part["properties"]:
            yield name, key
