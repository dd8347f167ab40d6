"""What a kind of source is: the settings that mirror.yaml takes, their check, and how it is opened.

A kind is one module that ends in ``KIND``, and one entry of ``kinds.KINDS``. Every command loads
these modules with mirror.yaml, so what only an opened source needs comes from its ``SourceRoom``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from cnrmirror.archive.scan import Limits
from cnrmirror.model.errors import InvalidName
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import PackageName, Vendor
from cnrmirror.objects.base import Reader, WebReader, misplaced
from cnrmirror.sources.base import Source
from cnrmirror.sources.filters import Filter

if TYPE_CHECKING:
    from cnrmirror.client.remote import Remote
    from cnrmirror.objects.certificates import Tls

Problem = tuple[str, str]
"""The key of a source's settings ("" for all of them), and what is wrong with it."""
Positive = Annotated[float, msgspec.Meta(gt=0, le=86400)]
S = TypeVar("S", bound="SourceRules")


class SourceRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every source may say; see ``sync.plan.Rules``.

    ``names``: upstream name → name here, each ``ns/name`` or ``ns/*``. ``parallel``: how many
    requests are made at a time.
    """

    deletes: Literal["keep", "follow"] = "keep"
    changes: Literal["freeze", "accept", "fail"] = "freeze"
    max_shrink: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    filter: Filter = Filter()
    names: dict[str, str] = {}
    parallel: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4

    def problems(self) -> Iterator[Problem]:
        """What the types alone do not say of the settings that every source has."""
        for key, reason in self.filter.problems():
            yield f"filter.{key}", reason
        for pair in self.names.items():
            for name in pair:
                yield from bad_name(
                    "names", f"{name.removesuffix('/*')}/x" if name.endswith("/*") else name
                )


class Web(SourceRules, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every source behind HTTP may say.

    ``authorization_env`` or ``authorization_file`` name where the whole value of the header is:
    ``Bearer …``, ``Basic …``, ``token …``. ``rate``: requests a second at most; 0 for no limit.
    ``ca_file``: certificates of authorities; ``client_certificate`` (and ``client_key``, if it is
    not in the same file): what the source's own host is shown. ``allow_private``: go where a public
    host leads, also into this network.
    """

    authorization_env: str = ""
    authorization_file: str = ""
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    allow_private: bool = False
    timeout_seconds: Positive = 20
    rate: Annotated[float, msgspec.Meta(ge=0)] = 0

    def problems(self) -> Iterator[Problem]:
        yield from super().problems()
        if self.authorization_env and self.authorization_file:
            yield "authorization_file", "one of authorization_env and authorization_file"
        if self.client_key and not self.client_certificate:
            yield "client_key", "the key of no client_certificate"


def bad_name(key: str, name: str) -> Iterator[Problem]:
    """A problem if no package can be called so."""
    try:
        PackageName.parse(name)
    except InvalidName as error:
        yield key, error.message


def bad_namespace(key: str, namespace: str) -> Iterator[Problem]:
    """A problem if no namespace can be called so."""
    return bad_name(key, f"{namespace}/x")


def bad_url(key: str, url: str) -> Iterator[Problem]:
    """A problem if it is no web address, or has a password in it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
        with_password = parts.username is not None
    except ValueError:
        good = with_password = False
    if with_password:
        yield key, "no user and password here: use authorization_env or _file"
    elif not good:
        yield key, "an address with https:// or http:// is needed"
    else:
        yield from bad_base(key, url)


def bad_base(key: str, url: str) -> Iterator[Problem]:
    """A problem if paths cannot be put after an address."""
    if reason := misplaced(url):
        yield key, reason


class SourceRoom(Protocol):
    """What a source finds around it when it is opened."""

    def path(self, text: str) -> Path:
        """What a path in mirror.yaml means: relative to the mirror's folder, ``~`` is the home."""

    def secret(self, key: str, variable: str) -> str:
        """What an environment variable holds that a key of the settings names.

        "" where secrets are not looked for. Raises InputError if it is not set.
        """

    @property
    def limits(self) -> Limits:
        """How large a package may be."""

    @property
    def vendor(self) -> Vendor:
        """Whose media types a manifest gets that the source does not have."""

    @property
    def cache(self) -> Path:
        """Where this source keeps what may be deleted at any time."""

    @property
    def making(self) -> Path:
        """Where files in the making are, on the same file system."""

    def http(self, url: str, settings: Web, static: bool = False) -> WebReader:
        """Reads below an address, with the credentials and limits of the settings.

        Args:
            static: it is a static host, which may answer 403 for what is missing.

        Raises:
            InputError: a file or variable that they name is not there.
        """

    def tls(self, settings: Web) -> Tls:
        """The certificates of the settings. Raises InputError if a file is not there."""

    def located(self, location: str) -> str:
        """A bucket's address as it is, a folder below the mirror's own; InputError for others."""

    def reader(self, location: str) -> Reader:
        """Reads another mirror: an address, a bucket, or a folder. Raises InputError."""

    def verifying(self, root: str, at: Instant | None = None) -> Callable[[Reader], Remote]:
        """Verifies a mirror from a pinned root file, and remembers what it has seen of it.

        What it gives raises Rollback or Equivocation for a mirror that is older, or another, than
        what the catalog says that this source was synced from.

        Args:
            root: the file.
            at: the moment to verify for; now if it is None.

        Raises:
            InputError: the root file is not there, or is none.
        """


class Kind(Protocol[S]):
    """A kind of source."""

    settings: type[S]
    """What mirror.yaml may say of it; the struct's tag is its ``type``."""

    def check(self, settings: S) -> Iterator[Problem]:
        """What the types alone do not say of its own settings."""

    def open(self, name: str, settings: S, room: SourceRoom) -> Source:
        """The source of this name. Nothing is asked for yet.

        Raises:
            InputError: something that it needs is not there.
        """


AnyKind = Kind[Any]
