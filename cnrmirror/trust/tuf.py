"""python-tuf and securesystemslib, imported at this one place: they would bring boto3 with them.

securesystemslib imports boto3 for its AWS signer wherever it is installed, which takes longer than
all the rest of a command. So it finds none, until a key says ``awskms:`` (``signer_from_uri``).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cnrmirror.model.later import later

if TYPE_CHECKING:
    from tuf import ngclient
else:
    ngclient = later("tuf.ngclient")  # it brings urllib3


@contextmanager
def _without(name: str) -> Iterator[None]:
    """Imports of a module fail here; one that is loaded already costs nothing, and stays."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _without("boto3"):
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
    from securesystemslib.signer import (
        SIGNER_FOR_URI_SCHEME,
        CryptoSigner,
        Key,
        Signature,
        Signer,
        SSlibKey,
    )
    from tuf.api import exceptions
    from tuf.api.exceptions import RepositoryError
    from tuf.api.metadata import (
        DelegatedRole,
        Delegations,
        Metadata,
        MetaFile,
        Role,
        Root,
        Signed,
        Snapshot,
        TargetFile,
        Targets,
        Timestamp,
    )
    from tuf.api.serialization import DeserializationError, SerializationError
    from tuf.api.serialization.json import JSONSerializer

__all__ = [
    "CryptoSigner",
    "DelegatedRole",
    "Delegations",
    "DeserializationError",
    "JSONSerializer",
    "Key",
    "MetaFile",
    "Metadata",
    "RepositoryError",
    "Role",
    "Root",
    "SSlibKey",
    "SerializationError",
    "Signature",
    "Signed",
    "Signer",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "UnverifiedSignatureError",
    "VerificationError",
    "exceptions",
    "ngclient",
    "signer_from_uri",
]
_AWS = "awskms"


def signer_from_uri(uri: str, key: Key) -> Signer:
    """The signer that a URI names. Raises what the signer's library raises."""
    if uri.partition(":")[0] == _AWS:
        module: Any = importlib.import_module("securesystemslib.signer._aws_signer")
        if module.AWS_IMPORT_ERROR is not None:
            module = importlib.reload(module)
            SIGNER_FOR_URI_SCHEME[_AWS] = module.AWSSigner
    return Signer.from_priv_key_uri(uri, key)
