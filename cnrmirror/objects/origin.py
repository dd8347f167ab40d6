"""Which host an address is of, as far as credentials go."""

from __future__ import annotations

from urllib.parse import urlsplit


def origin(url: str) -> tuple[str, str]:
    """Scheme, and host with its port where that is not the usual one (RFC 3986, 6.2)."""
    parts = urlsplit(url)
    host = _ascii(parts.netloc.rpartition("@")[2].lower())
    return parts.scheme, host.removesuffix(_USUAL.get(parts.scheme, ":")).removesuffix(":")


def _ascii(host: str) -> str:
    """A host as it is asked for (IDNA), if it can be."""
    if host.isascii():
        return host
    name, colon, port = host.partition(":")
    try:
        return f"{name.encode('idna').decode()}{colon}{port}"
    except UnicodeError:
        return host


_USUAL = {"http": ":80", "https": ":443"}
