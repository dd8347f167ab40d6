"""Writes what is made of the OpenAPI document and of types: ``make documents``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from cnrmirror.model.documents import (
    Branch,
    CatalogRoot,
    Channel,
    Content,
    Facts,
    Leaf,
    PackageDocument,
    RetentionFloor,
)
from cnrmirror.model.signed import FileInfo
from cnrmirror.views.base import ArtifactHub, Settings
from cnrmirror.views.openapi import SOURCE, document

WIDTH = 96
# Repositories of other formats have the same calls, which are told once.
TWIN = "/v2/{namespace}/{name}/{format}/"
PAGE = Path(__file__).parents[1] / "docs" / "api.md"
ALL = Settings(artifacthub=ArtifactHub(owners=[{"name": "a", "email": "a@example.com"}]))

TYPES = (
    Branch, CatalogRoot, Channel, Content, Facts, FileInfo, Leaf, PackageDocument, RetentionFloor,
)  # fmt: skip


def types() -> bytes:
    """The schemas of the types that a mirror answers with: ``types.json``."""
    _, found = msgspec.json.schema_components(TYPES, ref_template="#/components/schemas/{name}")
    for schema in found.values():
        _plain(schema)
    text = msgspec.json.encode(found, order="sorted")
    return msgspec.json.format(text, indent=1) + b"\n"


def _plain(schema: dict[str, Any]) -> None:
    """Without what says the same twice: the name, and what is left out where it is empty."""
    schema.pop("title", None)
    if "description" in schema:
        # Docstrings lost their indentation in Python 3.13.
        schema["description"] = inspect.cleandoc(schema["description"]).replace("``", "`")
    if not schema.get("required"):
        schema.pop("required", None)
    for field in schema.get("properties", {}).values():
        field.pop("default", None)
        _unbound(field)


def _unbound(schema: dict[str, Any]) -> None:
    """Without the bounds of what a program reads: docs/format.md names them."""
    for word in ("exclusiveMaximum", "maxItems", "maxLength", "propertyNames"):
        schema.pop(word, None)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            _unbound(inner)


def page() -> str:
    """docs/api.md: the document of a mirror with every view, for people."""
    return "\n".join(_Page(document(ALL)).lines()) + "\n"


class _Page:
    """A readable form of an OpenAPI document, in Markdown."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def lines(self) -> Iterator[str]:
        """All of it."""
        info = self._found["info"]
        yield "# The API: every path that a mirror answers"
        yield ""
        yield f"Version {info['version']}. `make documents` writes this page out of the document"
        yield "that every mirror has at `/openapi.json`, for a mirror with every view."
        yield "`tests/test_openapi_served.py` and `tests/interop/test_openapi.py` hold answers of"
        yield "`serve`, nginx, Caddy, Apache and lighttpd against it."
        yield ""
        yield info["description"].rstrip()
        for tag in self._found["tags"]:
            yield from self._table(tag)
        for tag in self._found["tags"]:
            yield from ("", f"## {tag['name'].capitalize()}")
            for method, path, call in self._calls(tag["name"]):
                if not path.startswith(TWIN):
                    yield from self._call(method, path, call)
        yield from self._schemas()

    def _calls(self, tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, item in self._found["paths"].items():
            for method in ("get", "post", "delete"):
                if method in item and tag in item[method]["tags"]:
                    yield method.upper(), path, {**item, **item[method], "of_path": item}

    def _table(self, tag: dict[str, str]) -> Iterator[str]:
        yield from ("", tag["description"], "", "| call | gives | where |", "|---|---|---|")
        for method, path, call in self._calls(tag["name"]):
            text = path.replace(TWIN, TWIN.replace("{format}/", ""))
            anchor = re.sub(r"[^a-z0-9 _-]", "", f"{method} {text}".lower()).replace(" ", "-")
            yield f"| [`{method} {path}`](#{anchor}) | {call['summary']} | {_where(call)} |"

    def _call(self, method: str, path: str, call: dict[str, Any]) -> Iterator[str]:
        yield from ("", f"### {method} {path}", "", f"{call['summary']}. {_about(call)}".strip())
        given = [*call["of_path"]["parameters"], *call.get("parameters", [])]
        found = {(p["in"], p["name"]): p for p in map(self._resolved, given)}
        if found:
            yield from ("", "| parameter | is | for example |", "|---|---|---|")
        for place, name in sorted(found, key=lambda pair: path.find(f"{{{pair[1]}}}") % len(path)):
            yield _parameter(place, found[place, name])
        yield from ("", "| status | answer | type |", "|---|---|---|")
        answers = [(s, self._resolved(a)) for s, a in sorted(call["responses"].items())]
        for status, answer in answers:
            types = ", ".join(self._type(k, m) for k, m in answer.get("content", {}).items())
            where = f" ({_where(answer)})" if "x-cnrmirror-where" in answer else ""
            yield f"| {status} | {answer['description']}{where} | {types or 'no body'} |"
        asked = call.get("requestBody", {}).get("content", {})
        yield from _example("Body", asked)
        yield from _example("Answer", answers[0][1].get("content", {}))

    def _schemas(self) -> Iterator[str]:
        yield from ("", "## Documents")
        for name, schema in sorted(self._found["components"]["schemas"].items()):
            yield from ("", f"### {name}", "", schema.get("description", ""))
            fields = schema.get("properties", {})
            if fields:
                yield from ("", "| field | type | is |", "|---|---|---|")
            for field, each in fields.items():
                optional = "" if field in schema.get("required", []) else ", optional"
                kind = f"{_kind(each)}{optional}".replace("|", "\\|")
                yield f"| `{field}` | {kind} | {each.get('description', '')} |"

    def _resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in value:
            _, _, kind, name = value["$ref"].split("/")
            value = self._found["components"][kind][name]
        return value

    def _type(self, media_type: str, media: dict[str, Any]) -> str:
        kind = _kind(media["schema"]) if "schema" in media else ""
        return " ".join(filter(None, (f"`{media_type}`", kind)))


def _where(value: dict[str, Any]) -> str:
    where = [f"`{place}`" for place in value.get("x-cnrmirror-where", [])]
    form = value.get("of_path", value).get("x-cnrmirror-form")
    return ", ".join([*where, *([f"form `{form}`"] if form else [])])


def _about(call: dict[str, Any]) -> str:
    return str(call.get("description", ""))


def _parameter(place: str, parameter: dict[str, Any]) -> str:
    text = parameter["description"]
    choices = [
        (f"`{each['const']}`: " if "const" in each else "")
        + each["title"]
        + (f" ({_where(each)})" if _where(each) else "")
        for each in parameter["schema"].get("anyOf", [])
    ]
    if choices:
        text = f"{text.rstrip('.')}: {'; '.join(choices)}"
    where = f" ({_where(parameter)})" if _where(parameter) else ""
    example = f"`{parameter['example']}`" if "example" in parameter else ""
    name = f"`{parameter['name']}`" if place == "path" else f"`?{parameter['name']}=`"
    return f"| {name} | {text}{where} | {example} |"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        return f"object of {_kind(values)}"
    return str(schema.get("type", "anything"))


def _example(what: str, content: dict[str, Any]) -> Iterator[str]:
    found = [(kind, media["example"]) for kind, media in content.items() if "example" in media]
    for kind, example in found[:1]:
        text = _folded(example)
        yield from ("", f"{what}, for example (`{kind}`):", "", "```json", text, "```")


def _folded(value: Any, indent: str = "") -> str:
    """JSON whose objects and lists stand in one line each, where they fit."""
    line = json.dumps(value)
    if len(indent + line) <= WIDTH or not isinstance(value, dict | list):
        return line
    inner = f"{indent}  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_folded(each, inner)}" for key, each in value.items()]
    else:
        parts = [_folded(each, inner) for each in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(inner + part for part in parts)
    return f"{first}\n{body}\n{indent}{last}"


if __name__ == "__main__":
    (SOURCE / "types.json").write_bytes(types())
    PAGE.write_text(page())
