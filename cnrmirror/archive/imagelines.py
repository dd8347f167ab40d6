"""What a template's line about an image means: literal, or made of values by simple functions.

Nothing is executed: of Go's templates only fields of ``.Values`` and ``.Chart``, and a few
functions that make text of text, are known. A line with anything else means nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cnrmirror.archive import imagename
from cnrmirror.archive.imagename import ImageName

_ACTION = re.compile(r"\{\{([^{}]*)\}\}")
_COMMENT = re.compile(r"\s#.*$")
_PIPE = re.compile(r"""(?:"[^"]*"|`[^`]*`|\([^()]*\)|[^|"`()])+""")
_WORD = re.compile(r'"[^"]*"|`[^`]*`|\([^()]*\)|[^\s"`]+')
_FIELD = re.compile(r"\$?\.(Values|Chart)((?:\.\w+)+)")
_VERB = re.compile(r"%[svdq]")
# What a value's default is called in schemas and documents.
_NO_IMAGE = {"string", "image", "none", "null", "true", "false", "type", "object", "latest"}
_MAX = 1024


class _Unknown(Exception):
    """A line says more than is known here."""


def image_of(line: str, scope: Mapping[str, Any]) -> ImageName | None:
    """The image that is written behind ``image:`` in a template; None if that is not known.

    Args:
        scope: ``Values`` and ``Chart``, with the fields of Chart.yaml in capitals.

    Example:
        >>> str(image_of('"quay.io/a/b:{{ .Values.tag }}"', {"Values": {"tag": "1"}}))
        'quay.io/a/b:1'
    """
    text = _COMMENT.sub("", line).strip().strip("\"'")
    try:
        full = _ACTION.sub(lambda match: _text(_pipe(_inner(match[1]), scope)), text).strip("\"'")
    except _Unknown:
        return None
    if full.endswith(":") or full.partition(":")[0] in _NO_IMAGE:
        return None
    return imagename.parse(full)


def _inner(action: str) -> str:
    """An action without the dashes that trim what is around it."""
    return action.removeprefix("-").removesuffix("-").strip()


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:_MAX]


def _pipe(text: str, scope: Mapping[str, Any]) -> Any:
    """What ``A | B | C`` gives."""
    value: Any = None
    for number, part in enumerate(_PIPE.findall(text)):
        words = _WORD.findall(part)
        if not words:
            raise _Unknown
        piped = [value] if number else []
        if words[0] in _FUNCTIONS:
            given = [_term(word, scope) for word in words[1:] if word not in (".", "$")]
            value = _FUNCTIONS[words[0]]([*given, *piped])
        elif len(words) == 1 and not number:
            value = _term(words[0], scope)
        else:
            raise _Unknown
    return value


def _term(word: str, scope: Mapping[str, Any]) -> Any:
    if len(word) > 1 and word[0] == word[-1] and word[0] in '"`':
        return word[1:-1]
    if word.startswith("(") and word.endswith(")"):
        return _pipe(word[1:-1], scope)
    if not (match := _FIELD.fullmatch(word)):
        raise _Unknown
    value = scope.get(match[1])
    for key in match[2][1:].split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return None if isinstance(value, dict | list) else value


def _default(given: list[Any]) -> Any:
    if len(given) != 2:
        raise _Unknown
    return given[0] if given[1] in (None, "", False, "0") else given[1]


def _printf(given: list[Any]) -> Any:
    if not given or not isinstance(given[0], str):
        raise _Unknown
    rest = iter(given[1:])
    try:
        made = _VERB.sub(lambda _: _text(next(rest)), given[0])
    except StopIteration:
        raise _Unknown from None
    if "%" in made:
        raise _Unknown
    return made[:_MAX]


def _trim(is_prefix: bool, given: list[Any]) -> Any:
    if len(given) != 2:
        raise _Unknown
    what, text = _text(given[0]), _text(given[1])
    return text.removeprefix(what) if is_prefix else text.removesuffix(what)


def _last(given: list[Any]) -> Any:
    if not given:
        raise _Unknown
    return given[-1]


_FUNCTIONS = {
    "default": _default,
    "printf": _printf,
    "print": lambda given: "".join(map(_text, given))[:_MAX],
    "coalesce": lambda given: next((value for value in given if value), None),
    "trimPrefix": lambda given: _trim(True, given),
    "trimSuffix": lambda given: _trim(False, given),
    "lower": lambda given: _text(_last(given)).lower(),
    "trim": lambda given: _text(_last(given)).strip(),
    **dict.fromkeys(("quote", "squote", "toString", "required", "tpl"), _last),
}
