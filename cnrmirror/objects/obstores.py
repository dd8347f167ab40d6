"""How obstore connects, to whatever cloud."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from cnrmirror.objects.certificates import Tls


def options_of(tls: Tls, proxy: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """The options of a store; it tries nothing again, which is the limiter's work.

    Args:
        tls: what the service is known by.
        proxy: what is said of proxies, in obstore's words; else it obeys the environment.

    Raises:
        InputError: certificates that are named are not there.
    """
    client: dict[str, Any] = {"timeout": timedelta(seconds=120), "allow_http": True}
    client["connect_timeout"] = timedelta(seconds=10)
    if tls.authorities.named:  # the system's are known to it
        client["root_certificate"] = tls.authorities.text()
    return {"client_options": {**client, **proxy}, "retry_config": {"max_retries": 0}}
