"""A crew on other machines: a scheduler and workers of Dask (https://distributed.dask.org).

Whoever reaches a scheduler runs code on its workers, so only TLS with certificates of both sides is
taken. What comes from there is JSON; Dask itself would also take pickles, which may run any code
where they are read: here they become values that do nothing (``_Harmless``).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cnrmirror.model.errors import InputError, NetworkError, UsageError
from cnrmirror.sync.crew import Crew

T = TypeVar("T")
AUTHORITY, COORDINATOR = "ca.pem", "coordinator"
_SCHEME = "tls://"
_CONNECT_SECONDS = 30
_PATIENCE_SECONDS = 120
_MOST_AT_ONCE = 256


def check_address(address: str) -> None:
    """Raises UsageError if it is no address of a scheduler that asks for certificates."""
    host, _, port = address.removeprefix(_SCHEME).rpartition(":")
    if not address.startswith(_SCHEME) or not host or not port.isdecimal():
        raise UsageError(
            f"--cluster {address}: {_SCHEME}HOST:PORT is needed: whoever reaches a scheduler "
            "without certificates runs code on all of its machines"
        )


@contextlib.contextmanager
def cluster(address: str, certificates: Path) -> Iterator[Crew]:
    """The workers of a scheduler.

    Args:
        address: tls://HOST:PORT.
        certificates: a folder with ca.pem, coordinator.pem and coordinator-key.pem.

    Raises:
        UsageError: it is no such address.
        InputError: a certificate is missing, or is none.
        NetworkError: the scheduler cannot be reached, or has no workers.
    """
    check_address(address)
    distributed = _imported("distributed")
    security = _security(distributed, certificates)
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)
    with _harmless_pickles(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dask = distributed.Client(
                address, security=security, timeout=_CONNECT_SECONDS, set_as_default=False,
                deserializers=["msgpack"],
            )  # fmt: skip
        except (OSError, ValueError, TimeoutError) as error:
            raise NetworkError(
                f"{address}: the scheduler cannot be reached, or refuses the certificates in "
                f"{certificates}: {error}"
            ) from error
        crew = None
        try:
            watch = _Watch(dask, address)
            size = min(watch.workers(), _MOST_AT_ONCE)
            crew = Crew(size, lambda: _OnCluster(dask, 2 * size), afar=True, require=watch.require)
            yield crew
        finally:
            if crew:
                crew.close()
            dask.close(timeout=5)


class _Watch:
    """Whether a cluster lives."""

    def __init__(self, dask: Any, address: str) -> None:
        self._dask = dask
        self._address = address
        self._seen = time.monotonic()

    def workers(self) -> int:
        """How many chunks the workers do at a time, once there are any. Raises NetworkError."""
        while not (threads := self._threads()):
            self.require()
            time.sleep(1)
        return threads

    def _threads(self) -> int:
        return sum(self._dask.nthreads().values())

    def require(self) -> None:
        """Raises NetworkError if the scheduler is gone, or had no workers for a while."""
        advice = "run again: what was fetched is noted, and is not fetched again"
        if self._dask.status not in ("running", "connecting"):
            raise NetworkError(f"{self._address}: the scheduler is gone; {advice}")
        with contextlib.suppress(Exception):  # the scheduler is busy, or being connected anew
            if self._threads():
                self._seen = time.monotonic()
        if time.monotonic() - self._seen > _PATIENCE_SECONDS:
            raise NetworkError(
                f"{self._address}: no worker for {_PATIENCE_SECONDS} seconds; {advice}"
            )


class _OnCluster(Executor):
    """Runs functions on the workers.

    Dask's own executor waits for ever for a result that cannot be read.
    """

    def __init__(self, dask: Any, count: int) -> None:
        self._dask = dask
        self._threads = ThreadPoolExecutor(count)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See ``Executor``."""
        return self._threads.submit(self._done, fn, *args, **kwargs)

    def _done(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        future = self._dask.submit(fn, *args, **kwargs, pure=False)
        try:
            result: T = future.result()
            return result
        finally:
            future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor``."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)


def _imported(name: str) -> Any:
    """A module of Dask. Raises InputError if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = "--cluster needs other packages: pip install 'cnrmirror[cluster]'"
        raise InputError(reason) from error


def _security(distributed: Any, folder: Path) -> Any:
    names = (AUTHORITY, f"{COORDINATOR}.pem", f"{COORDINATOR}-key.pem")
    for name in names:
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: there is no such file; 'cnrmirror cluster certificates' makes it"
            )
    authority, certificate, key = (str(folder / name) for name in names)
    return distributed.Security(
        tls_ca_file=authority, tls_client_cert=certificate, tls_client_key=key,
        require_encryption=True,
    )  # fmt: skip


# -- what Dask would unpickle ---------------------------------------------------------------------


class Opaque(Exception):
    """What a pickle from a cluster named, whatever that is: it does nothing."""

    def __setstate__(self, state: object) -> None:
        """Forget it."""


def _nothing(*args: object) -> None:
    """What a traceback from a cluster is."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Exceptions of Python itself; everything else does nothing."""
        if module.startswith("tblib"):
            return _nothing
        found = getattr(__import__("builtins"), name, None) if module == "builtins" else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found
        return Opaque


class _Harmless:
    """The module ``pickle``, but for what runs code when it is read."""

    def __getattr__(self, name: str) -> Any:
        return getattr(pickle, name)

    @staticmethod
    def loads(data: bytes, /, *, buffers: Any = ()) -> Any:
        return _Unpickler(io.BytesIO(data), buffers=buffers).load()


@contextlib.contextmanager
def _harmless_pickles() -> Iterator[None]:
    """While it lasts, no pickle that this process reads through Dask runs code."""
    modules = (_imported("distributed.protocol.pickle"), _imported("distributed.client"))
    try:
        for module in modules:
            module.pickle = _Harmless()
        yield
    finally:
        for module in modules:
            module.pickle = pickle
