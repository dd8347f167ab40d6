"""JSON Schemas (draft 2020-12) of what people and programs read and write, as text."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec


def schema_text(title: str, schema: dict[str, Any], parts: dict[str, Any]) -> str:
    """A schema with its parts, the same text for every version of Python.

    Args:
        title: what it describes.
        schema: the schema itself.
        parts: those that it refers to as ``#/$defs/NAME``.
    """
    for part in parts.values():
        # Docstrings lost their indentation in Python 3.13.
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **schema,
        "$defs": parts,
    }
    return msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
