"""The sources of mirror.yaml, made into objects that can be asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnrmirror.client.remote import Remote
from cnrmirror.mirror import config
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InputError, NotTrusted, UsageError
from cnrmirror.objects.base import Reader
from cnrmirror.objects.http import HttpReader
from cnrmirror.objects.scheme import FOLDER, scheme_of
from cnrmirror.objects.store import Store
from cnrmirror.sources.backup import BackupSource
from cnrmirror.sources.base import Source
from cnrmirror.sources.charts import ChartsSource
from cnrmirror.sources.helm import HelmSource
from cnrmirror.sources.keyvalue import EtcdKeys, FolderKeys, Keys, KeyValueSource, RedisKeys
from cnrmirror.sources.mirror import MirrorSource
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.sync.plan import Rules
from cnrmirror.trust.verify import Policy, Trust

_GIVE_UP_AFTER = 8  # requests that failed one after the other, each tried three times


def open_sources(
    project: Project,
    names: Sequence[str],
    environment: Mapping[str, str],
    reader_for: Callable[[str], Reader],
) -> list[tuple[Source, Rules]]:
    """The named sources of a mirror, or all, in the order of mirror.yaml.

    Args:
        environment: where ``authorization_env`` is looked up.
        reader_for: the fetcher of another mirror's location.

    Raises:
        UsageError: no such source, or none at all.
        InputError: a file or variable that it needs is not there.
    """
    known = project.config.sources
    if not known:
        raise UsageError(f"{project.folder}: mirror.yaml names no sources; see docs/sync.md")
    for name in names:
        if name not in known:
            raise UsageError(f"there is no source {name!r}; there are: {', '.join(known)}")
    return [
        (_source(project, name, each, environment, reader_for), _rules(each))
        for name, each in known.items()
        if not names or name in names
    ]


def _rules(source: config.SourceConfig) -> Rules:
    return Rules(source.deletes, source.changes, source.max_shrink, source.filter, source.names)


def _source(
    project: Project,
    name: str,
    source: config.SourceConfig,
    environment: Mapping[str, str],
    reader_for: Callable[[str], Reader],
) -> Source:
    limits, vendor = project.config.limits, project.config.views.dialect
    match source:
        case config.Registry():
            http = _http(project, name, source.url, source, environment)
            return RegistrySource(
                name, http, source.packages, source.namespaces, limits.packed, source.parallel,
                source.enumerate, project.layout.upstream_cache(name),
            )  # fmt: skip
        case config.Helm():
            http = _http(project, name, source.url, source, environment)
            return HelmSource(name, http, source.namespace, vendor, limits.packed)
        case config.Charts():
            folder = project.folder / source.folder
            return ChartsSource(name, folder, source.namespace, vendor, limits)
        case config.Backup():
            return BackupSource(name, project.folder / source.file, limits.packed)
        case config.KeyValue():
            keys = _keys(project, name, source, environment)
            return KeyValueSource(name, keys, source.prefix, limits.packed)
        case config.Mirror():
            return _mirror(project, name, source, environment, reader_for)


def _lacks(project: Project, name: str, key: str, reason: str) -> InputError:
    """The error for what a key of a source names and is not there."""
    key = f"$.sources.{name}.{key}"
    return InputError(f"{config.place(project.folder, key)}: {reason} - at `{key}`")


def _http(
    project: Project, name: str, url: str, web: config.Web, environment: Mapping[str, str]
) -> HttpReader:
    headers = {}
    if web.authorization_env:
        value = environment.get(web.authorization_env)
        if not value:
            reason = f"the variable {web.authorization_env} is not set"
            raise _lacks(project, name, "authorization_env", reason)
        headers["Authorization"] = _header(value, web.authorization_env)
    elif web.authorization_file:
        path = project.folder / web.authorization_file
        try:
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}"
            raise _lacks(project, name, "authorization_file", reason) from error
        headers["Authorization"] = _header(value, str(path))
    verify: str | bool = True
    if web.ca_file:
        verify = str(project.folder / web.ca_file)
        if not Path(verify).is_file():
            reason = f"{verify}: there is no such file of certificates"
            raise _lacks(project, name, "ca_file", reason)
    return HttpReader(
        url, timeout=web.timeout_seconds, headers=headers, verify=verify, rate=web.rate,
        give_up_after=_GIVE_UP_AFTER,
    )  # fmt: skip


def _header(value: str, where: str) -> str:
    """A value that can stand in a header; what it is, is never said."""
    if not value.isascii() or not value.isprintable() or not value.strip():
        raise InputError(
            f"{where}: what it holds cannot be the value of a header: one line, please"
        )
    return value.strip()


def _keys(
    project: Project, name: str, source: config.KeyValue, environment: Mapping[str, str]
) -> Keys:
    if source.folder:
        return FolderKeys(project.folder / source.folder)
    if source.etcd:
        return EtcdKeys(_http(project, name, source.etcd, source, environment))
    try:
        redis: Any = importlib.import_module("redis")
    except ImportError as error:
        raise InputError("Redis needs another package: pip install 'cnrmirror[redis]'") from error
    password = None
    if source.password_env:
        password = environment.get(source.password_env)
        if not password:
            raise InputError(f"source {name}: the variable {source.password_env} is not set")
    try:
        client = redis.Redis.from_url(
            source.redis, socket_timeout=source.timeout_seconds, password=password
        )
    except ValueError as error:
        raise InputError(f"source {name}: not an address of Redis: {error}") from error
    return RedisKeys(client)


def _mirror(
    project: Project,
    name: str,
    source: config.Mirror,
    environment: Mapping[str, str],
    reader_for: Callable[[str], Reader],
) -> MirrorSource:
    location = source.location
    web_address = location.startswith(("https://", "http://"))
    if not web_address and scheme_of(location, ("https://…",)) is FOLDER:
        location = str(project.folder / location)
    try:
        pinned = (project.folder / source.root).read_bytes()
    except OSError as error:
        raise InputError(f"source {name}: {source.root}: {error.strerror}") from error
    try:
        trust = Trust(pinned, project.layout.trust_cache, project.layout.trust_memory)
    except NotTrusted as error:
        raise InputError(f"source {name}: {source.root}: {error.message}") from error

    web: Reader | None = None
    if web_address:
        web = _http(project, name, location, source, environment)

    def connect() -> Remote:
        fetcher = web or reader_for(location)
        return Remote(fetcher, trust.verify(fetcher, Policy(), datetime.now(UTC)))

    store = Store(project.layout.upstream_cache(name), project.layout.making)
    return MirrorSource(name, connect, store)
