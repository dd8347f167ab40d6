"""The shapes of what --json prints, by command: docs/json.md and docs/json.schema.json."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from cnrmirror.airgap.adopt import Adopted, WouldAdopt
from cnrmirror.airgap.arrive import Imported
from cnrmirror.audit.report import Audit
from cnrmirror.bundle.format import Contents
from cnrmirror.catalog.changes import Change
from cnrmirror.cli.build import Rendered, WouldRender
from cnrmirror.cli.changing import Changed, WouldChange
from cnrmirror.cli.checkhere import CheckedHere
from cnrmirror.cli.cluster import Certificates
from cnrmirror.cli.config import ConfigChecked
from cnrmirror.cli.export import ExportPlan
from cnrmirror.cli.gc import Collected
from cnrmirror.cli.keys import KeyRow, KeysRotated, Renewed, WouldRotate
from cnrmirror.cli.log import LogEntry
from cnrmirror.cli.refresh import Refreshed, WouldRefresh
from cnrmirror.cli.root import ProposalTold
from cnrmirror.cli.sync import OnlyFetched
from cnrmirror.cli.upgrade import Upgraded, WouldUpgrade
from cnrmirror.client.pull import Pulled, WouldPull
from cnrmirror.client.signatures import Verdict
from cnrmirror.mirror.create import Made, MadeFollower
from cnrmirror.mirror.images import Listing
from cnrmirror.mirror.purge import Holding, Purged
from cnrmirror.mirror.push import Report
from cnrmirror.model import errors
from cnrmirror.model.documents import Channel, Image, PackageDocument
from cnrmirror.model.errors import CnrMirrorError
from cnrmirror.model.finding import Finding
from cnrmirror.model.schema import schema_text
from cnrmirror.model.versions import Versions
from cnrmirror.publish.cost import Cost
from cnrmirror.publish.engine import Published
from cnrmirror.publish.plan import Plan
from cnrmirror.sync.report import SourceReport, SyncReport
from cnrmirror.trust.rotation import Status
from cnrmirror.views.cnr_v1 import ListEntry


class Signed(msgspec.Struct):
    """Which kinds of signatures a release carries; not whether they are good."""

    release: str
    media_type: str
    signatures: list[str]


class Described(PackageDocument, frozen=True, tag="package", kw_only=True):
    """A package as it stands in the catalog, with what was worked out of it.

    ``images``: those that its newest release names. ``left_out``: what of it Helm and OCI clients
    cannot have. ``verified``: with --verify-provenance or --cosign-key, what came of it.
    """

    images: list[Image]
    signatures: list[Signed]
    left_out: list[str]
    verified: list[Verdict] = msgspec.field(default_factory=list)


class Topic(msgspec.Struct):
    """A document of ``cnrmirror help``."""

    topic: str
    title: str


class TopicText(msgspec.Struct):
    """A document's text, in Markdown."""

    text: str


class Failure(msgspec.Struct):
    """What is printed where a command fails; ``details`` are of the error's kind."""

    code: str
    message: str
    details: dict[str, Any]


class Event(msgspec.Struct):
    """How far long work is, a line each on standard error; ``total``: null if nobody knows.

    ``total_bytes``: null where only steps are counted. ``about``: the totals are estimates.
    """

    event: Literal["start", "progress", "finish"]
    label: str
    done: int
    total: int | None
    bytes: int
    total_bytes: int | None
    about: bool
    seconds: float


_CHANGE = (Changed, WouldChange)
SHAPES: dict[str, tuple[Any, ...]] = {
    "--version": (Versions,),
    "init": (Made, MadeFollower),
    "adopt": (Adopted, WouldAdopt),
    "help": (list[Topic], TopicText),
    "push": (Report,),
    "channel list": (list[Channel],),
    "channel set": _CHANGE,
    "channel remove": _CHANGE,
    "remove": (*_CHANGE, Purged, Holding),
    "rollback": _CHANGE,
    "list": (list[ListEntry],),
    "show": (Described,),
    "search": (list[str],),
    "images": (Listing,),
    "log": (list[LogEntry],),
    "diff": (list[Change],),
    "cost": (list[Cost],),
    "sync": (SyncReport, OnlyFetched),
    "cluster certificates": (Certificates,),
    "report": (list[SourceReport],),
    "publish": (Published, Plan, list[Finding]),
    "pull": (Pulled, WouldPull),
    "export": (Contents, ExportPlan),
    "import": (Imported,),
    "check": (CheckedHere, Audit, list[Audit]),
    "build": (Rendered, WouldRender),
    "gc": (Collected,),
    "config check": (ConfigChecked,),
    "config show": (dict[str, Any],),
    "upgrade": (Upgraded, WouldUpgrade),
    "refresh": (Refreshed, WouldRefresh),
    "keys list": (list[KeyRow],),
    "keys rotate": (KeysRotated, WouldRotate),
    "keys renew": (Renewed,),
    "root propose": (ProposalTold,),
    "root sign": (ProposalTold,),
    "root status": (ProposalTold,),
    "root publish": (Status,),
}
"""Of several targets, publish prints a list of what it prints of one."""
NO_JSON = {
    "completion": "prints a script",
    "have": "prints a signed statement, which is JSON by itself: docs/airgap.md",
    "serve": "answers HTTP",
    "config schema": "prints a JSON Schema",
}


