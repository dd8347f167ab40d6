"""What a source of one project finds around it: files, secrets, caches, memory, connections."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from cnrmirror.archive.scan import Limits
from cnrmirror.client.remote import Remote
from cnrmirror.mirror import config
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InputError, NotTrusted
from cnrmirror.model.instant import Instant
from cnrmirror.model.names import Vendor
from cnrmirror.objects.access import Access
from cnrmirror.objects.base import Reader
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.http import HttpReader, Patience
from cnrmirror.objects.scheme import FOLDER, scheme_of
from cnrmirror.sources.kind import Web
from cnrmirror.sources.mirror import refuse_older, upstream_of
from cnrmirror.sync.meter import Meter
from cnrmirror.trust.verify import Policy, Trust

R = TypeVar("R", bound=Reader)
_ADVICE = "give credentials with authorization_env or authorization_file"
_GIVE_UP_AFTER = 8  # requests that failed one after the other, each tried three times


class Around(NamedTuple):
    """What there is around a source: see ``SourceRoom``; paths are seen from ``folder``."""

    folder: Path
    limits: Limits
    vendor: Vendor
    cache: Path
    making: Path


class Room:
    """See ``SourceRoom``; without a mirror, so that no other mirror can be verified.

    Args:
        name: the source's.
        around: what there is.
        environment: where secrets are named; None: they are not looked for.
        reader_for: reads another mirror's location.
        meter: counts what is asked.
    """

    def __init__(
        self,
        name: str,
        around: Around,
        environment: Mapping[str, str] | None,
        reader_for: Callable[[str], Reader],
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Meter()
        self._name = name
        self._reader_for = reader_for
        self._environment = environment
        self.folder, self.limits, self.vendor, self.cache, self.making = around

    def path(self, text: str) -> Path:
        """See ``SourceRoom``."""
        return self.folder / os.path.expanduser(text)

    def located(self, location: str) -> str:
        """See ``SourceRoom``."""
        is_folder = scheme_of(location, ("https://…",)) is FOLDER
        return str(self.path(location)) if is_folder else location

    def reader(self, location: str) -> Reader:
        """See ``SourceRoom``."""
        return self._watched(self._reader_for(location))

    def verifying(self, root: str, at: Instant | None = None) -> Callable[[Reader], Remote]:
        """See ``SourceRoom``; nothing is verified here."""

        def refuse(reader: Reader) -> Remote:
            raise InputError(f"source {self._name}: {reader.name} cannot be verified here")

        return refuse

    def http(self, url: str, settings: Web, static: bool = False) -> HttpReader:
        """See ``SourceRoom``."""
        headers = {}
        setting = "authorization_env" if settings.authorization_env else "authorization_file"
        if authorization := self._authorization(settings):
            headers["Authorization"] = authorization
        access = Access(
            self._name, setting if authorization else "the address", _ADVICE, static,
            settings.allow_private, self.tls(settings),
        )  # fmt: skip
        patience = Patience(
            settings.timeout_seconds, rate=settings.rate, give_up_after=_GIVE_UP_AFTER
        )
        return self._watched(HttpReader(url, patience, headers, access))

    def _watched(self, reader: R) -> R:
        self._meter.watch(self._name, reader)
        return reader

    def tls(self, settings: Web) -> Tls:
        """See ``SourceRoom``."""
        return Tls(
            self._certificates("ca_file", settings.ca_file),
            certificate=self._certificates("client_certificate", settings.client_certificate),
            key=self._certificates("client_key", settings.client_key),
        )

    def secret(self, key: str, variable: str) -> str:
        """See ``SourceRoom``."""
        if self._environment is None:
            return ""
        value = self._environment.get(variable)
        if not value:
            raise self._lacks(key, f"the variable {variable} is not set")
        return value

    def _certificates(self, key: str, text: str) -> str:
        """A file that a key names; "" if it names none."""
        path = self.path(text)
        if text and not path.is_file():
            raise self._lacks(key, f"{path}: there is no such file of certificates")
        return str(path) if text else ""

    def _authorization(self, settings: Web) -> str:
        if variable := settings.authorization_env:
            value = self.secret("authorization_env", variable)
            return _header(value, variable) if value else ""
        if not settings.authorization_file or self._environment is None:
            return ""
        path = self.path(settings.authorization_file)
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}"
            raise self._lacks("authorization_file", reason) from error
        return _header(value, str(path))

    def _lacks(self, key: str, reason: str) -> InputError:
        """The error for what a key of the source names and is not there."""
        key = f"sources.{self._name}.{key}"
        return InputError(f"{config.where_in_yaml(self.folder, key)}: {key}: {reason}")


class OwnRoom(Room):
    """The room of a source of one mirror.

    Args:
        project: the mirror.
        name, environment, reader_for, meter: see ``Room``.
    """

    def __init__(
        self,
        project: Project,
        name: str,
        environment: Mapping[str, str] | None,
        reader_for: Callable[[str], Reader],
        meter: Meter | None = None,
    ) -> None:
        layout, config = project.layout, project.config
        cache, making = layout.upstream_cache(name), layout.making
        around = Around(project.folder, config.limits, config.views.dialect, cache, making)
        super().__init__(name, around, environment, reader_for, meter)
        self._project = project

    def verifying(self, root: str, at: Instant | None = None) -> Callable[[Reader], Remote]:
        """See ``SourceRoom``."""
        layout = self._project.layout
        try:
            pinned = self.path(root).read_bytes()
            trust = Trust(pinned, layout.trust_cache, layout.trust_memory)
        except OSError as error:
            raise InputError(f"source {self._name}: {root}: {error.strerror}") from error
        except NotTrusted as error:
            raise InputError(f"source {self._name}: {root}: {error.message}") from error

        def verified(reader: Reader) -> Remote:
            recorded = self._project.root().upstreams.get(self._name)
            now = datetime.now(UTC)
            with trust.look(reader, Policy(at.at if at else None), now) as look:
                # What is refused must not take the place of what was remembered.
                refuse_older(reader.name, recorded, upstream_of(look.verified))
                look.accept()
            return Remote(reader, look.verified)

        return verified


def _header(value: str, where: str) -> str:
    """A value that can stand in a header; what it is, is never said."""
    if not value.isascii() or not value.isprintable() or not value.strip():
        raise InputError(
            f"{where}: what it holds cannot be the value of a header: it must be one line"
        )
    return value.strip()
