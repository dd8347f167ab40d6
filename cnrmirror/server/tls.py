"""Connections over TLS: no step of a handshake blocks the others."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from cnrmirror.model.errors import InputError
from cnrmirror.server.connection import Connection


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and newer, with a certificate (and those between it and its root) and its key.

    Raises:
        InputError: they cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise InputError(
            f"{certificate}, {key}: not a certificate and its key, in PEM and without a "
            f"passphrase: {reason}"
        ) from error
    return context


class TLSConnection(Connection):
    """A connection that begins with a handshake. The server has the context as ``tls``."""

    def __init__(self, server: Any, sock: socket.socket, *args: Any, **options: Any) -> None:
        self._shaken = False
        self._waits_to_write = False
        # The thread that answers sends, too; OpenSSL lets only one at a time use a connection.
        self._one = threading.Lock()
        sock.setblocking(False)
        wrapped = server.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        super().__init__(server, wrapped, *args, **options)

    def readable(self) -> bool:
        """Whether bytes are waited for."""
        return bool(super().readable()) if self._shaken else not self._waits_to_write

    def writable(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(super().writable()) if self._shaken or self.will_close else self._waits_to_write

    def handle_read(self) -> None:
        """Go on with the handshake, or take in what is there."""
        if self._shaken or self._shake():
            super().handle_read()

    def handle_write(self) -> None:
        """Go on with the handshake, or send."""
        if self._shaken or self.will_close or self._shake():
            super().handle_write()

    def _shake(self) -> bool:
        """Whether the handshake is over."""
        self._waits_to_write = False
        try:
            with self._one:
                self.socket.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLWantWriteError:
            self._waits_to_write = True
            return False
        except (OSError, ValueError):
            self.handle_close()
            return False
        self._shaken = True
        return True

    def recv(self, buffer_size: int) -> bytes:
        """As of any socket; a whole record at least, or nothing would tell of its rest."""
        with self._one:
            data: bytes = self.socket.recv(buffer_size)
        if not data:
            self.handle_close()
        return data

    def send(self, data: bytes, do_close: bool = True) -> int:
        """How many bytes were taken."""
        try:
            with self._one:
                sent: int = self.socket.send(data)
            return sent
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0

    def end_output(self) -> None:
        """As of any socket, after TLS's own word for it."""
        with self._one:
            with contextlib.suppress(ssl.SSLError, ValueError):
                self.socket.unwrap()
            self.socket.shutdown(socket.SHUT_WR)