def _types() -> list[Any]:
    found = [kind for kinds in SHAPES.values() for kind in kinds] + [Failure, Event]
    return [kind for n, kind in enumerate(found) if kind not in found[:n]]


@functools.cache
def components() -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each command's output, and the parts that they refer to."""
    kinds = _types()
    some, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    by_kind = list(zip(kinds, some, strict=True))

    def of(kind: Any) -> Any:
        return next(found for each, found in by_kind if each is kind or each == kind)

    found: dict[str, Any] = {
        name: {"anyOf": [of(kind) for kind in kinds]} for name, kinds in SHAPES.items()
    }
    one = found["publish"]
    found["publish"] = {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}
    return found | {"error": of(Failure), "event": of(Event)}, parts


def schema() -> str:
    """docs/json.schema.json: ``$defs/command:NAME`` is what ``--json NAME`` prints."""
    found, parts = components()
    named = {f"command:{name.replace(' ', '-')}": each for name, each in found.items()}
    return schema_text("cnrmirror --json", {"$id": "urn:cnrmirror:json:1"}, {**parts, **named})


_HEAD = """\
# What --json prints

This page is for scripts that run cnrmirror. With `--json`, every command prints one JSON document
on standard output, and nothing else there. [json.schema.json](json.schema.json) has a schema for
each command (`#/$defs/command:push`, `command:channel-set`); tests compare the output of the
commands with it. Later versions may add fields, but do not remove one or change its meaning. Times
are ISO 8601 in UTC without an offset, as the registry writes them; sizes are bytes; digests are
sha256 in hex.

A command that fails prints an object with `code`, `message` and `details` on standard output and
its message on standard error, and ends with one of the [exit codes](exit-codes.md). Long-running
commands print their progress on standard error, one object a line ([Event](#event)).
"""


def page() -> str:
    """docs/json.md."""
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    _, parts = components()
    yield "\n## Commands\n\n| command | prints |\n|---|---|\n"
    for name, kinds in SHAPES.items():
        yield f"| `{name}` | {' or '.join(map(_named, kinds))} |\n"
    for name, reason in NO_JSON.items():
        yield f"| `{name}` | {reason} |\n"
    yield "\n## Codes of errors\n\n| code | exit code | when |\n|---|---|---|\n"
    for (exit_code, code), when in sorted(_codes().items()):
        yield f"| `{code}` | {exit_code} | {' '.join(when)} |\n"
    yield "\n## Shapes\n"
    for name, part in sorted(parts.items()):
        if "properties" in part:
            yield f"\n### {name}\n\n{_meaning(part)}\n\n| field | type |\n|---|---|\n"
            for key, value in part["properties"].items():
                optional = "" if key in part.get("required", ()) else ", may be left out"
                yield f"| `{key}` | {_type(value)}{optional} |\n"


def _codes() -> dict[tuple[int, str], list[str]]:
    """The errors by exit code and code, with what they say of themselves."""
    found: dict[tuple[int, str], list[str]] = {}
    for kind in vars(errors).values():
        if (
            inspect.isclass(kind)
            and issubclass(kind, CnrMirrorError)
            and kind is not CnrMirrorError
        ):
            when = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            found.setdefault((kind.exit_code, kind.code), []).append(when)
    return found


def _meaning(part: dict[str, Any]) -> str:
    text = inspect.cleandoc(part.get("description", ""))
    return re.sub(r"^(\w+(?:, \w+)*): ", r"- `\1`: ", text, flags=re.M).replace("``", "`")


def _named(kind: Any) -> str:
    if getattr(kind, "__origin__", None) is list:
        return f"a list of {_named(kind.__args__[0])}"
    if getattr(kind, "__origin__", None) is dict:
        return "an object"
    if kind is str:
        return "text"
    name = kind.__name__
    return f"[{name}](#{name.lower()})"


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        part = components()[1][name]
        return f"[{name}](#{name.lower()})" if "properties" in part else _type(part)
    if "anyOf" in value:
        return " or ".join(_type(each) for each in value["anyOf"])
    if "enum" in value:
        return " or ".join(f"`{word}`" for word in value["enum"])
    if "prefixItems" in value:
        return f"[{', '.join(map(_type, value['prefixItems']))}]"
    if value.get("type") == "array":
        return f"list of {_type(value.get('items', {}))}"
    if value.get("type") == "object":
        return f"object of {_type(value.get('additionalProperties') or {})}"
    kinds = value.get("type", "anything")
    return " or ".join(kinds) if isinstance(kinds, list) else kinds
