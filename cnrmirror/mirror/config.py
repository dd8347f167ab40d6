"""``mirror.yaml``: the only file of a mirror that a person edits."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import yaml

from cnrmirror.archive import imagename
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InvalidDocument, UsageError
from cnrmirror.model.later import later
from cnrmirror.model.schema import schema_text
from cnrmirror.sources.acknowledge import Acknowledgement
from cnrmirror.sources.filters import glob_matches
from cnrmirror.sources.kind import SourceRules
from cnrmirror.views.hosts import listening
from cnrmirror.views.layout import Form
from cnrmirror.views.site import ViewSettings

if TYPE_CHECKING:
    from cnrmirror.sources import kinds
else:
    kinds = later("cnrmirror.sources.kinds")

FILE_NAME = "mirror.yaml"
_MAX_BYTES = 1 << 20
_PUBLIC_URL = re.compile(
    r"https?://(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[\w.~%+,=:@/-]*)?"
)
_SOURCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Hosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the generated server configurations need; ``root`` is where ``site/`` will lie.

    ``address``: a name or an address to listen on, IPv6 with brackets or without.
    """

    root: str = ""
    address: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8080


class Retention(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of the history stays: the last ``revisions``, and what is younger than ``grace_hours``.

    What is older goes by itself when revisions are made; ``gc`` also removes what commands that
    were killed have left.
    """

    revisions: int = 100
    grace_hours: float = 168


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is added to the images that charts name, and left out, where they are listed.

    ``add_for``: packages (globs, or regular expressions between slashes) → references, in which
    {appVersion} and {release} stand for those of the release. ``exclude``: globs, or regular
    expressions between slashes, of references that are written out in full.
    """

    add_for: dict[str, list[str]] = {}
    exclude: list[str] = []

    def problems(self) -> Iterator[tuple[str, str]]:
        """Each pattern or reference that cannot be: its key, and what is wrong with it."""
        for key, patterns in (("add_for", [*self.add_for]), ("exclude", self.exclude)):
            for pattern in patterns:
                try:
                    glob_matches("", pattern)
                except InvalidDocument as error:
                    yield key, error.message
        for pattern, references in self.add_for.items():
            for reference in references:
                if imagename.parse(filled(reference, "1", "1")) is None:
                    yield f"add_for.{pattern}", f"{reference}: not a reference of an image"


def filled(reference: str, app_version: str, release: str) -> str:
    """A reference of ``images.add_for`` for one release."""
    return reference.replace("{appVersion}", app_version).replace("{release}", release)


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Signer URIs (securesystemslib) of online keys that are not files; "" for files."""

    publish: str = ""
    refresh: str = ""


# What a source is, its kind says: ``load`` reads it, where there is one at all.
if TYPE_CHECKING:
    SourceConfig = SourceRules
else:
    SourceConfig = Any


class Hooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Commands (lists of words, no shell) that are run after something; see docs/sync.md."""

    before_sync: list[str] = []
    after_sync: list[str] = []


class PublishTo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place to publish to: ``to`` is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX,
    az://ACCOUNT/CONTAINER/PREFIX, or a folder (relative to the project).

    For folders: ``links`` (symlinks for aliases, else copies), ``portable`` (refuse names that
    exFAT or NTFS cannot hold), ``host`` (files that such a host wants). For buckets: the settings
    of the connection, and ``host: s3-website`` where its website endpoint is read, so that archives
    are redirects to the only copy. ``forms``: what buckets and such hosts have beside the archives,
    which only some clients ask for (docs/publish.md); ``pull: json`` and ``bare_prefix: true`` are
    older words for two of them.
    """

    to: str
    grace_minutes: Annotated[float, msgspec.Meta(ge=0, le=525600)] = 60
    links: bool = True
    portable: bool = False
    host: Literal["", "netlify", "cloudflare-pages", "github-pages", "s3-website"] = ""
    forms: list[Form] = []
    pull: Literal["archive", "json"] = "archive"
    bare_prefix: bool = False
    endpoint: str = ""
    region: str = ""
    profile: str = ""
    path_style: bool = True
    storage_class: str = ""
    encryption: Literal["", "AES256", "aws:kms"] = ""
    kms_key: str = ""
    checksums: bool = True
    request_payer: Literal["", "requester"] = ""

    @property
    def wanted(self) -> list[Form]:
        """The forms, also those in older words; each once."""
        older: list[Form] = []
        if self.pull == "json":
            older.append("json")
        if self.bare_prefix:
            older.append("bare")
        return list(dict.fromkeys([*self.forms, *older]))


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of mirror.yaml. ``id`` tells this registry from every other.

    ``follow``: the root file of a mirror whose state this one takes over, as it was signed there.
    """

    id: str
    url: str = ""
    views: ViewSettings = ViewSettings()
    hosts: Hosts = Hosts()
    retention: Retention = Retention()
    limits: Limits = Limits()
    trust: Trust = Trust()
    sources: dict[str, SourceConfig] = {}
    acknowledge: list[Acknowledgement] = []
    images: Images = Images()
    hooks: Hooks = Hooks()
    publish: dict[str, PublishTo] = {}
    follow: str = ""
    lock_wait_seconds: float = 60


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
    try:
        value: Any = yaml.load(data, Loader=StrictLoader)
        config = msgspec.convert(value, Config)
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
        if not 0 <= config.retention.grace_hours < 1e6:
            raise InvalidDocument("not a number of hours - at `$.retention.grace_hours`")
    except (msgspec.ValidationError, InvalidDocument) as error:
        message = str(error)
        line = _line(data, message)
        raise InvalidDocument(f"{path}:{line}: {message}; see docs/configuration.md") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidDocument(f"{path}:{line}: {error.problem}; not YAML as it must be") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {error}; see docs/configuration.md") from error
    return msgspec.structs.replace(config, url=config.url.rstrip("/"), sources=sources)


def _wrong_url(url: str) -> str:
    """What is wrong with a public address; "" if nothing is."""
    if not url.startswith(("http://", "https://")):
        return "url must begin with https:// or http://"
    host = url.partition("://")[2].partition("/")[0]
    if "@" in host:
        return "an address without user and password: it stands in public files, for everybody"
    if not _PUBLIC_URL.fullmatch(url):
        return (
            "not an address to put paths after: https://HOST or https://HOST:PORT/PATH, no ?, no #"
        )
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    return "no such port" if port == 0 else ""


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
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
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
        source: SourceRules = msgspec.convert(given, _of_any_kind())
    except msgspec.ValidationError as error:
        reason, _, key = str(error).partition(" - at `$")
        raise InvalidDocument(f"{reason} - at `$.sources.{name}{key.rstrip('`')}`") from error
    for key, reason in (*source.problems(), *kinds.kind_of(source).check(source)):
        raise InvalidDocument(f"{reason} - at `$.sources.{name}{'.' + key if key else ''}`")
    return source


@functools.cache
def _of_any_kind() -> Any:
    return functools.reduce(operator.or_, [kind.settings for kind in kinds.KINDS])


def _line(data: bytes, message: str) -> int:
    """The line of the key that a message of msgspec names (``… - at `$.views.dialect```)."""
    match = re.search(r"at `\$([^`]*)`", message)
    keys = re.findall(r"\.([^.\[]+)", match[1]) if match else []
    unknown = re.search(r"unknown field `([^`]+)`", message)
    keys += [unknown[1]] if unknown else []
    node = yaml.compose(data, Loader=yaml.SafeLoader)
    line = 1
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(k, v) for k, v in pairs if str(k.value) == key]
        if key == "..." and len(pairs) == 1:
            found = pairs
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


def where_in_yaml(folder: Path, key: str) -> str:
    """File and line of a key (``$.sources.quay.ca_file``) in a project's mirror.yaml."""
    path = folder / FILE_NAME
    try:
        return f"{path}:{_line(path.read_bytes(), f'at `{key}`')}"
    except (OSError, yaml.YAMLError):
        return str(path)


def schema() -> str:
    """The JSON Schema of mirror.yaml (draft 2020-12), as text."""
    found = msgspec.json.schema(Config)
    parts = found.pop("$defs")
    (source,), more = msgspec.json.schema_components(
        [_of_any_kind()], ref_template="#/$defs/{name}"
    )
    parts["Config"]["properties"]["sources"]["additionalProperties"] = source
    return schema_text("mirror.yaml of cnrmirror", found, {**parts, **more})


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
# A cnrmirror project. Every key, with its default: docs/configuration.md
id: {identity}

# The public address of site/, if there is one: https://packages.example.com
url: ""
"""
