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
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from pathlib import Path
from typing import Any, TypeVar

from cnrmirror.crew.crew import Crew, CrewLost
from cnrmirror.model.errors import InputError, UsageError

T = TypeVar("T")
AUTHORITY, COORDINATOR = "ca.pem", "coordinator"
_SCHEME = "tls://"
_CONNECT_SECONDS = 30
_PATIENCE_SECONDS = 120
_LOOK_SECONDS = 2
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
        CrewLost: the scheduler cannot be reached, or has no workers.
    """
    check_address(address)
    distributed = _imported("distributed")
    security = _security(distributed, certificates)
    with _quiet(), _harmless_pickles():
        first = _OnCluster(distributed, address, security)
        made: list[_OnCluster] = [first]

        def make() -> Executor:
            if made[-1].is_closed:
                made.append(_OnCluster(distributed, address, security))
            return made[-1]

        try:
            size = min(first.wait_for_workers(), _MOST_AT_ONCE)
            yield Crew(size, make, afar=True, require=lambda: made[-1].require())
        finally:
            made[-1].shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What Dask tells its log, and warns of, is said in other words."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class _OnCluster(Executor):
    """Runs functions on the workers of a scheduler.

    Dask's own executor waits for ever for a result that cannot be read, and its client for a
    scheduler that does not come back.

    Raises:
        CrewLost: the scheduler cannot be reached.
    """

    def __init__(self, distributed: Any, address: str, security: Any) -> None:
        self._address = address
        self.is_closed = False
        try:
            self._dask = distributed.Client(
                address, security=security, timeout=_CONNECT_SECONDS, set_as_default=False,
                deserializers=["msgpack"],
            )  # fmt: skip
        except (OSError, ValueError, TimeoutError) as error:
            raise CrewLost(
                f"{address}: the scheduler cannot be reached, or refuses these certificates "
                f"({error})"
            ) from error
        self._threads = ThreadPoolExecutor(2 * _MOST_AT_ONCE)
        self._seen = time.monotonic()

    def wait_for_workers(self) -> int:
        """How many units of work the workers do at a time, once there are any. Raises CrewLost."""
        while not (threads := self._size()):
            self.require()
            time.sleep(1)
        return threads

    def _size(self) -> int:
        """How many units are done at a time; 0 if the scheduler does not say it."""
        try:
            return sum(self._dask.nthreads().values())
        except Exception:  # whatever it is: it is busy, or gone
            return 0

    def require(self) -> None:
        """Raises CrewLost if there were no workers for a while."""
        if self._is_alive() and self._size():
            self._seen = time.monotonic()
        if time.monotonic() - self._seen > _PATIENCE_SECONDS:
            raise CrewLost(f"{self._address}: no worker for {_PATIENCE_SECONDS} seconds")

    def _is_alive(self) -> bool:
        """Whether what the scheduler says is still heard."""
        # A message that cannot be read ends this task, and nobody is told.
        hearing = getattr(self._dask, "_handle_report_task", None)
        return self._dask.status == "running" and not (hearing and hearing.done())

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See ``Executor``."""
        return self._threads.submit(self._done, fn, *args, **kwargs)

    def _done(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """What a worker answers. Raises BrokenExecutor if the scheduler is heard no more."""
        future = self._dask.submit(fn, *args, **kwargs, pure=False)
        while True:
            try:
                result: T = future.result(timeout=_LOOK_SECONDS)
                return result
            except TimeoutError as error:
                if not self._is_alive():
                    raise BrokenExecutor("the scheduler is heard no more") from error
                if future.status != "pending":
                    raise
            except CancelledError as error:
                raise BrokenExecutor("the scheduler forgot it") from error

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See ``Executor``."""
        self.is_closed = True
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        with contextlib.suppress(Exception):
            self._dask.close(timeout=_LOOK_SECONDS)


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


def _cleaned(error: object, trace: object = None, **more: object) -> tuple[type, Exception, None]:
    """What Dask makes of a worker's error, whatever that is."""
    found = error if isinstance(error, Exception) else Opaque(str(error)[:1000])
    return type(found), found, None


@contextlib.contextmanager
def _harmless_pickles() -> Iterator[None]:
    """While it lasts, no pickle that this process reads through Dask runs code."""
    client = _imported("distributed.client")
    known = _imported("distributed.protocol").dask_deserialize
    known.register(Opaque, lambda header, frames: Opaque())
    changed = [
        (_imported("distributed.protocol.pickle"), "pickle", _Harmless()),
        (client, "pickle", _Harmless()),
        (client, "clean_exception", _cleaned),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in changed]
    try:
        for module, name, value in changed:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
