"""The S3 client against a service that misbehaves in ways that real ones rarely show."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import AccessDenied, NetworkError, Outdated
from cnrmirror.model.progress import NoProgress
from cnrmirror.model.resource import Resource
from cnrmirror.objects.s3 import BucketObjects
from cnrmirror.objects.s3_settings import S3Settings


class Service:
    """Answers what it is told to, then takes everything and looks at no condition."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.objects: dict[str, bytes] = {}
        self.url = ""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, code = found.answers.pop(0) if found.answers else (200, "")
            if status == 200:
                found.objects[self.path] = body
            text = f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
            self._reply(status, b"" if status == 200 else text)

        def do_GET(self) -> None:
            there = found.objects.get(self.path)
            self._reply(200 if there else 404, there or b"<Error><Code>NoSuchKey</Code></Error>")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._reply(200, b"<DeleteResult></DeleteResult>")

        def _reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def place(project: Project, service: Service) -> Iterator[BucketObjects]:
    settings = S3Settings(endpoint=service.url, region="us-east-1")
    found = BucketObjects("s3://site/x", settings, project.store, conditions=True)
    yield found
    found.close()


BLOB = Resource("catalog/nodes/sha256/ab/403", b"{}", cache="immutable")


@pytest.mark.parametrize("code", ["ConditionalRequestConflict", "OperationAborted"])
def test_a_conflict_of_the_service_is_tried_again(
    service: Service, place: BucketObjects, code: str
) -> None:
    service.answers = [(409, code)]
    place.put([BLOB], NoProgress())
    assert service.objects == {f"/site/x/{BLOB.path}": b"{}"}


def test_what_is_there_already_is_left(service: Service, place: BucketObjects) -> None:
    service.answers = [(412, "PreconditionFailed")]
    assert place.create([BLOB], NoProgress()) == []
    assert service.objects == {}


def test_trouble_at_a_key_that_looks_like_a_status_is_trouble(
    service: Service, place: BucketObjects
) -> None:
    service.answers = [(500, "InternalError"), (503, "SlowDown")]
    place.put([BLOB], NoProgress())
    assert len(service.objects) == 1


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "RequestTimeTooSkewed", AccessDenied, "clock"),
        (400, "ExpiredToken", AccessDenied, "credentials"),
        (400, "InvalidStorageClass", NetworkError, "InvalidStorageClass"),
    ],
)
def test_what_cannot_get_better_is_not_tried_again(
    service: Service, place: BucketObjects, status: int, code: str,
    error: type[Exception], words: str,
) -> None:  # fmt: skip
    service.answers = [(status, code)]
    with pytest.raises(error, match=words):
        place.put([BLOB], NoProgress())
    assert service.answers == [] and service.objects == {}


def test_an_endpoint_that_ignores_conditions_is_found_out_and_said(
    service: Service, place: BucketObjects
) -> None:
    place.conditions = None
    tag = place.swap("a", b"1", None)
    assert place.conditions is False and "ignores conditional writes" in place.notes[0]
    with pytest.raises(Outdated):
        place.swap("a", b"2", None)
    assert place.swap("a", b"2", tag)
