"""The one way in which a document becomes bytes, and strict JSON from strangers.

Canonical JSON: UTF-8, keys sorted by code point, no white space, no duplicate keys, strings with
the shortest escapes, no line feed at the end; a document's own numbers are integers. Whether bytes
are canonical needs no schema: what a reader does not know is not taken for what is malformed.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec

from cnrmirror.model import typed
from cnrmirror.model.errors import InvalidDocument, TooLarge
from cnrmirror.model.format import FIRST, Format, require_readable

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

    Fields that are not known are passed over: a newer program may write them.

    Raises:
        TooLarge: more than MAX_NODE_BYTES.
        NewerFormat: it says that a newer program is needed to read it.
        InvalidDocument: malformed, another kind, not canonical.
    """
    if len(data) > MAX_NODE_BYTES:
        raise TooLarge(f"{where}: {len(data)} bytes; a catalog document has at most 64 MiB")
    try:
        if "format" in getattr(kind, "__struct_fields__", ()):
            # Before anything else is expected of it: all the rest may be another in a newer format.
            require_readable(typed.decode(data, _Versioned).format, where)
        document: D = typed.decode(data, kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidDocument(f"{where}: not a catalog document: {error}") from error
    # What this program would write itself is canonical; only the rest has to be looked at.
    if encode(document) != data and not is_canonical(data):
        raise InvalidDocument(f"{where}: not canonical JSON")
    return document


class _Versioned(msgspec.Struct):
    format: Format = FIRST


def is_canonical(data: bytes) -> bool:
    """Whether bytes are the one form of the JSON value in them."""
    try:
        value = json.loads(
            data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant,
            parse_float=_Number, parse_int=_Number,
        )  # fmt: skip
        _check_depth(value)
        return _canonical(value) == data
    except (ValueError, RecursionError):
        return False


class _Number(str):
    """A number as it is written."""


def _canonical(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"{%s}" % b",".join(
            _encoder.encode(key) + b":" + _canonical(value[key]) for key in sorted(value)
        )
    if isinstance(value, list):
        return b"[%s]" % b",".join(map(_canonical, value))
    return value.encode() if isinstance(value, _Number) else _encoder.encode(value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key is there twice")
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
        if not value.isascii():  # then it has no lone surrogate, and may be long
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
