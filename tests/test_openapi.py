"""The OpenAPI document: it is one, it is the same each time, and the mirror answers as it says."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from openapi_spec_validator import validate

from cnrmirror.model import errors
from cnrmirror.server import missing, tokens
from cnrmirror.server import oci as server_oci
from cnrmirror.views import openapi
from cnrmirror.views.base import ArtifactHub, Settings
from cnrmirror.views.cnr_v1 import to_json
from cnrmirror.views.openapi import OpenApi, document
from cnrmirror.views.routes import _ROUTES, route
from tests.contract import Contract
from tests.openapi import ALL, PAGE, page, types
from tests.recorded import CONFORMANCE, FILES

URL = "https://mirror.example.com"
FULL = Settings(URL, artifacthub=ArtifactHub(owners=[{"name": "a"}]))
_IN_PATH = re.compile(r"\{(\w+)\}")


def every_settings() -> Iterator[Settings]:
    for dialect, *on in product(("appr", "cnr"), *[(True, False)] * 4):
        helm, oci, pages, hub = on
        artifacthub = FULL.artifacthub if hub else ArtifactHub()
        yield Settings(URL if hub else "", dialect, helm, oci, artifacthub, pages)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", list(every_settings()), ids=range(32))
def test_it_is_an_openapi_document_for_all_settings(settings: Settings) -> None:
    [resource] = OpenApi(settings).fixed()
    assert isinstance(resource.body, bytes) and resource.path == "openapi.json"
    found = json.loads(resource.body)
    validate(found)
    assert to_json(found) == resource.body and len(resource.body) < 64 << 10
    assert found["servers"] == [{"url": settings.url or "."}]
    assert any(path.startswith("/helm/") for path in found["paths"]) is settings.helm
    assert any(path.startswith("/v2/") for path in found["paths"]) is settings.oci
    assert ("/feed.xml" in found["paths"]) is settings.pages
    other = "cnr" if settings.dialect == "appr" else "appr"
    assert f"vnd.{other}." not in resource.body.decode()


def test_another_document_has_another_version() -> None:
    """Who changes a byte of it raises ``OpenApi.version``: an auditor compares it."""
    digest = hashlib.sha256(to_json(document(FULL))).hexdigest()
    assert {OpenApi.version: digest} == {
        1: "b92ec9f18d2831cb60539553f4604297b7a050f0e498fe6765563b0523b6d9d6"
    }


def test_the_schemas_of_types_are_those_of_the_types() -> None:
    assert (openapi.SOURCE / "types.json").read_bytes() == types()


def test_the_page_is_that_of_the_document() -> None:
    assert PAGE.read_text() == page(), "make documents writes it"
    for path in document(ALL)["paths"]:
        assert f" {path}`](#" in PAGE.read_text()


def test_the_same_path_stands_nowhere_twice() -> None:
    found = [_IN_PATH.sub("{}", path) for path in document(FULL)["paths"]]
    assert len(set(found)) == len(found)
    with pytest.raises(AssertionError, match="there already"):
        openapi._join({"a": {"b": 1}}, {"a": {"b": 1}}, "here")


def test_every_parameter_of_a_path_is_said_and_has_an_example() -> None:
    contract = Contract(document(FULL))
    for path, item in contract.document["paths"].items():
        for method in ("get", "post", "delete"):
            if method not in item:
                continue
            call = contract.find(method, path)
            assert call is not None and call.path == path
            in_path = {name for where, name in call.parameters if where == "path"}
            assert in_path == set(_IN_PATH.findall(path))
            for parameter in call.parameters.values():
                example = parameter.get("example")
                assert example is not None or parameter["in"] == "query", parameter
                assert example is None or contract.misfit(parameter["schema"], example) == ""


def media_types(value: Any) -> Iterator[dict[str, Any]]:
    """Everything that has a schema and an example."""
    if isinstance(value, dict):
        if "schema" in value and "example" in value:
            yield value
        for each in value.values():
            yield from media_types(each)
    elif isinstance(value, list):
        for each in value:
            yield from media_types(each)


@pytest.mark.parametrize("dialect", ["appr", "cnr"])
def test_every_example_fits_its_schema(dialect: str) -> None:
    found = document(Settings(URL, dialect, artifacthub=FULL.artifacthub))  # type: ignore[arg-type]
    contract = Contract(found, closed=False)
    examples = list(media_types(found))
    assert len(examples) > 40
    assert [e for m in examples if (e := contract.misfit(m["schema"], m["example"]))] == []


def nothing(value: Any, where: str = "") -> Iterator[str]:
    """Where a value is null, but in an example."""
    if isinstance(value, dict):
        for key, each in value.items():
            if each is None:
                yield f"{where}/{key}"
            elif key != "example":
                yield from nothing(each, f"{where}/{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from nothing(each, f"{where}/{number}")


def test_no_text_of_the_source_is_cut_at_a_comma() -> None:
    """In a YAML mapping of one line, what follows an unquoted comma is another key."""
    assert list(nothing(document(FULL))) == []


def test_what_is_json_has_an_example_or_a_type_that_tells() -> None:
    contract = Contract(document(FULL))
    for path, item in contract.document["paths"].items():
        for operation in (item[m] for m in ("get", "post", "delete") if m in item):
            for kind, media in (
                contract.resolved(operation["responses"]["200"]).get("content", {}).items()
            ):
                told = "example" in media or path == "/openapi.json" or "CatalogRoot" in str(media)
                assert told or "json" not in kind or "docker" in kind, path


# -- what the server knows, and what the document says -----------------------------------------


def nameless(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


def of_routes() -> dict[str, set[str]]:
    """The templates of each kind of call that ``routes`` knows."""
    found = {}
    for kind, pattern in _ROUTES:
        text = pattern.pattern.removesuffix("/?").replace(r"(?P<package>[^/]+/[^/]+)", "{}/{}")
        text = re.sub(r"\(\?P<\w+>\[\^/\]\+\)", "{}", text)
        head, optional, _ = text.partition("(?P<json>/json)?")
        found[kind] = {f"/cnr{head}", *([f"/cnr{head}/json"] if optional else [])}
    return found


def test_every_route_that_the_server_knows_is_in_the_document_and_the_reverse() -> None:
    known = {path for paths in of_routes().values() for path in paths}
    paths = document(FULL)["paths"]
    said = {nameless(p) for p, item in paths.items() if p.startswith("/cnr/") and "get" in item}
    assert said == known and len(said) == 12
    for path in (p for p, item in paths.items() if p.startswith("/cnr/") and "get" in item):
        found = route(path.replace("{", "").replace("}", ""), {})
        assert found is not None and nameless(path) in of_routes()[found.kind]


def codes() -> set[str]:
    kinds = [k for m in (errors, missing, tokens) for k in vars(m).values()]
    found = {k.code for k in kinds if isinstance(k, type) and issubclass(k, errors.CnrMirrorError)}
    return found | {"invalid-release", "unsupported"}


def test_every_code_of_an_error_is_in_the_document() -> None:
    schemas = document(FULL)["components"]["schemas"]
    assert schemas["Error"]["properties"]["code"]["enum"] == sorted(codes())
    of_oci = {*server_oci._UNKNOWN.values(), *server_oci._CODES.values()}
    error = schemas["OciError"]["properties"]["errors"]["items"]
    assert error["properties"]["code"]["enum"] == sorted(of_oci | {"MANIFEST_UNKNOWN", "UNKNOWN"})


# -- answers that were recorded ----------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["appr", "cnr"])
def test_the_answers_of_the_real_servers_fit(dialect: str) -> None:
    contract = Contract(document(Settings(URL, dialect)))  # type: ignore[arg-type]
    lines = (CONFORMANCE / FILES[dialect]).read_text().splitlines()
    wrong = []
    for answer in map(json.loads, lines):
        body = json.dumps(answer["json"]).encode() if "json" in answer else b""
        headers = {"Content-Type": answer["content_type"]}
        if "content_disposition" in answer:
            headers["Content-Disposition"] = answer["content_disposition"]
        found = contract.problems("GET", answer["path"], answer["status"], headers, body)
        if found:
            wrong.append(f"{answer['path']}: {found}")
    assert len(lines) == 509
    assert "\n".join(wrong[:20]) == ""
