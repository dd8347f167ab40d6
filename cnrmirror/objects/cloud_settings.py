"""Where objects of Google's and Microsoft's are, and what of them is not in the address."""

from __future__ import annotations

import re

import msgspec

from cnrmirror.model.errors import InputError

_ADDRESSES = {
    "gs": re.compile(r"gs://(?P<container>[a-z0-9][a-z0-9._-]{1,220}[a-z0-9])(?:/(?P<prefix>.*))?"),
    "az": re.compile(
        r"az://(?P<account>[a-z0-9]{3,24})/(?P<container>\$web|[a-z0-9](?:-?[a-z0-9]){2,62})"
        r"(?:/(?P<prefix>.*))?"
    ),
}
_FORMS = {
    "gs": "gs://BUCKET or gs://BUCKET/PREFIX; a bucket's name has 3 characters or more of a-z, "
    "0-9, '.', '_' and '-'",
    "az": "az://ACCOUNT/CONTAINER/PREFIX; each name has 3 characters or more of a-z and 0-9, a "
    "container's also '-'",
}


class CloudAddress(msgspec.Struct, frozen=True):
    """What an address says. ``prefix`` has a slash at its end, or is "".

    ``account`` is Azure's; "" for Google's.
    """

    kind: str
    container: str
    prefix: str
    account: str = ""

    @classmethod
    def parse(cls, address: str) -> CloudAddress:
        """``gs://bucket/prefix`` or ``az://account/container/prefix``. Raises InputError.

        Example:
            >>> CloudAddress.parse("az://example/web/charts").prefix
            'charts/'
        """
        kind = address[:2]
        match = _ADDRESSES[kind].fullmatch(address)
        if not match:
            raise InputError(f"{address}: write {_FORMS[kind]}")
        prefix = (match["prefix"] or "").strip("/")
        if prefix and any(part in ("", ".", "..") for part in prefix.split("/")):
            raise InputError(f"{address}: not a prefix")
        account = match["account"] if kind == "az" else ""
        return cls(kind, match["container"], f"{prefix}/" if prefix else "", account)


class CloudSettings(msgspec.Struct, frozen=True):
    """What of a container is not in its address.

    ``endpoint``: another service than Google's or Microsoft's; "" for what the environment says.
    """

    endpoint: str = ""
    storage_class: str = ""
