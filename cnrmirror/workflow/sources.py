"""The sources of mirror.yaml, made into objects that can be asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cnrmirror import config
from cnrmirror.client import Remote
from cnrmirror.errors import InputError, UsageError
from cnrmirror.fetcher import HttpFetcher
from cnrmirror.interfaces import Fetcher, Source
from cnrmirror.sources.backup import BackupSource
from cnrmirror.sources.charts import ChartsSource
from cnrmirror.sources.helm import HelmSource
from cnrmirror.sources.keyvalue import EtcdKeys, FolderKeys, Keys, KeyValueSource, RedisKeys
from cnrmirror.sources.mirror import MirrorSource
from cnrmirror.sources.registry import RegistrySource
from cnrmirror.store import Store
from cnrmirror.verify import Policy, Trust
from cnrmirror.workflow.project import Project
from cnrmirror.workflow.sync import Rules


def open_sources(
    project: Project,
    names: Sequence[str],
    environment: Mapping[str, str],
    fetcher_for: Callable[[str], Fetcher],
) -> list[tuple[Source, Rules]]:
    """The named sources of a mirror, or all, in the order of mirror.yaml.

    Args:
        environment: where ``authorization_env`` is looked up.
        fetcher_for: the fetcher of another mirror's location.

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
        (_source(project, name, each, environment, fetcher_for), _rules(each))
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
    fetcher_for: Callable[[str], Fetcher],
) -> Source:
    limits, vendor = project.config.limits, project.config.views.dialect
    match source:
        case config.Registry():
            http = _http(project, source, environment)
            return RegistrySource(name, http, source.packages, source.namespaces, limits.packed)
        case config.Helm():
            http = _http(project, source, environment)
            return HelmSource(name, http, source.namespace, vendor, limits.packed)
        case config.Charts():
            folder = project.folder / source.folder
            return ChartsSource(name, folder, source.namespace, vendor, limits)
        case config.Backup():
            return BackupSource(name, project.folder / source.file)
        case config.KeyValue():
            return KeyValueSource(name, _keys(project, name, source), source.prefix, limits.packed)
        case config.Mirror():
            return _mirror(project, name, source, fetcher_for)


def _http(project: Project, web: config.Web, environment: Mapping[str, str]) -> HttpFetcher:
    headers = {}
    if web.authorization_env:
        value = environment.get(web.authorization_env)
        if not value:
            raise InputError(f"{web.url}: the variable {web.authorization_env} is not set")
        headers["Authorization"] = value
    elif web.authorization_file:
        headers["Authorization"] = _text(project.folder / web.authorization_file)
    verify: str | bool = str(project.folder / web.ca_file) if web.ca_file else True
    return HttpFetcher(
        web.url, timeout=web.timeout_seconds, headers=headers, verify=verify, rate=web.rate
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _keys(project: Project, name: str, source: config.KeyValue) -> Keys:
    chosen = [x for x in (source.folder, source.redis, source.etcd) if x]
    if len(chosen) != 1:
        raise InputError(f"source {name}: one of folder, redis and etcd is needed")
    if source.folder:
        return FolderKeys(project.folder / source.folder)
    if source.etcd:
        return EtcdKeys(HttpFetcher(source.etcd))
    try:
        redis: Any = importlib.import_module("redis")
    except ImportError as error:
        raise InputError("Redis needs another package: pip install 'cnrmirror[redis]'") from error
    try:
        return RedisKeys(redis.Redis.from_url(source.redis, socket_timeout=20))
    except ValueError as error:
        raise InputError(f"source {name}: {source.redis}: {error}") from error


def _mirror(
    project: Project, name: str, source: config.Mirror, fetcher_for: Callable[[str], Fetcher]
) -> MirrorSource:
    location = source.location
    if "://" not in location:
        location = str(project.folder / location)
    try:
        pinned = (project.folder / source.root).read_bytes()
    except OSError as error:
        raise InputError(f"source {name}: {source.root}: {error.strerror}") from error
    state = project.state / "trust"
    trust = Trust(pinned, state / "cache", state / "marks")

    def connect() -> Remote:
        fetcher = fetcher_for(location)
        return Remote(fetcher, trust.verify(fetcher, Policy(), datetime.now(UTC)))

    store = Store(project.state / "upstream" / name, project.state / "tmp")
    return MirrorSource(name, connect, store)
