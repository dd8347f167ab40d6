"""The one way in which a document becomes bytes, and strict JSON from strangers.

Canonical JSON: UTF-8, keys sorted, no white space, no duplicate keys, no floats, no line feed at
the end. A document has exactly one digest.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec

from cnrmirror.model.errors import InvalidDocument, TooLarge

MAX_NODE_BYTES = 64 << 20
MAX_METADATA_BYTES = 1 << 20
MAX_JSON_DEPTH = 64


D = TypeVar("D", bound=msgspec.Struct)

_encoder = msgspec.json.Encoder(order="sorted")


def encode(document: msgspec.Struct) -> bytes:
    """The canonical bytes of a document."""
    return _encoder.encode(document)


def decode(data: bytes, kind: type[D] | Any, where: str) -> D:
    """The document in ``data``, which must be canonical and of this kind.

    Raises:
        TooLarge: more than MAX_NODE_BYTES.
        InvalidDocument: malformed, another kind, unknown fields, not canonical.
    """
    if len(data) > MAX_NODE_BYTES:
        raise TooLarge(f"{where}: {len(data)} bytes; a catalog document has at most 64 MiB")
    try:
        document: D = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidDocument(f"{where}: not a catalog document: {error}") from error
    if encode(document) != data:
        raise InvalidDocument(f"{where}: not canonical JSON, or fields that are not known")
    return document


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _check_depth(value: Any, room: int = MAX_JSON_DEPTH) -> None:
    if room == 0:
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH}")
    if isinstance(value, dict):
        for key, item in value.items():
            key.encode()
            _check_depth(item, room - 1)
    elif isinstance(value, list):
        for item in value:
            _check_depth(item, room - 1)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is too large")


def parse_json(data: bytes | str, where: str, max_bytes: int = MAX_METADATA_BYTES) -> Any:
    """Strict JSON from a stranger: bounded, no duplicate keys, no NaN, valid Unicode.

    Raises:
        TooLarge, InvalidDocument: ``where`` says what was being read.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"{where}: more than {max_bytes} bytes")
    try:
        value = json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        _check_depth(value)
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(f"{where}: not acceptable JSON: {error}") from error
    return value


def normalise_metadata(value: Any, where: str = "metadata") -> msgspec.Raw:
    """Any JSON value as sorted, compact text, kept as it is from here on.

    Raises:
        InvalidDocument: not JSON, too deep, or numbers that JSON cannot carry.
    """
    try:
        _check_depth(value)
        text = _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise InvalidDocument(f"{where}: cannot be carried as JSON: {error}") from error
    if len(text) > MAX_METADATA_BYTES:
        raise TooLarge(f"{where}: more than {MAX_METADATA_BYTES} bytes")
    return msgspec.Raw(text)
