"""The entries of a JSON dump that is cut off, or damaged: what stands whole in it."""

from __future__ import annotations

import mmap
import re

# Strings, brackets, and a quotation mark whose string has no end. Every repeat is possessive: no
# bytes are looked at twice.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|"', re.DOTALL)
_KEYS = {b'"packages"': "packages", b'"channels"': "channels"}
_ENTRY = 3  # an object in a list in the object


def readable(data: mmap.mmap) -> tuple[dict[str, list[memoryview]], int, bool]:
    """The whole objects in the lists ``packages`` and ``channels`` of a JSON text.

    Only strings and brackets are looked at: whether an object is JSON, its reader must check. The
    objects are views into the data.

    Returns:
        The objects by list; where the last one ends; whether the text ends before its object does.
    """
    view = memoryview(data)
    found: dict[str, list[memoryview]] = {"packages": [], "channels": []}
    depth, key, start, end = 0, "", 0, 0
    for token in _TOKEN.finditer(data):
        mark = data[token.start() : token.start() + 1]
        if mark == b'"':
            if token.end() == token.start() + 1:
                break
            if depth == 1:
                key = _KEYS.get(data[token.start() : min(token.end(), token.start() + 20)], "")
        elif mark in b"{[":
            depth += 1
            start = token.start() if depth == _ENTRY else start
        else:
            if depth == _ENTRY and key and mark == b"}":
                found[key].append(view[start : token.end()])
                end = token.end()
            depth -= 1
            if depth == 0:
                return found, end, False
    return found, end, True
