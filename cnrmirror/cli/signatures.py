"""The options that ask who made a package, and what they mean."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from cnrmirror.client.signatures import Check
from cnrmirror.model.errors import UsageError
from cnrmirror.objects.files import read_given

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


def signature_options(command: F) -> F:
    """--verify-provenance and --cosign-key, as the arguments of these names."""
    keyring = click.option(
        "--verify-provenance", metavar="KEYRING", type=_FILE,
        help="OpenPGP public keys (gpg --export): one of them must have signed the chart's .prov.",
    )  # fmt: skip
    cosign = click.option(
        "--cosign-key", metavar="FILE", type=_FILE,
        help="A public key in PEM: it must have signed the manifest, with cosign.",
    )  # fmt: skip
    return keyring(cosign(command))


def checks_of(verify_provenance: Path | None, cosign_key: Path | None) -> list[Check]:
    """The checks that the options ask for.

    Raises:
        InputError: a file that is given has no keys of its kind.
        UsageError: a library is missing.
    """
    checks: list[Check] = []
    if verify_provenance is not None:
        checks.append(_keyring(verify_provenance))
    if cosign_key is not None:
        cosign = importlib.import_module("cnrmirror.client.cosign")
        key = read_given(cosign_key, cosign.MAX_KEY, "; no public key is so large")
        checks.append(cosign.CosignKey(key, str(cosign_key)))
    return checks


def _keyring(path: Path) -> Check:
    try:
        provenance = importlib.import_module("cnrmirror.client.provenance")
    except ModuleNotFoundError as error:
        if error.name != "pysequoia":
            raise
        raise UsageError(
            "--verify-provenance needs another package: pip install 'cnrmirror[provenance]'"
        ) from error
    data = read_given(path, provenance.MAX_KEYRING, "; export only the keys that are needed")
    found: Check = provenance.Keyring(data, str(path), datetime.now(UTC))
    return found
