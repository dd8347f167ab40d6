"""One connection of waitress that nobody can hold for ever, and what it takes in of a request.

waitress parses requests and buffers answers in one thread that no client can block. Added here are
deadlines for each thing that a connection waits for, a look at Authorization before a body is taken
in, and an end of connections by which a client still gets its answer.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Literal, Protocol

import msgspec
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest

_TLS_HANDSHAKE = b"\x16"  # the first byte of a TLS client's first record (RFC 8446, 5.1)


class Limits(msgspec.Struct, frozen=True):
    """What clients may take, in seconds, bytes and connections.

    Attributes:
        connections: open at once; beyond them the one that has waited longest ends.
        request: from the beginning of a connection or request to the end of the header.
        body_rate: bytes of a body a second, on average; it is asked for after ``request``.
        idle: between two requests.
        stalled: without one byte of an answer being taken.
        linger: after the last answer, for the client to read it.
        drain: for what is in progress when the server is asked to end.
        header: bytes of a request line and its headers.
        sweep: between two looks at who waits for too long.
    """

    connections: int = 1000
    request: float = 20
    body_rate: int = 1024
    idle: float = 60
    stalled: float = 60
    linger: float = 5
    drain: float = 30
    header: int = 32 << 10
    sweep: float = 1


class Gate(Protocol):
    """Tells whose body is taken in: ``app.Application.wants_body``."""

    def __call__(self, method: str, path: str, authorization: str, length: int) -> bool: ...


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """One request; where its body is not wanted, the connection ends after the answer.

    Attributes:
        writes: it changes the mirror, and may.
    """

    writes = False
    body_rcv: Any
    content_length: int
    error: Any
    _refused = False

    def __init__(self, adj: Any, gate: Gate) -> None:
        super().__init__(adj)
        self._gate = gate

    def received(self, data: bytes) -> int:
        """How many bytes of ``data`` belong to this request."""
        if not self.header_plus and self.body_rcv is None and data.startswith(_TLS_HANDSHAKE):
            return self._is_tls(data)
        taken: int = super().received(data)
        if self.error:
            self.first_line = b"-"
        return len(data) if self._refused else taken

    def parse_header(self, header_plus: bytes) -> None:
        """The header is there; see whether its body is wanted."""
        super().parse_header(header_plus)
        authorization = self.headers.get("AUTHORIZATION", "")
        self.writes = self._gate(self.command, self.path, authorization, self.content_length)
        if self.body_rcv is not None and not self.writes:
            self.body_rcv = None
            self.content_length = 0
            self.expect_continue = False
            self.headers["CONNECTION"] = "close"
            self._refused = True

    def _is_tls(self, data: bytes) -> int:
        self.parse_header(b"GET / HTTP/1.0\r\n")  # as waitress does for a header that is too large
        self.first_line = b"-"
        self.error = BadRequest("TLS is not spoken here: ask with http://")
        self.completed = True
        return len(data)


class _Answering:
    """What answers of all kinds have in common: they are logged, and the last one says so."""

    channel: Any
    request: Any
    wrote_header: bool

    def service(self) -> None:
        if self.channel.server.draining:
            self.request.headers["CONNECTION"] = "close"
        try:
            super().service()  # type: ignore[misc]
        finally:
            if self.wrote_header:
                self.channel.server.log(self)


class Answer(_Answering, WSGITask):  # type: ignore[misc]
    """An answer of the application."""


class Refusal(_Answering, ErrorTask):  # type: ignore[misc]
    """An answer to what is no request."""


Waits = Literal["header", "body", "idle", "answer", "end"]


class Connection(HTTPChannel):  # type: ignore[misc]
    """One connection; the server asks it regularly whether it waits for too long."""

    task_class = Answer
    error_task_class = Refusal

    def __init__(self, server: Any, sock: socket.socket, *args: Any, **options: Any) -> None:
        self._begun = 0
        self._lingers = False
        self._seen: tuple[object, ...] = ("header", 0, 0)
        self.since: float = server.clock()
        super().__init__(server, sock, *args, **options)

    def parser_class(self, adj: Any) -> Parser:
        """A new request begins."""
        self._begun += 1
        return Parser(adj, self.server.gate)

    # -- how long it waits, and for what ----------------------------------------------------------

    @property
    def waits_for(self) -> Waits:
        """What is to come next."""
        if self._lingers:
            return "end"
        if self.requests or self.total_outbufs_len or self.close_when_flushed:
            return "answer"
        if self.request is None:
            return "idle" if self._begun else "header"
        return "body" if self.request.headers_finished else "header"

    @property
    def in_progress(self) -> bool:
        """Whether somebody waits for an answer, or sends a body that is wanted."""
        return self.waits_for in ("answer", "body")

    def look(self, now: float) -> None:
        """Remember since when it waits for the same: an answer that moves is another."""
        seen = (self.waits_for, self._begun, self.total_outbufs_len)
        if seen != self._seen:
            self._seen, self.since = seen, now

    def overdue(self, now: float, limits: Limits) -> bool:
        """Whether it waits for longer than anybody may let it."""
        self.look(now)
        waited = now - self.since
        unsent: int = self.total_outbufs_len
        match self.waits_for:
            case "header":
                return waited > limits.request
            case "body":
                received: int = self.request.body_bytes_received if self.request else 0
                return waited > limits.request and received < limits.body_rate * waited
            case "idle":
                return waited > limits.idle
            case "answer":  # one that is still being made has nothing to send yet
                return waited > limits.stalled and unsent > 0
            case "end":
                return waited > limits.linger

    # -- what comes in and goes out ---------------------------------------------------------------

    def handle_read(self) -> None:
        """Take in what is there."""
        try:
            data = self.recv(self.adj.recv_bytes)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            # There is nothing yet: a TLS record is not whole, or the event was that of a connection
            # which had this descriptor before.
            return
        except OSError:
            self.handle_close()
            return
        if data and not self._lingers:
            self.received(data)

    def handle_write(self) -> None:
        """Send what the client takes; after the last answer wait until it was read."""
        if self.will_close or not self.close_when_flushed:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif self.connected and not self.total_outbufs_len:
            self._linger()

    def handle_expt(self) -> None:
        """Urgent data of TCP is no part of HTTP, and would be told of again and again."""
        self.handle_close()

    def _linger(self) -> None:
        """End our side only: closed with bytes unread, the system would throw our answer away."""
        self.close_when_flushed = False
        self._lingers = True
        try:
            self.end_output()
        except OSError:
            self.handle_close()

    def end_output(self) -> None:
        """Tell the client that nothing more will come. Raises OSError."""
        self.socket.shutdown(socket.SHUT_WR)
