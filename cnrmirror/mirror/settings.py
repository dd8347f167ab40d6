"""The settings of mirror.yaml: what each part of it may hold."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from cnrmirror.archive import imagename
from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.model.later import later
from cnrmirror.sources.acknowledge import Acknowledgement
from cnrmirror.sources.filters import glob_matches
from cnrmirror.sources.kind import SourceRules
from cnrmirror.views.layout import Form
from cnrmirror.views.site import ViewSettings

if TYPE_CHECKING:
    from cnrmirror.sources import kinds
else:
    kinds = later("cnrmirror.sources.kinds")


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
                    yield f"add_for.{pattern}", f"{reference}: not an image reference"


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


class StoreAt(PublishTo, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the mirror itself is, if not in the project's folder: the keys of a publish target.

    ``cache_mib``: how much of it may stay on this machine. ``memory``: a private place, of the same
    service, for what machines that come and go would forget.
    """

    cache_mib: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] = 1024
    memory: str = ""


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
    store: StoreAt | None = None
    follow: str = ""
    lock_wait_seconds: float = 60


@functools.cache
def any_source() -> Any:
    """The type of a source's settings: those of every kind; it loads them all."""
    return functools.reduce(operator.or_, [kind.settings for kind in kinds.KINDS])
