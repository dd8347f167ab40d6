"""obstore's stores for Google Cloud Storage and Azure Blob Storage."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore

from cnrmirror.model.errors import AccessDenied
from cnrmirror.objects.certificates import Tls
from cnrmirror.objects.cloud_settings import CloudAddress, CloudSettings
from cnrmirror.objects.obstores import options_of

_EMULATOR = "STORAGE_EMULATOR_HOST"
_NAMES = {
    "gs": ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY",
           "GOOGLE_APPLICATION_CREDENTIALS", _EMULATOR),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_SAS_TOKEN",
           "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_TOKEN", "AZURE_STORAGE_CLIENT_ID",
           "AZURE_CLIENT_ID", "AZURE_STORAGE_USE_AZURE_CLI", "AZURE_FEDERATED_TOKEN_FILE"),
}  # fmt: skip
"""The variables of the environment that name credentials, as obstore knows them."""


def has_credentials(kind: str) -> bool:
    """Whether the environment names any, or the cloud's own tool has left some.

    A machine of the cloud that has an identity of its own is not asked: that takes seconds
    elsewhere.
    """
    left = Path.home() / ".config" / "gcloud" / "application_default_credentials.json"
    return any(os.environ.get(name) for name in _NAMES[kind]) or (kind == "gs" and left.exists())


def cloud_store(
    address: CloudAddress, settings: CloudSettings, signed: bool
) -> AzureStore | GCSStore:
    """An obstore of a container.

    Raises:
        AccessDenied: credentials that are none, or an endpoint that is none.
        InputError: certificates that are named are not there.
    """
    options = options_of(Tls())
    if not signed:
        options["skip_signature"] = True
    make = _azure if address.account else _google
    try:
        return make(address, settings, options)
    except (BaseError, ValueError, OSError) as error:
        # Its text may hold a part of a key.
        names = ", ".join(_NAMES[address.kind])
        raise AccessDenied(
            f"{address.kind}://{address.container}: the credentials or the endpoint in the "
            f"environment cannot be used ({type(error).__name__}): check {names}"
        ) from None


def _azure(address: CloudAddress, settings: CloudSettings, options: dict[str, Any]) -> AzureStore:
    if settings.endpoint:
        options["endpoint"] = settings.endpoint
    return AzureStore(container_name=address.container, account_name=address.account, **options)


def _google(address: CloudAddress, settings: CloudSettings, options: dict[str, Any]) -> GCSStore:
    endpoint = settings.endpoint or os.environ.get(_EMULATOR, "")
    if endpoint:
        # obstore takes another address only so.
        key = {"gcs_base_url": endpoint, "disable_oauth": True, "client_email": "",
               "private_key": "", "private_key_id": ""}  # fmt: skip
        options["service_account_key"] = json.dumps(key)
    return GCSStore(address.container, **options)
