"""Web addresses: the credentials in them, the host that they name, its proxies."""

from __future__ import annotations

import base64
import functools
import re
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
from requests.utils import select_proxy

from cnrmirror.model.errors import InputError
from cnrmirror.objects.base import misplaced
from cnrmirror.objects.origin import origin


def without_credentials(url: str, headers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The address without user and password, which become a header. Raises InputError."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an http or https address")
        if parts.port == 0:  # reading a port that is no number raises, too
            raise ValueError("port 0")
    except ValueError:
        raise InputError(f"{_shown(url)}: not an http or https address") from None
    if reason := misplaced(url):
        raise InputError(f"{_shown(url)}: {reason}")
    host = parts.netloc.rpartition("@")[2]
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.setdefault("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), headers


def _shown(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)


def for_every_host(url: str) -> str:
    """An address whose path has no ``+``, which S3 and its like read as a space."""
    path, mark, query = url.partition("?")
    return path.replace("+", "%2B") + mark + query


def host_of(url: str) -> str:
    """The host's name or address, without its port."""
    return urlsplit(url).hostname or ""


@functools.lru_cache(maxsize=1024)
def proxies(scheme: str, host: str) -> dict[str, str]:
    """The proxies of the environment (HTTPS_PROXY, NO_PROXY …) for a host; found out once."""
    found: dict[str, str] = requests.utils.get_environ_proxies(f"{scheme}://{host}/")
    return found


def proxies_of(url: str) -> dict[str, str]:
    """The proxy for an address, by its scheme, as all libraries are told it; {} for none."""
    scheme, host = origin(url)
    proxy = select_proxy(url, proxies(scheme, host))
    return {scheme: proxy} if proxy else {}
