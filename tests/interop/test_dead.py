"""The damage table of dead registries on real Redis and real etcd."""

from __future__ import annotations

import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py

from cnrmirror.objects.http import HttpReader
from cnrmirror.sources.keys import EtcdKeys, RedisKeys
from cnrmirror.sources.keyvalue import KeyValueSource
from tests.dead import DAMAGES, Damage, Store, datastore
from tests.interop.test_sync import store_running
from tests.mirrors import make

pytestmark = pytest.mark.interop
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def address(number: int) -> str:
    """An address of this run alone: the stores know one port."""
    return f"127.{os.getpid() % 250 + 2}.{os.getpid() // 250 % 250}.{number}"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_py.Redis]:
    host = address(21)
    with store_running("redis", host, tmp_path_factory.mktemp("redis")):
        with redis_py.Redis(host=host) as client:
            yield client


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    host = address(22)
    with store_running("etcd", host, tmp_path_factory.mktemp("etcd")):
        yield f"http://{host}:2379"


def ask(url: str, method: str, **fields: str) -> None:
    data = urllib.parse.urlencode(fields).encode()
    request = urllib.request.Request(url, data, method=method)
    with _OPENER.open(request, timeout=20) as answer:
        answer.read()


def damaged(damage: Damage) -> Store:
    store = datastore()
    damage.act(store)
    return store


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_in_redis_what_is_whole_is_rescued(
    damage: Damage, redis: redis_py.Redis, tmp_path: Path
) -> None:
    redis.flushall()
    redis.mset(damaged(damage))
    redis.mset({f"unrelated:{number}": "x" for number in range(3000)})
    damage.check(make(tmp_path / "mirror", "dead"), KeyValueSource("dead", RedisKeys(redis)))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_in_etcd_what_is_whole_is_rescued(damage: Damage, etcd: str, tmp_path: Path) -> None:
    for key, value in damaged(damage).items():
        ask(f"{etcd}/v2/keys/{urllib.parse.quote(key)}", "PUT", value=value.decode())
    http = HttpReader(etcd)
    try:
        damage.check(make(tmp_path / "mirror", "dead"), KeyValueSource("dead", EtcdKeys(http)))
    finally:
        http.close()
        for top in {key.partition("/")[0] for key in damaged(damage)}:
            ask(f"{etcd}/v2/keys/{top}?recursive=true", "DELETE")
