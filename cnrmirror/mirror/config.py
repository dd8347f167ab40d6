"""``mirror.yaml``: the only file of a mirror that a person edits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import yaml

from cnrmirror.mirror.settings import Config, PublishTo, any_source
from cnrmirror.model import typed
from cnrmirror.model.errors import InvalidDocument, UsageError
from cnrmirror.model.later import later
from cnrmirror.sources.kind import SourceRules
from cnrmirror.views.hosts import listening

if TYPE_CHECKING:
    from cnrmirror.mirror import schema
    from cnrmirror.sources import kinds
else:
    schema = later("cnrmirror.mirror.schema")
    kinds = later("cnrmirror.sources.kinds")

FILE_NAME = "mirror.yaml"
SCHEMA_FILE = ".state/mirror.schema.json"
_MAX_BYTES = 1 << 20
_PUBLIC_URL = re.compile(
    r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[\w.~%+,=:@/-]*)?"
)
_HELP = "see 'cnrmirror help configuration'"
_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def load(path: Path) -> Config:
    """The configuration in a file.

    Raises:
        InvalidDocument: not YAML, unknown keys or wrong values; the message names the key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidDocument(f"{path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise InvalidDocument(f"{path}: larger than {_MAX_BYTES} bytes")
    value: Any = None
    try:
        value = yaml.load(data, Loader=StrictLoader)
        config = typed.convert(value, Config)
        sources = {name: _source(name, given) for name, given in config.sources.items()}
        for name in config.publish:
            if not _SOURCE_NAME.fullmatch(name):
                raise InvalidDocument(f"use letters, digits, '-' and '_' - at `$.publish.{name}`")
        for key, reason in config.images.problems():
            raise InvalidDocument(f"{reason} - at `$.images.{key}`")
        try:
            listening(config.hosts.address)
        except InvalidDocument as error:
            raise InvalidDocument(f"{error.message} - at `$.hosts.address`") from error
        if config.url and (reason := _wrong_url(config.url)):
            raise InvalidDocument(f"{reason} - at `$.url`")
        if config.store and config.follow:
            raise InvalidDocument("what follows another mirror has its own site - at `$.store`")
        if not 0 <= config.retention.grace_hours < 1e6:
            raise InvalidDocument("not a number of hours - at `$.retention.grace_hours`")
    except (msgspec.ValidationError, InvalidDocument) as error:
        reason, key = _parted(str(error), value)
        unknown = re.search(r"unknown field `([^`]+)`", reason)
        line = _line(data, f"{key}.{unknown[1]}" if unknown else key)
        if isinstance(error, msgspec.ValidationError):
            reason = schema.explained(reason, key, value)
        name = f"{key}: " if key else ""
        raise InvalidDocument(f"{path}:{line}: {name}{reason}; {_HELP}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidDocument(f"{path}:{line}: {error.problem}; not valid YAML") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {error}; {_HELP}") from error
    return msgspec.structs.replace(config, url=config.url.rstrip("/"), sources=sources)


def _wrong_url(url: str) -> str:
    """What is wrong with a public address; "" if nothing is."""
    if not url.startswith(("http://", "https://")):
        return "url must begin with https:// or http://"
    host = url.partition("://")[2].partition("/")[0]
    if "@" in host:
        return "leave user and password out: the address is written into public files"
    if not _PUBLIC_URL.fullmatch(url):
        return (
            "not an address to put paths after: https://HOST or https://HOST:PORT/PATH, no ?, no #"
        )
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    return "its port is not one" if port == 0 else ""


class StrictLoader(yaml.SafeLoader):
    """Safe, and strict: a key that stands twice is an error, a date stays the text that it is."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [r for r in resolvers if r[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _source(name: str, given: Any) -> SourceRules:
    """The settings of a source. Raises InvalidDocument, naming the key."""
    if not _SOURCE_NAME.fullmatch(name) or name in ("push", "import"):
        reason = "a source's name: letters, digits, '-' and '_'; not 'push' or 'import'"
        raise InvalidDocument(f"{reason} - at `$.sources.{name}`")
    try:
        source: SourceRules = typed.convert(given, any_source())
    except msgspec.ValidationError as error:
        reason, _, key = str(error).partition(" - at `$")
        where = f"$.sources.{name}{key.rstrip('`')}"
        raise msgspec.ValidationError(f"{reason} - at `{where}`") from error
    for key, reason in (*source.problems(), *kinds.kind_of(source).check(source)):
        raise InvalidDocument(f"{reason} - at `$.sources.{name}{'.' + key if key else ''}`")
    return source


def _parted(message: str, value: Any) -> tuple[str, str]:
    """A message of msgspec's form, in its reason and the key: ``publish.production.host``."""
    reason, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    if path.startswith("publish[...]"):  # of which it does not say the name
        path = path.replace("[...]", f".{_wrong_target(value['publish'])}", 1)
    return reason, path


def _wrong_target(targets: dict[str, Any]) -> str:
    for name, target in targets.items():
        try:
            typed.convert(target, PublishTo)
        except msgspec.ValidationError:
            return name
    return ""


def _line(data: bytes, key: str) -> int:
    """The line of a key (``sources.quay.type``), or of the last part of it that is there."""
    node = yaml.compose(data, Loader=yaml.SafeLoader)
    line = 1
    for part in re.findall(r"[^.\[\]]+", key):
        if isinstance(node, yaml.SequenceNode) and part.isdecimal():
            node = node.value[int(part)]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(k, v) for k, v in pairs if str(k.value) == part]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def where_in_yaml(folder: Path, key: str) -> str:
    """File and line of a key (``sources.quay.ca_file``) in a project's mirror.yaml."""
    path = folder / FILE_NAME
    try:
        return f"{path}:{_line(path.read_bytes(), key)}"
    except (OSError, yaml.YAMLError):
        return str(path)


def find_project(start: Path) -> Path:
    """The nearest folder, from ``start`` upwards, with a mirror.yaml. Raises UsageError."""
    if not start.is_dir():
        raise UsageError(f"{start}: there is no such folder")
    for folder in (start, *start.resolve().parents):
        if (folder / FILE_NAME).is_file():
            return folder
    raise UsageError(
        f"{start}: neither here nor above is a {FILE_NAME}; "
        "make a mirror with 'cnrmirror init DIR', or name one with -C DIR"
    )


def first_text(identity: str) -> str:
    """What ``init`` writes."""
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# A cnrmirror project. Every key, with its default: cnrmirror help configuration
id: {identity}

# The public address of site/, if there is one: https://packages.example.com
url: ""
"""
