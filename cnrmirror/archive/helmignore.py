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
        for number, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            try:
                self._rules.append(_rule(line))
            except (ValueError, re.error) as error:
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
    if not line:
        raise ValueError("it is empty")
    return _Rule(re.compile(_translated(line.removeprefix("/"))), whole_path, only_folders, negated)


def _translated(pattern: str) -> str:
    """A glob of Go's ``filepath.Match`` as a regular expression."""
    result = ""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            result += "[^/]*"
        elif char == "?":
            result += "[^/]"
        elif char == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise ValueError("a [ without its ]")
            inside = pattern[position:end]
            negated = inside.startswith("^")
            inside = re.sub(r"([\\\[&~|])", r"\\\1", inside.removeprefix("^"))
            result += f"[{'^' if negated else ''}{inside}]"
            position = end + 1
        elif char == "\\":
            if position == len(pattern):
                raise ValueError("a \\ at its end")
            result += re.escape(pattern[position])
            position += 1
        else:
            result += re.escape(char)
    return result
