"""The fields of Chart.yaml in the types that Helm's clients read, and what they cannot read.

One field of a wrong type makes a whole index unreadable for Helm. Facts hold what stood in
Chart.yaml, so each is brought into the type of Helm's ``chart.Metadata``, or left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_STRINGS = (
    "apiVersion", "name", "version", "appVersion", "description", "type", "home", "icon",
    "kubeVersion", "condition", "tags",
)  # fmt: skip
_LISTS = ("keywords", "sources")
_ALIAS = re.compile(r"[a-zA-Z0-9_-]+")
_TYPES = ("", "application", "library")


def typed(chart: Mapping[str, Any]) -> dict[str, Any]:
    """The known fields, each of the type that it has in Helm; sorted, without empty ones.

    What is made of it is signed by its digest: the OCI view's manifests never change. So this
    function never gives anything else for the same facts.

    Example:
        >>> typed({"name": ["x"], "keywords": "a", "version": "1.0.0"})
        {'version': '1.0.0'}
    """
    found: dict[str, Any] = {key: _string(chart.get(key)) for key in _STRINGS}
    found |= {key: _strings(chart.get(key)) for key in _LISTS}
    found["deprecated"] = chart.get("deprecated") is True
    annotations = chart.get("annotations")
    if isinstance(annotations, Mapping):
        found["annotations"] = {k: v for k, v in annotations.items() if _string(v)}
    found["maintainers"] = [
        {key: text for key in ("name", "email", "url") if (text := _string(item.get(key)))}
        for item in _mappings(chart.get("maintainers"))
    ]
    found["dependencies"] = [_dependency(item) for item in _mappings(chart.get("dependencies"))]
    return {key: value for key, value in sorted(found.items()) if value}


def _dependency(item: Mapping[str, Any]) -> dict[str, Any]:
    # Helm writes a name and a repository though they are empty.
    found: dict[str, Any] = {"name": _string(item.get("name"))}
    for key in ("version", "condition", "alias"):
        if text := _string(item.get(key)):
            found[key] = text
    found["repository"] = _string(item.get("repository"))
    if tags := _strings(item.get("tags")):
        found["tags"] = tags
    if item.get("enabled") is True:
        found["enabled"] = True
    given = item.get("import-values")
    imports = [_import(value) for value in given] if isinstance(given, list) else []
    if imports := [value for value in imports if value]:
        found["import-values"] = imports
    return found


def _import(value: Any) -> str | dict[str, str]:
    """What a dependency's values are to be: a name, or from where to where."""
    if isinstance(value, Mapping):
        return {key: text for key in ("child", "parent") if (text := _string(value.get(key)))}
    return _string(value)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _strings(value: Any) -> list[str]:
    return [text for text in value if _string(text)] if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [x for x in value if isinstance(x, Mapping) and x] if isinstance(value, list) else []


def cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    """As Helm shows them: white space is a space, and characters that cannot be printed go.

    Helm does this to the texts of a chart when it indexes it (``chart.Metadata.Validate``).
    """
    result = {key: _each(value, _printable) for key, value in fields.items()}
    if "annotations" in fields:
        result["annotations"] = dict(fields["annotations"])
    return result


def _each(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case list():
            return [_each(item, change) for item in value]
        case dict():
            return {key: _each(item, change) for key, item in value.items()}
        case _:
            return value


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    spaced = ("\x20" if character.isspace() else character for character in text)
    return "".join(c for c in spaced if c.isprintable())


def refused_by_helm(fields: Mapping[str, Any]) -> str:
    """Why no Helm client takes a chart with these fields; "" if they do.

    The rules are those of ``chart.Metadata.Validate``: an entry that breaks one is left out of an
    index by new clients, and stops old ones.
    """
    if fields.get("type", "") not in _TYPES:
        return f"its type {fields['type']!r:.80} is neither application nor library"
    names: set[str] = set()
    for item in fields.get("dependencies", []):
        alias = item.get("alias", "")
        if alias and not _ALIAS.fullmatch(alias):
            return f"the alias {alias!r:.80} of a dependency has other characters than a-z 0-9 _ -"
        key = alias or item["name"]
        if key in names:
            return f"two dependencies are called {key!r:.80}"
        names.add(key)
    return ""
