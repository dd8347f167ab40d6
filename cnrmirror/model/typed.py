"""Values of a type out of JSON, or out of what YAML gave; safe between threads.

msgspec works a type out when it is decoded first, and shows it to other threads before it is whole:
two that begin at once end the process with a fault in memory. So a type is worked out here, by one
thread alone, before anybody decodes it; a test holds that nothing else decodes.
"""

from __future__ import annotations

import mmap
import threading
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")
Text = bytes | bytearray | memoryview | mmap.mmap | str
_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}
_LOCK = threading.Lock()


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    found = _DECODERS.get(kind)
    if found is None:
        with _LOCK:
            found = _DECODERS.get(kind)
            if found is None:
                found = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return found


@overload
def decode(data: Text, kind: type[T]) -> T: ...
@overload
def decode(data: Text, kind: Any) -> Any: ...
def decode(data: Text, kind: Any) -> Any:
    """The value of a type that a JSON text says.

    Raises:
        msgspec.ValidationError: it is of another type.
        msgspec.DecodeError: it is no JSON.
    """
    return _decoder(kind).decode(data)


@overload
def convert(value: Any, kind: type[T]) -> T: ...
@overload
def convert(value: Any, kind: Any) -> Any: ...
def convert(value: Any, kind: Any) -> Any:
    """The same of what lists, mappings, texts and numbers say. Raises msgspec.ValidationError."""
    _decoder(kind)
    return msgspec.convert(value, kind)
