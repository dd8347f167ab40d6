"""serve among clients that are idle, slow, half open, large, deaf, or speak something else."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import requests
from waitress.task import ThreadedTaskDispatcher

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.server.access_log import AccessLog
from cnrmirror.server.app import Application
from cnrmirror.server.connection import Limits
from cnrmirror.server.listen import Server
from cnrmirror.server.tls import server_context
from cnrmirror.server.tokens import one_token
from cnrmirror.server.writing import Writing
from tests.authority import Authority
from tests.conftest import NOW
from tests.floods import BEGUN, PATIENCE, PUSH, Flood, answered, connected, waits
from tests.hostile import HeldClock
from tests.test_serve import BASE, archive_of, chart, serving
from tests.test_sync_faults import ROOT, command, ran

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n%s\r\n"
NO_ROOM = 5.0  # seconds: a busy machine takes less, a server that is stopped takes all


@contextmanager
def running(application: Application, **options: Any) -> Iterator[tuple[Server, str]]:
    """A server in a thread, and its address."""
    server = Server(application, "127.0.0.1", 0, **options)
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{server.addresses[0][1]}"
    finally:
        server.stop()
        thread.join(PATIENCE)


@pytest.fixture
def writing(project: Project) -> Application:
    return Application(project, Writing(project, lambda: NOW, one_token("secret")))


def until(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_flood_does_not_keep_others_waiting(project: Project) -> None:
    with serving(project, "--accept-push") as address:
        with Flood(address) as flood:
            flood.idle(200)
            flood.slow(20)
            flood.half_open(20)
            flood.large(4)
            found = waits(address, 5)
    assert max(found) < NO_ROOM


def test_more_clients_than_there_is_room_for_end_those_that_have_waited_longest(
    project: Project,
) -> None:
    with running(Application(project), limits=Limits(connections=10)) as (server, address):
        with Flood(address) as flood:
            flood.idle(30)
            until(lambda: answered_with(address) == 200)
            assert max(waits(address, 0.2)) < NO_ROOM
            for sock in flood.sockets[:15]:
                assert answered(sock) == b""
            assert len(server.connections()) <= 10


def answered_with(address: str) -> int:
    return requests.get(f"{address}/healthz", timeout=PATIENCE).status_code


WAITING: dict[str, tuple[bytes, float]] = {
    "a connection without a request": (b"", 20),
    "a header that does not end": (BEGUN, 20),
    "a body that does not come": (PUSH % (1000, b"Authorization: Bearer secret\r\n"), 20),
    "a connection between two requests": (GET % b"", 60),
}


@pytest.mark.parametrize("name", WAITING)
def test_nothing_is_waited_for_for_ever(writing: Application, name: str) -> None:
    clock = HeldClock()
    sent, seconds = WAITING[name]
    with running(writing, clock=clock.read, limits=Limits(sweep=0.02)) as (server, address):
        with connected(address) as sock:
            sock.sendall(sent)
            got = b""
            if sent.startswith(b"GET /healthz"):
                while not got.endswith(b"}\n"):
                    got += sock.recv(1 << 16)
            until(lambda: bool(server.connections()))
            clock.advance(2)
            time.sleep(0.3)  # a look at what it waits for
            clock.advance(seconds - 3)
            time.sleep(0.3)
            assert server.connections()
            clock.advance(100)
            assert answered(sock) == b""


def test_a_body_that_comes_a_byte_a_second_is_given_up(writing: Application) -> None:
    clock = HeldClock()
    with (
        running(writing, clock=clock.read, limits=Limits(sweep=0.02)) as (_, address),
        connected(address) as sock,
    ):
        sock.sendall(PUSH % (100_000, b"Authorization: Bearer secret\r\n"))
        ended = Event()

        def drip() -> None:
            try:
                for _ in range(2000):
                    sock.sendall(b" ")
                    clock.advance(1)
                    time.sleep(0.01)
            except OSError:
                ended.set()

        Thread(target=drip, daemon=True).start()
        assert ended.wait(PATIENCE)


def test_readers_that_take_nothing_keep_no_thread_and_are_given_up(
    project: Project, tmp_path: Path
) -> None:
    push(project, [archive_of(18 << 20, "a", tmp_path)], Override(namespace="ns"), NOW)
    clock = HeldClock()
    with running(Application(project), clock=clock.read, limits=Limits(sweep=0.02)) as (
        server,
        address,
    ):
        deaf = [connected(address) for _ in range(20)]
        for number, sock in enumerate(deaf):
            form = b"/json" if number % 2 else b""
            sock.sendall(b"GET %s/ns/a/1.0.0/helm/pull%s HTTP/1.1\r\n\r\n" % (BASE.encode(), form))
        until(lambda: all(one.total_outbufs_len for one in server.connections()))
        assert answered_with(address) == 200
        until(lambda: server.readers.active_count == 0)
        for _ in range(3):
            clock.advance(61)
            time.sleep(0.3)
        until(lambda: not server.connections())
        for sock in deaf:
            sock.close()


def test_a_body_without_the_token_is_answered_before_it_comes(
    writing: Application, project: Project
) -> None:
    cases = {b"": 401, b"Authorization: Bearer wrong\r\n": 401}
    with running(writing) as (_, address):
        for header, code in cases.items():
            for size in (1000, 100 << 20, 1 << 40):
                with connected(address) as sock:
                    sock.sendall(PUSH % (size, header))
                    answer = answered(sock)
                assert answer.startswith(b"HTTP/1.1 %d" % code), answer
                assert b"unauthorized-access" in answer and b"Connection: close" in answer
        with connected(address) as sock:
            sock.sendall(PUSH % (1 << 40, b"Authorization: Bearer secret\r\n"))
            assert answered(sock).startswith(b"HTTP/1.1 413")
        with connected(address) as sock:  # what follows is a body, and no request
            sock.sendall(PUSH % (1000, b"") + GET % b"" + GET % b"")
            assert answered(sock).count(b"HTTP/1.1") == 1
        accepted = requests.post(
            f"{address}{BASE}/ns/a", json=chart(), headers={"Authorization": "Bearer secret"},
            timeout=PATIENCE,
        )  # fmt: skip
        assert accepted.status_code == 200
    assert project.head().revision == 1


def test_a_client_that_sends_all_of_a_refused_body_still_gets_its_answer(
    writing: Application,
) -> None:
    with running(writing) as (_, address):
        answer = requests.post(f"{address}{BASE}/ns/a", data=b" " * (8 << 20), timeout=PATIENCE)
    assert answer.status_code == 401 and answer.json()["code"] == "unauthorized-access"


def test_a_change_that_takes_long_keeps_no_reader_waiting(writing: Application) -> None:
    with running(writing) as (server, address):
        slow, over = Event(), Event()

        class Slow:
            def service(self) -> None:
                slow.set()
                over.wait(PATIENCE)

            def cancel(self) -> None:
                pass

        assert isinstance(server.writers, ThreadedTaskDispatcher)
        server.writers.add_task(Slow())
        assert slow.wait(PATIENCE)
        changes = [connected(address) for _ in range(20)]
        for sock in changes:
            sock.sendall(PUSH % (2, b"Authorization: Bearer secret\r\n") + b"{}")
        assert answered_with(address) == 200
        over.set()
        for sock in changes:
            assert b"400" in sock.recv(100)
            sock.close()


# -- TLS -------------------------------------------------------------------------------------------


def test_a_tls_client_of_a_plain_server_is_told_at_once(project: Project) -> None:
    context = ssl.create_default_context()
    with running(Application(project)) as (_, address), connected(address) as sock:
        began = time.monotonic()
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(sock, server_hostname="localhost")
        assert time.monotonic() - began < NO_ROOM
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(address.replace("http", "https"), timeout=PATIENCE)


def test_tls_is_spoken_with_a_certificate_and_no_handshake_blocks_another(
    project: Project, tmp_path: Path
) -> None:
    archive = archive_of(9 << 20, "a", tmp_path)
    push(project, [archive], Override(namespace="ns"), NOW)
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("127.0.0.1")
    options = ("--tls-cert", str(certificate), "--tls-key", str(key), "--accept-push")
    with serving(project, *options) as address:
        assert address.startswith("https://")
        with Flood(address) as flood, requests.Session() as session:
            session.verify, session.trust_env = str(authority.ca), False
            flood.idle(20)
            flood.half_open(20)  # plain HTTP, which is no handshake
            for _ in range(2):
                pull = f"{address}{BASE}/ns/a/1.0.0/helm/pull"
                assert session.get(pull, timeout=PATIENCE).content == archive.read_bytes()
            part = session.get(pull, headers={"Range": "bytes=9000000-"}, timeout=PATIENCE)
            assert part.content == archive.read_bytes()[9000000:]
            made = session.post(
                f"{address}{BASE}/ns/b", json=chart(), timeout=PATIENCE,
                headers={"Authorization": "Bearer secret"},
            )  # fmt: skip
            assert made.status_code == 200
            refused = session.post(f"{address}{BASE}/ns/b", data=b" " * (8 << 20), timeout=PATIENCE)
            assert refused.status_code == 401


def test_a_key_that_is_not_the_certificates_is_refused_in_words(
    project: Project, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.issue("127.0.0.1")
    _, locked = authority.issue("127.0.0.1", password=b"word")
    arguments = ["serve", "--port", "0", "--tls-cert", str(certificate)]
    assert ran(project, *arguments)[0] == 2
    for wrong in (locked, authority.issue("127.0.0.1")[1], project.folder / "mirror.yaml"):
        code, text = ran(project, *arguments, "--tls-key", str(wrong))
        assert code == 3 and "not a certificate and its key" in text
    assert server_context(certificate, key)


# -- the log, the end, the warning -----------------------------------------------------------------


def test_each_answer_is_a_line_of_the_access_log(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
    with running(Application(project), log=log) as (_, address):
        with connected(address) as sock:
            agent = b'User-Agent: a"b\\c\xe9\r\nReferer: http://r/\r\nConnection: close\r\n'
            sock.sendall(b"GET /healthz?q=\x1b[31m HTTP/1.1\r\n%s\r\n" % agent)
            answered(sock)
        with connected(address) as sock:
            sock.sendall(b"\x16\x03\x01 no HTTP")
            assert b"400 Bad Request" in answered(sock)
        path.rename(tmp_path / "old.log")
        with connected(address) as sock:
            sock.sendall(b"HEAD /nothing HTTP/1.0\r\n\r\n")
            answered(sock)
    log.close()
    first, second = (tmp_path / "old.log").read_text().splitlines()
    assert first.startswith("127.0.0.1 - - [")
    assert r'] "GET /healthz?q=\x1b[31m HTTP/1.1" 200 ' in first
    assert first.endswith(r' "http://r/" "a\x22b\x5cc\xe9"')
    assert '"-" 400 ' in second
    assert '"HEAD /nothing HTTP/1.0" 404 ' in path.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_server_that_is_asked_to_end_finishes_what_is_in_progress(
    project: Project, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    archive = archive_of(18 << 20, "a", tmp_path)
    push(project, [archive], Override(namespace="ns"), NOW)
    with started(project) as (server, address):
        with connected(address) as idle, connected(address) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            sock.sendall(b"GET %s/ns/a/1.0.0/helm/pull HTTP/1.1\r\n\r\n" % BASE.encode())
            begun = sock.recv(1 << 10)
            server.send_signal(number)
            assert answered(idle) == b""
            until(lambda: not takes_connections(address))
            assert server.poll() is None
            head, _, body = (begun + answered(sock)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200") and body == archive.read_bytes()
        assert server.wait(PATIENCE) == code


def test_a_second_signal_ends_a_server_at_once(project: Project, tmp_path: Path) -> None:
    push(project, [archive_of(18 << 20, "a", tmp_path)], Override(namespace="ns"), NOW)
    with started(project) as (server, address), connected(address) as sock:
        sock.sendall(b"GET %s/ns/a/1.0.0/helm/pull HTTP/1.1\r\n\r\n" % BASE.encode())
        sock.recv(1 << 10)
        server.send_signal(signal.SIGTERM)
        until(lambda: not takes_connections(address))
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 143


def takes_connections(address: str) -> bool:
    try:
        connected(address).close()
        return True
    except OSError:
        return False


@contextmanager
def started(project: Project, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command ``serve`` and its address; it is killed if it still runs at the end."""
    server = subprocess.Popen(
        command(project, "serve", "--port", "0", *options), cwd=ROOT, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "CNRMIRROR_TOKEN": "secret"},
    )  # fmt: skip
    assert server.stderr is not None
    try:
        yield server, server.stderr.readline().rpartition(" ")[2].strip()
    finally:
        server.kill()
        server.communicate()


def test_who_listens_to_everybody_is_warned(project: Project, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "authority").issue("127.0.0.1")
    tls = ("--tls-cert", str(certificate), "--tls-key", str(key))
    everybody = ("--host", "0.0.0.0")
    assert told(project, "--accept-push") == ""
    open_to_all = told(project, *everybody, "--accept-push")
    assert "unencrypted" in open_to_all and "nginx or Caddy" in open_to_all
    for options in ((*everybody, *tls, "--accept-push"), everybody):
        text = told(project, *options)
        assert "unencrypted" not in text and "nginx or Caddy" in text


def told(project: Project, *options: str) -> str:
    """What the command says before its address."""
    command_line = command(project, "serve", "--port", "0", *options)
    environment = {**os.environ, "CNRMIRROR_TOKEN": "secret"}
    server = subprocess.Popen(
        command_line, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert server.stderr is not None
    text = ""
    while "serving on" not in (line := server.stderr.readline()):
        text += line
    server.kill()
    server.communicate()
    return text
