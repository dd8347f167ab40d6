"""``.helmignore``: which files of a package folder stay out, by helm's own rules.

They look like git's and are not: blanks around a line do not count, ``**`` is an error, a line with
a ``/`` inside is held against the whole path, others against the name alone, and a line with ``!``
takes everything out that does *not* match it (helm 3, ``pkg/ignore``).
"""

from __future__ import annotations

import re

import msgspec

from cnrmirror.model.errors import InputError

# Hidden files among the templates are never part of a chart.
_DEFAULT = "templates/.?*"


class _Rule(msgspec.Struct, frozen=True):
    pattern: re.Pattern[str]
    whole_path: bool
    only_folders: bool
    negated: bool

    def matches(self, path: str) -> bool:
        text = path if self.whole_path else path.rpartition("/")[2]
        return self.pattern.fullmatch(text) is not None


class IgnoreRules:
    """The rules of one file.

    Args:
        text: what is in it.
        where: its path, for errors.

    Raises:
        InputError: a line that is no pattern; the message names it.

    Example:
        >>> IgnoreRules("*.bak", ".helmignore")("templates/a.bak", False)
        True
    """

    def __init__(self, text: str, where: str) -> None:
        self._rules = [_rule(_DEFAULT)]
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            try:
                self._rules.append(_rule(line))
            except ValueError as error:
                raise InputError(f"{where}:{number}: {line!r} is no pattern: {error}") from error

    def __call__(self, path: str, is_folder: bool) -> bool:
        """Whether the file or folder at ``path`` (relative, with ``/``) stays out."""
        for rule in self._rules:
            if rule.only_folders and not is_folder:
                if rule.negated:
                    return True
                continue
            if rule.matches(path) != rule.negated:
                return True
        return False


def _rule(line: str) -> _Rule:
    if "**" in line:
        raise ValueError("** is not known here")
    negated = line.startswith("!")
    line = line.removeprefix("!")
    only_folders = line.endswith("/")
    line = line.removesuffix("/")
    whole_path = "/" in line
    return _Rule(re.compile(_translated(line.removeprefix("/"))), whole_path, only_folders, negated)


def _translated(pattern: str) -> str:
    """A glob of Go's ``filepath.Match`` as a regular expression."""
    first, *rest = _between_stars(pattern)
    if not rest:
        return first
    # A star takes as little as it can and never again more, as in Go: no pattern takes long.
    inner = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1])
    return f"{first}{inner}[^/]*{rest[-1]}"


def _between_stars(pattern: str) -> list[str]:
    pieces = [""]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "*":
            pieces.append("")
        elif char == "?":
            pieces[-1] += "[^/]"
        elif char == "[":
            piece, position = _class(pattern, position + 1)
            pieces[-1] += piece
            continue
        else:
            char, position = _literal(pattern, position)
            pieces[-1] += re.escape(char)
            continue
        position += 1
    return pieces


def _literal(pattern: str, position: int) -> tuple[str, int]:
    """The character at ``position``, or behind a backslash there; and where it ends."""
    if pattern[position] == "\\":
        position += 1
        if position == len(pattern):
            raise ValueError("a \\ at its end")
    return pattern[position], position + 1


def _class(pattern: str, position: int) -> tuple[str, int]:
    """The class whose ``[`` is just before ``position``; and where it ends."""
    negated = pattern.startswith("^", position)
    position += negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", position)):
        low, position = _bound(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _bound(pattern, position + 1)
        ranges.append((low, high))
    inside = "".join(f"{re.escape(a)}-{re.escape(b)}" for a, b in ranges if a <= b)
    if not inside:  # such as [z-a]
        return (r"[\s\S]" if negated else r"[^\s\S]"), position + 1
    return f"[{'^' if negated else ''}{inside}]", position + 1


def _bound(pattern: str, position: int) -> tuple[str, int]:
    if position == len(pattern):
        raise ValueError("a [ without its ]")
    if pattern[position] in "-]":
        raise ValueError(f"a {pattern[position]} in [ ] without a \\ before it")
    return _literal(pattern, position)
