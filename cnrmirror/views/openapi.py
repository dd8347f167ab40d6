"""The OpenAPI view: ``openapi.json``, every path that a mirror answers, for people and programs.

The source is ``templates/openapi``: a YAML file for each kind of paths, and ``types.json``, the
schemas of the catalog's documents, which ``python -m tests.openapi`` writes from their types. Here
they are joined. The document follows from the settings of the views alone.

Format: OpenAPI 3.1.0, whose schemas are JSON Schema, draft 2020-12.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from cnrmirror.model.later import later
from cnrmirror.model.names import Vendor
from cnrmirror.model.resource import Resource
from cnrmirror.views.base import ArtifactHub, Settings, WithoutPackages
from cnrmirror.views.cnr_v1 import VERSIONS, to_json
from cnrmirror.views.templates import TEMPLATES

if TYPE_CHECKING:
    import yaml
else:
    yaml = later("yaml")

Json = dict[str, Any]

PATH = "openapi.json"
API_VERSION = "1.0"
"""The version of what a mirror answers: the first number grows when a client has to change."""

SOURCE = TEMPLATES / "openapi"
_REFERENCE = re.compile(r"#/components/(\w+)/(\w+)")
_IN_PATH = re.compile(r"\{(\w+)\}")
_REPOSITORY = "/v2/{namespace}/{name}/"
_METHODS = ("get", "post", "delete")

# Answers of every GET of a file, and of every call that changes something.
_READ = {"304": "Unchanged", "500": "Damaged"}
_WRITE = {
    "401": "Unauthorised", "403": "Forbidden", "405": "ReadOnly", "409": "Conflict",
    "500": "Damaged", "503": "TokensUnusable", "507": "Full",
}  # fmt: skip


def document(settings: Settings) -> Json:
    """The OpenAPI document of a mirror with these settings."""
    text = _source(settings.dialect, *_parts(settings))
    found: Json = msgspec.json.decode(text)
    paths: dict[str, Json] = found["paths"]
    if settings.artifacthub == ArtifactHub():
        paths.pop("/helm/{namespace}/artifacthub-repo.yml", None)
    if not settings.pages:
        del paths["/feed.xml"]
    _repositories_of_formats(paths)
    for path, item in paths.items():
        _complete(path, item, found["components"]["parameters"])
    used = {tag for item in paths.values() for _, each in _operations(item) for tag in each["tags"]}
    found["tags"] = [tag for tag in found["tags"] if tag["name"] in used]
    found["components"] = _reached(found)
    found["info"]["version"] = API_VERSION
    found["servers"] = [{"url": settings.url or "."}]
    return found


def _parts(settings: Settings) -> list[str]:
    views = (("helm", settings.helm), ("oci", settings.oci))
    return ["about", "cnr", "push", *(name for name, on in views if on), "catalog", "site"]


@functools.lru_cache(maxsize=8)
def _source(dialect: Vendor, *names: str) -> bytes:
    """The files of these parts as one document, in JSON."""
    words = {"VENDOR": dialect, "SERVER_VERSION": VERSIONS[dialect][f"{dialect}-api"]}
    types = (SOURCE / "types.json").read_bytes()
    found: Json = {"components": {"schemas": msgspec.json.decode(types)}}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for name in names:
        text = (SOURCE / f"{name}.yaml").read_text(encoding="utf-8")
        for word, meant in words.items():
            text = text.replace(word, meant)
        _join(found, yaml.load(text, loader), name)
    return msgspec.json.encode(found)


def _join(found: Json, more: Mapping[str, Any], where: str) -> None:
    """Put what one part says to the rest: twice the same name is a mistake in the source."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(found.setdefault(key, {}), dict):
            _join(found[key], value, f"{where}: {key}")
        elif key in found:
            raise AssertionError(f"{where}: {key} is there already")
        else:
            found[key] = value


def _repositories_of_formats(paths: dict[str, Json]) -> None:
    """A format that is no chart has a repository of its own, with the same calls."""
    for path in [each for each in paths if each.startswith(_REPOSITORY)]:
        item: Json = msgspec.json.decode(msgspec.json.encode(paths[path]))
        for _, operation in _operations(item):
            operation["operationId"] += "OfFormat"
            operation["summary"] += " (of another format than charts)"
        paths[path.replace(_REPOSITORY, f"{_REPOSITORY}{{format}}/")] = item


def _operations(item: Json) -> Iterator[tuple[str, Json]]:
    return ((method, item[method]) for method in _METHODS if method in item)


def _complete(path: str, item: Json, parameters: Mapping[str, Json]) -> None:
    """Give a path what follows from its text, and its calls what all of their kind answer."""
    given = item.setdefault("parameters", [])
    named = {parameters[each["$ref"].rpartition("/")[2]]["name"] for each in given}
    given += [
        {"$ref": f"#/components/parameters/{name}"}
        for name in _IN_PATH.findall(path)
        if name not in named
    ]
    for method, operation in _operations(item):
        answers = _READ if method == "get" else _WRITE
        if method != "get":
            operation["security"] = [{"token": []}]
            operation["x-cnrmirror-where"] = ["serve --accept-push"]
        elif "x-cnrmirror-where" in operation:
            continue  # the process's own, and no file
        for status, name in answers.items():
            kind = "OciDamaged" if name == "Damaged" and path.startswith("/v2/") else name
            reference = {"$ref": f"#/components/responses/{kind}"}
            operation["responses"].setdefault(status, reference)


def _reached(found: Json) -> Json:
    """The components that something refers to."""
    components = found["components"]
    wanted = {("securitySchemes", "token")}
    queue: list[Any] = [found["paths"]]
    while queue:
        for pair in set(_REFERENCE.findall(msgspec.json.encode(queue.pop()).decode())) - wanted:
            wanted.add(pair)
            queue.append(components[pair[0]][pair[1]])
    return {
        kind: {name: each for name, each in some.items() if (kind, name) in wanted}
        for kind, some in components.items()
    }


class OpenApi(WithoutPackages):
    """The OpenAPI document as a view (``base.View``)."""

    name = "openapi"
    version = 1
    tops = (PATH,)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def fixed(self) -> Iterator[Resource]:
        """See ``base.View``."""
        yield Resource(PATH, to_json(document(self._settings)))
