"""Ports on loopback: find a free one, wait until somebody listens."""

from __future__ import annotations

import socket
import time


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host, port)) == 0


def wait_for(port: int, seconds: float = 20) -> None:
    """Return when somebody listens on the port. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not listens(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port} after {seconds} s")
        time.sleep(0.05)
