"""The server: sockets, threads, and which connection ends when there are too many.

One thread reads from all clients and sends to them; a request gets one of the threads that answer
when it is whole. Changes have a thread of their own, so that no push keeps readers waiting.
"""

from __future__ import annotations

import errno
import heapq
import logging
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from cnrmirror.server.access_log import AccessLog, entry_of
from cnrmirror.server.app import Application
from cnrmirror.server.connection import Connection, Limits
from cnrmirror.server.tls import TLSConnection

_THREADS = 8
_AT_ONCE = 64  # new connections that are taken before the others have their turn
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# Else each request that waits for a thread is a line.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """One listening socket. All of a server's share its connections, its threads and its limits."""

    def __init__(self, server: Server, sockinfo: Any) -> None:
        self._server = server
        self.channel_class = Connection if server.tls is None else TLSConnection
        self.clock, self.tls, self.gate = server.clock, server.tls, server.application.wants_body
        super().__init__(
            server.application,
            server.map,
            dispatcher=server.readers,
            adj=server.adjustments,
            sockinfo=sockinfo,
        )

    @property
    def draining(self) -> bool:
        """Whether an answer that is sent now is the last of its connection."""
        return self._server.stopping

    def log(self, task: Any) -> None:
        """Say what was answered."""
        if self._server.log is not None:
            self._server.log.write(entry_of(task))

    def readable(self) -> bool:
        """Always: that there are too many is seen when one more is there."""
        return bool(self.accepting)

    def handle_accept(self) -> None:
        """Take new connections; if there are too many, others end for them."""
        for _ in range(_AT_ONCE):
            if not self._accept_one():
                break
        self._server.make_room()

    def _accept_one(self) -> bool:
        try:
            accepted = self.accept()
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._server.make_room(1)
            return False
        if accepted is None:
            return False
        sock, address = accepted
        try:
            self.set_socket_options(sock)
            self.channel_class(self, sock, self.fix_addr(address), self.adj, map=self._map)
        except (OSError, ValueError):  # gone again
            sock.close()
        return True

    def add_task(self, task: Connection) -> None:
        """Have a connection's first request answered."""
        writes = task.requests[0].writes
        (self._server.writers if writes else self._server.readers).add_task(task)


class Server:
    """The application over HTTP, or HTTPS, at all addresses of a host.

    Args:
        application: what answers.
        host: an address or name to listen at.
        port: 0: one that is free.
        limits: what clients may take.
        tls: speaks TLS with this.
        log: where answers are told of.
        clock: tells seconds that never go back.

    Raises:
        OSError, ValueError: it cannot listen there.
    """

    def __init__(
        self,
        application: Application,
        host: str,
        port: int,
        *,
        limits: Limits = Limits(),
        tls: ssl.SSLContext | None = None,
        log: AccessLog | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.application, self.limits, self.tls, self.log = application, limits, tls, log
        self.clock = clock
        self.stopping = False
        self.map: dict[int, Any] = {}
        self.adjustments = _adjustments(host, port, limits, tls is not None, application.max_body)
        self.readers, self.writers = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._listeners: list[Listener] = []
        try:
            for sockinfo in self.adjustments.listen:
                self._listeners.append(Listener(self, sockinfo))
        except OSError:
            wasyncore.close_all(self.map, ignore_all=True)
            raise

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: numeric addresses and ports."""
        return [(one.effective_host, int(one.effective_port)) for one in self._listeners]

    def connections(self) -> list[Connection]:
        """All that are open."""
        return [one for one in self.map.values() if isinstance(one, Connection)]

    def run(self) -> None:
        """Answer, until ``stop`` is called and what was in progress then has ended."""
        self.readers.set_thread_count(_THREADS)
        self.writers.set_thread_count(1)
        swept = self.clock()
        while not self.stopping:
            self._turn(self.limits.sweep)
            if self.clock() - swept >= self.limits.sweep:
                swept = self.clock()
                self._sweep(swept)
        self._drain()

    def stop(self) -> None:
        """Take nothing new, and end soon. May be called by another thread, or a signal."""
        self.stopping = True
        for one in self._listeners:
            one.pull_trigger()

    def make_room(self, least: int = 0) -> None:
        """End the connections that have waited longest; those that are being answered go last.

        Args:
            least: how many, even if there are not too many.
        """
        connections = self.connections()
        count = max(least, len(connections) - self.limits.connections)
        if count <= 0:
            return
        now = self.clock()
        for one in connections:
            one.look(now)
        _close(heapq.nsmallest(count, connections, lambda one: (bool(one.requests), one.since)))

    def _turn(self, timeout: float) -> None:
        wasyncore.loop(timeout=timeout, use_poll=True, map=self.map, count=1)

    def _sweep(self, now: float) -> None:
        for one in self.connections():
            if one.overdue(now, self.limits):
                one.handle_close()

    def _drain(self) -> None:
        for listener in self._listeners:
            wasyncore.dispatcher.close(listener)  # its trigger is still needed
        end = self.clock() + self.limits.drain
        while self.clock() < end:
            _close(one for one in self.connections() if not one.in_progress)
            if not self.connections():
                break
            self._turn(0.1)
        _close(self.connections())
        for threads in (self.readers, self.writers):
            threads.shutdown(timeout=1)
        wasyncore.close_all(self.map, ignore_all=True)


def _close(connections: Iterable[Connection]) -> None:
    for one in list(connections):
        one.handle_close()


def _adjustments(host: str, port: int, limits: Limits, tls: bool, max_body: int) -> Any:
    """What waitress itself has to know."""
    return Adjustments(
        host=host,
        port=port,
        ident="cnrmirror",
        url_scheme="https" if tls else "http",
        # The longest record of TLS and more: what is left of one would not be told of.
        recv_bytes=1 << 16,
        max_request_header_size=limits.header,
        # A little more than the application takes, which says no in JSON.
        max_request_body_size=max_body + (16 << 20),
        log_socket_errors=False,
    )
