"""The ``entries`` of a Helm index out of YAML's events: no tree is made of what nobody asks for.

Every scalar is a text: 1.10 stays 1.10, and an impossible date is no error. An alias of a text is
that text. Nothing else is ever repeated: a list or mapping that an alias stands for is ``Unread``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

WANTED = frozenset(("version", "urls", "digest", "created"))
"""What is read of a chart version."""
_DEEP = 64
_LONG = 4096  # characters of a text that aliases may repeat
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class Unread(msgspec.Struct, frozen=True):
    """What stands in the place of a value that cannot be had, and why."""

    reason: str


def entries_in(data: bytes, most: int) -> dict[str, Any]:
    """The value of ``entries``: by chart, a list of versions, each with what is ``WANTED`` of it.

    What has another shape is as it is: a text, a list, a mapping, or ``Unread``.

    Args:
        most: chart versions.

    Raises:
        yaml.YAMLError, ValueError: not one YAML document, or not a mapping with entries, or too
            deep, or too many; a chart, or a key beside ``entries``, is there twice.
    """
    return _Stream(data, most).entries()


class _Stream:
    def __init__(self, data: bytes, most: int) -> None:
        self._events: Iterator[Event] = yaml.parse(data, Loader=_Loader)
        self._texts: dict[str, str] = {}
        self._anchors: set[str] = set()
        self._most = self._left = most

    def entries(self) -> dict[str, Any]:
        for event in self._events:
            if type(event) is MappingStartEvent:
                break
            if isinstance(event, ScalarEvent | SequenceStartEvent | AliasEvent):
                raise ValueError("not a mapping")
        found: dict[str, Any] | None = None
        for key in self._keys():
            event = next(self._events)
            if key == "entries":
                found = self._charts(event)
            else:
                self._skip(event)
        if found is None:
            raise ValueError("it has no entries")
        for event in self._events:  # to the end: what is cut off is no index
            if type(event) is DocumentStartEvent:
                raise ValueError("more than one document")
        return found

    def _charts(self, event: Event) -> dict[str, Any]:
        if type(event) is not MappingStartEvent:
            if type(event) is ScalarEvent and event.value in ("", "null", "~", "Null", "NULL"):
                return {}
            raise ValueError("entries must be a mapping")
        found = {}
        for name in self._keys():
            event = next(self._events)
            if type(event) is SequenceStartEvent:
                found[name] = list(self._versions())
            else:
                found[name] = self._value(event)
        return found

    def _versions(self) -> Iterator[Any]:
        for event in self._events:
            if type(event) is SequenceEndEvent:
                return
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"more than {self._most} chart versions")
            if type(event) is MappingStartEvent:
                self._named(event.anchor)
                yield self._version()
            else:
                yield self._value(event)

    def _version(self) -> dict[str, Any]:
        """One version; a key of it that is there twice is ``Unread``, if it is wanted."""
        found: dict[str, Any] = {}
        for event in self._events:
            if type(event) is MappingEndEvent:
                return found
            key = self._noted(event) if type(event) is ScalarEvent else None
            if key is None:
                self._skip(event)
            event = next(self._events)
            if key not in WANTED:
                self._skip(event)
            elif key in found:
                self._skip(event)
                found[key] = Unread(f"the key {key!r} is there twice")
            else:
                found[key] = self._value(event)
        raise ValueError("it is cut off")

    def _keys(self) -> Iterator[str]:
        """The keys of the mapping that was just begun; the caller takes each value."""
        seen: set[str] = set()
        for event in self._events:
            if type(event) is MappingEndEvent:
                return
            if type(event) is not ScalarEvent:
                raise ValueError("a key that is not a text")
            key = self._noted(event)
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} is there twice")
            seen.add(key)
            yield key

    def _value(self, event: Event, room: int = _DEEP) -> Any:
        if type(event) is ScalarEvent:
            return self._noted(event)
        if type(event) is AliasEvent:
            return self._texts.get(event.anchor or "", Unread("an alias is in its place"))
        if not room:
            raise ValueError(f"nested deeper than {_DEEP}")
        self._named(getattr(event, "anchor", None))
        if type(event) is SequenceStartEvent:
            found: list[Any] = []
            for each in self._events:
                if type(each) is SequenceEndEvent:
                    return found
                found.append(self._value(each, room - 1))
        return {key: self._value(next(self._events), room - 1) for key in self._keys()}

    def _skip(self, event: Event) -> None:
        """Read past a value; texts in it may have aliases elsewhere."""
        if type(event) is ScalarEvent:
            if event.anchor is not None:
                self._noted(event)
            return
        if not isinstance(event, CollectionStartEvent):
            return
        self._named(event.anchor)
        depth = 1
        for each in self._events:
            if type(each) is ScalarEvent:
                if each.anchor is not None:
                    self._noted(each)
            elif isinstance(each, CollectionStartEvent):
                self._named(each.anchor)
                depth += 1
                if depth > _DEEP:
                    raise ValueError(f"nested deeper than {_DEEP}")
            elif isinstance(each, CollectionEndEvent):
                depth -= 1
                if not depth:
                    return

    def _noted(self, event: ScalarEvent) -> str:
        text: str = event.value
        if event.anchor is not None:
            self._named(event.anchor)
            if len(text) <= _LONG:
                self._texts[event.anchor] = text
        return text

    def _named(self, anchor: str | None) -> None:
        """A name that is there twice would leave it open which one an alias means."""
        if anchor is None:
            return
        if anchor in self._anchors:
            raise ValueError(f"the anchor {anchor[:80]!r} is there twice")
        self._anchors.add(anchor)
