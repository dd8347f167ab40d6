"""Writes what is made of the OpenAPI document and of types (``make api``): tests compare both."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.model.documents import (
    Branch,
    CatalogRoot,
    Channel,
    Content,
    Facts,
    Leaf,
    PackageDocument,
    RetentionFloor,
)
from cnrmirror.model.signed import FileInfo
from cnrmirror.views.openapi import SOURCE

TYPES = (
    Branch, CatalogRoot, Channel, Content, Facts, FileInfo, Leaf, PackageDocument, RetentionFloor,
)  # fmt: skip


def types() -> bytes:
    """The schemas of the types that a mirror answers with: ``types.json``."""
    _, found = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    for schema in found.values():
        _plain(schema)
    text = msgspec.json.encode(found, order="sorted")
    return msgspec.json.format(text, indent=1) + b"\n"


def _plain(schema: dict[str, Any]) -> None:
    """Without what says the same twice: the name, and what is left out where it is empty."""
    schema.pop("title", None)
    if "description" in schema:
        # Docstrings lost their indentation in Python 3.13.
        schema["description"] = inspect.cleandoc(schema["description"]).replace("``", "`")
    if not schema.get("required"):
        schema.pop("required", None)
    for field in schema.get("properties", {}).values():
        field.pop("default", None)
        _unbound(field)


def _unbound(schema: dict[str, Any]) -> None:
    """Without the bounds of what a program reads: docs/format.md names them."""
    for word in ("exclusiveMaximum", "maxItems", "maxLength", "propertyNames"):
        schema.pop(word, None)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            _unbound(inner)


if __name__ == "__main__":
    (SOURCE / "types.json").write_bytes(types())
