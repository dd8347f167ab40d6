"""Holds answers against an OpenAPI document: path, status, media type, headers, body."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import yaml
from openapi_schema_validator import OAS31Validator

Json = dict[str, Any]
# Of any GET, as the document says in its text: conditions and ranges (RFC 9110).
_OF_HTTP = (206, 304, 416)


class Call(NamedTuple):
    """An operation of the document: ``path`` is its template."""

    path: str
    method: str
    operation: Json
    parameters: dict[tuple[str, str], Json]


class Contract:
    """An OpenAPI document to hold answers against.

    Args:
        document: the document.
        closed: whether an object may have no other fields than its schema names.
    """

    def __init__(self, document: Json, closed: bool = True) -> None:
        self.document = document
        self._components = _closed(document["components"]) if closed else document["components"]
        # What has fewer parameters is looked at first: OpenAPI 3.1, "Path Templating Matching".
        ordered = sorted(document["paths"], key=lambda path: (path.count("{"), path))
        self._paths = [(path, _pattern(path)) for path in ordered]

    def find(self, method: str, path: str) -> Call | None:
        """The operation that a path, without its query, calls; None if there is none.

        It may be any of several addresses of an answer, or the template itself.
        """
        path = _normal(path)
        for template, pattern in self._paths:
            item = self.document["paths"][template]
            match = pattern.fullmatch(path)
            if match is None or method.lower() not in item:
                continue
            operation = item[method.lower()]
            given = [*item.get("parameters", []), *operation.get("parameters", [])]
            found = [self.resolved(each) for each in given]
            named = {(each["in"], each["name"]): each for each in found}
            return Call(template, method.lower(), operation, named)
        return None

    def resolved(self, value: Json) -> Json:
        """What a reference means; the value itself if it is none."""
        while "$ref" in value:
            _, _, kind, name = value["$ref"].split("/")
            value = self.document["components"][kind][name]
        return value

    def problems(self, method: str, url: str, status: int, headers: Any, body: bytes) -> str:
        """Why an answer is none that the document has; "" if it is one.

        Args:
            url: the path and query that were asked for.
            headers: those of the answer, whose names know no case.
        """
        parts = urlsplit(url)
        call = self.find(method, parts.path)
        if call is None:
            return "the document has no such path"
        queries = {name for name, _ in parse_qsl(parts.query)}
        if strange := [name for name in queries if ("query", name) not in call.parameters]:
            return f"{call.path}: no query {strange}"
        answer = call.operation["responses"].get(str(status))
        if answer is None:
            known = call.method == "get" and status in _OF_HTTP
            return "" if known else f"{call.path}: {status} is no answer of it"
        return self._wrong(self.resolved(answer), headers, body, f"{call.path}: {status}")

    def _wrong(self, answer: Json, headers: Any, body: bytes, where: str) -> str:
        for name, value in answer.get("headers", {}).items():
            schema = self.resolved(value)["schema"]
            if name in headers and (found := self.misfit(schema, headers[name])):
                return f"{where}: {name}: {found}"
        if "content" not in answer:
            return f"{where}: a body of {len(body)} bytes" if body else ""
        media_type = headers.get("Content-Type", "").partition(";")[0]
        media = answer["content"].get(media_type, answer["content"].get("*/*"))
        if media is None:
            return f"{where}: {media_type!r} is no type of it"
        if "schema" not in media:
            return ""
        found = self.misfit(media["schema"], _value(media_type, body))
        return f"{where}: {found}" if found else ""

    def misfit(self, schema: Json, value: Any) -> str:
        """Why a value does not fit a schema of the document; "" if it does."""
        whole = {"allOf": [schema], "components": self._components}
        checker = OAS31Validator.FORMAT_CHECKER
        for error in OAS31Validator(whole, format_checker=checker).iter_errors(value):
            return f"{error.json_path}: {error.message}"[:400]
        return ""


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\})", path)
    return re.compile("".join("[^/]+" if p.startswith("{") else re.escape(p) for p in parts))


def _normal(path: str) -> str:
    """The one of several addresses of an answer that stands in the document."""
    if re.match(r"/(?:api/|version/?$)", path):
        path = f"/cnr{path}"
    if path in ("/", "/v2"):
        return {"/": "/index.html", "/v2": "/v2/"}[path]
    path = path.rstrip("/") if path.startswith("/cnr/") else path
    return quote(unquote(path), safe="/:@+~-._{}") if "%2F" not in path.upper() else path


def _value(media_type: str, body: bytes) -> Any:
    if media_type.endswith(("json", "yaml")):
        return yaml.safe_load(body) if media_type.endswith("yaml") else json.loads(body)
    return body.decode()


def _closed(value: Any) -> Any:
    """Schemas without room for fields that they do not name."""
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: each if key in ("example", "examples") else _closed(each)
             for key, each in value.items()}  # fmt: skip
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found
