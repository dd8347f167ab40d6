"""The online keys that are a person's own: in folders, or in the environment."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

from cnrmirror.mirror.settings import Config
from cnrmirror.model.errors import InputError, TooLarge, UsageError
from cnrmirror.model.xdg import own_folder
from cnrmirror.objects.files import read_descriptor
from cnrmirror.trust.keys import MAX_KEY_BYTES, Given, keys_in

KEYS_VARIABLE, KEYS_FD_VARIABLE = "CNRMIRROR_KEYS", "CNRMIRROR_KEYS_FD"


def online_folders() -> Path:
    """The folder in which each registry has a folder of online keys."""
    return own_folder("CONFIG") / "keys"


def online_folder(registry: str) -> Path:
    """The folder of a registry's online keys: ``$XDG_CONFIG_HOME/cnrmirror/keys/REGISTRY``."""
    return online_folders() / registry


class OnlineKeys(NamedTuple):
    """Where this person's online keys of a registry are: in a folder, or in the environment."""

    folder: Path | None
    given: Given


def online_keys(config: Config) -> OnlineKeys:
    """The online keys of a mirror; without a home folder if nothing needs one.

    Raises:
        UsageError: there is no home folder, nor keys elsewhere.
        InputError, TooLarge: what the environment gives is no key.
    """
    given = given_keys()
    try:
        return OnlineKeys(online_folder(config.id), given)
    except UsageError as error:
        if given.signers or (config.trust.publish and config.trust.refresh):
            return OnlineKeys(None, given)
        raise UsageError(f"{error.message}; or give the online keys in {KEYS_VARIABLE}") from error


def given_keys() -> Given:
    """The online keys that the environment gives: CNRMIRROR_KEYS has them as PEM, or
    CNRMIRROR_KEYS_FD says from which descriptor they are read.

    Raises:
        UsageError: both are set, or the descriptor is no number.
        InputError, TooLarge: they are no keys.
    """
    text, number = os.environ.get(KEYS_VARIABLE, ""), os.environ.get(KEYS_FD_VARIABLE, "")
    if text and number:
        raise UsageError(f"{KEYS_VARIABLE} and {KEYS_FD_VARIABLE} are both set: set only one")
    if number:
        if not (number.isascii() and number.isdecimal() and len(number) < 6):
            raise UsageError(f"{KEYS_FD_VARIABLE}: not the number of a file descriptor")
        return _read_once(int(number))
    if not text:
        return Given()
    data = os.fsencode(text)
    if len(data) > MAX_KEY_BYTES:
        raise TooLarge(f"{KEYS_VARIABLE}: more than {MAX_KEY_BYTES} bytes")
    return Given(KEYS_VARIABLE, keys_in(data, KEYS_VARIABLE))


@functools.cache
def _read_once(number: int) -> Given:
    where = f"{KEYS_FD_VARIABLE}={number}"
    data = read_descriptor(number, MAX_KEY_BYTES, where)
    if not data:
        raise InputError(f"{where}: empty; a file descriptor can be read only once")
    return Given(where, keys_in(data, where))
