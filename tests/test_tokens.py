"""Who may push and delete: tokens with names, namespaces and rights, and those who try without."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import Client, TestResponse

from cnrmirror.mirror.check import check
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InputError, UsageError
from cnrmirror.server import create_app, tokens
from cnrmirror.server.app import Application
from cnrmirror.server.tokens import Token, TokensFile, find, one_token, read_tokens
from cnrmirror.server.writing import Writing
from tests.conftest import NOW
from tests.test_serve import BASE, serving
from tests.test_serve import chart as body_of


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def entry(name: str, namespaces: Any = "*", may: Any = ("push",), **more: Any) -> dict[str, Any]:
    return {
        "name": name, "sha256": digest(f"token of {name}"), "namespaces": namespaces,
        "may": list(may), **more,
    }  # fmt: skip


ENTRIES = [
    entry("ci-bot", ["a"]),
    entry("janitor", ["a", "b"], ["delete"]),
    entry("admin", "*", ["push", "delete"]),
    entry("past", "*", ["push", "delete"], until="2026-01-01"),
    entry("today", "*", ["push"], until="2026-01-02"),
]


def written(path: Path, entries: Any = ENTRIES) -> Path:
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    path.chmod(0o600)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "tokens.yaml")


@pytest.fixture
def client(project: Project, file: Path) -> Client:
    return Client(Application(project, Writing(project, lambda: NOW, TokensFile(file))))


def ask(client: Client, method: str, path: str, who: str, body: Any = None) -> TestResponse:
    headers = {"Authorization": f"Bearer token of {who}"}
    data = b"" if body is None else json.dumps(body).encode()
    return client.open(path, method=method, data=data, headers=headers)


def code_of(answer: TestResponse) -> tuple[int, str]:
    assert answer.json and set(answer.json) == {"code", "message", "details"}
    return answer.status_code, answer.json["code"]


# -- rights ---------------------------------------------------------------------------------------


def test_a_token_pushes_into_its_namespaces_and_nowhere_else(
    client: Client, project: Project
) -> None:
    assert ask(client, "POST", f"{BASE}/a/x", "ci-bot", body_of()).status_code == 200
    refused = ask(client, "POST", f"{BASE}/b/x", "ci-bot", body_of())
    assert code_of(refused) == (403, "forbidden")
    assert refused.json and refused.json["message"] == "this token does not allow to push in b"
    assert project.head().revision == 1


@pytest.mark.parametrize(
    ("method", "path", "right"),
    [
        ("POST", "a/x", "push"),
        ("POST", "a/x/channels/stable/1.0.0", "push"),
        ("DELETE", "a/x/channels/stable", "delete"),
        ("DELETE", "a/x/channels/stable/1.0.0", "delete"),
        ("DELETE", "a/x/1.0.0/helm", "delete"),
    ],
)
def test_each_call_needs_its_right(
    client: Client, project: Project, method: str, path: str, right: str
) -> None:
    ask(client, "POST", f"{BASE}/a/x", "admin", body_of())
    ask(client, "POST", f"{BASE}/a/x/channels/stable/1.0.0", "admin")
    revision = project.head().revision
    may, may_not = ("ci-bot", "janitor") if right == "push" else ("janitor", "ci-bot")
    body = body_of("1.1.0") if path == "a/x" else None
    for prefix in (BASE, BASE.removeprefix("/cnr")):
        refused = ask(client, method, f"{prefix}/{path}", may_not, body)
        assert code_of(refused) == (403, "forbidden")
    assert project.head().revision == revision
    assert ask(client, method, f"{BASE}/{path}", may, body).status_code == 200
    assert check(project).findings == []


def test_a_push_with_force_needs_both_rights_for_it_replaces(client: Client) -> None:
    ask(client, "POST", f"{BASE}/a/x", "ci-bot", body_of())
    for forced in ({**body_of(), "force": True}, {**body_of(), "force": "true"}):
        assert code_of(ask(client, "POST", f"{BASE}/a/x", "ci-bot", forced)) == (403, "forbidden")
    query = ask(client, "POST", f"{BASE}/a/x?force=true", "ci-bot", body_of())
    assert code_of(query) == (403, "forbidden")
    assert ask(client, "POST", f"{BASE}/a/x?force=true", "admin", body_of()).status_code == 200


def test_a_token_is_good_until_the_end_of_its_last_day(client: Client) -> None:
    assert ask(client, "POST", f"{BASE}/a/x", "today", body_of()).status_code == 200
    refused = ask(client, "POST", f"{BASE}/a/y", "past", body_of())
    assert code_of(refused) == (401, "unauthorized-access")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert code_of(ask(client, "POST", f"{BASE}/a/y", "nobody")) == (401, "unauthorized-access")


def test_revisions_say_who_asked_for_them(client: Client, project: Project) -> None:
    ask(client, "POST", f"{BASE}/a/x", "ci-bot", body_of())
    ask(client, "POST", f"{BASE}/a/x/channels/stable/1.0.0", "ci-bot")
    ask(client, "DELETE", f"{BASE}/a/x/channels/stable", "janitor")
    ask(client, "DELETE", f"{BASE}/a/x/1.0.0/helm", "janitor")
    said = [root.message for _, root in project.catalog.history(project.head().catalog)]
    assert said[-2::-1] == [
        "push a/x@1.0.0 (helm) (by ci-bot)",
        "a/x:stable → 1.0.0 (by ci-bot)",
        "remove channel a/x:stable (by janitor)",
        "remove a/x@1.0.0: deleted by the registry's API (by janitor)",
    ]
    assert [t.reason for t in project.document("a/x").tombstones] == [
        "deleted by the registry's API"
    ]


def test_one_token_has_all_rights_and_no_name(project: Project) -> None:
    app = Application(project, Writing(project, lambda: NOW, one_token("token of all")))
    client = Client(app)
    assert ask(client, "POST", f"{BASE}/a/x", "all", body_of()).status_code == 200
    assert ask(client, "POST", f"{BASE}/a/x?force=true", "all", body_of()).status_code == 200
    assert ask(client, "DELETE", f"{BASE}/a/x/1.0.0/helm", "all").status_code == 200
    said = [root.message for _, root in project.catalog.history(project.head().catalog)]
    assert not [message for message in said if "(by" in message]
    nobody = Client(Application(project, Writing(project, lambda: NOW, one_token(""))))
    for header in ("", "Bearer", "Bearer "):
        answer = nobody.post(f"{BASE}/a/y", headers={"Authorization": header})
        assert answer.status_code == 401


# -- attacks --------------------------------------------------------------------------------------

# Paths that a token for namespace "a" must not get through with, or only as a/….
ALIKE = [
    "ab/x", "A/x", "a./x", "a-/x", "%61b/x", "aa/x", "a%20/x", "a%00/x", "%00a/x", "a%0a/x",
    "a%09/x", "\u0430/x", "%D0%B0/x", "%EF%BD%81/x", "a%CC%81/x", "%C1%A1/x", "a%ff/x", "*/x",
    "%2A/x", "/a/x", "%2Fa/x", "./a/x", "%2e/a", "../a/x", "b%2F..%2Fa/x", "a/../b/x",
    "a%2F..%2Fb/x", "a/..%2Fb/x", "a%2Fb/x", "a%5Cb/x", "b/a", "b/x%3Fa", "b;a/x", "a;b/x",
    "a,b/x", "b%23/x",
]  # fmt: skip


@pytest.mark.parametrize("path", ALIKE)
def test_a_namespace_that_looks_alike_is_another(
    client: Client, project: Project, path: str
) -> None:
    answer = ask(client, "POST", f"{BASE}/{path}", "ci-bot", body_of())
    assert answer.status_code in (301, 308, 403, 404, 405, 422), answer.data
    assert project.head().revision == 0
    for other in ("channels/stable/1.0.0", "1.0.0/helm", "channels/stable"):
        for method in ("POST", "DELETE"):
            status = ask(client, method, f"{BASE}/{path}/{other}", "ci-bot").status_code
            assert status in (301, 308, 403, 404, 405, 422)
    assert project.head().revision == 0


@pytest.mark.parametrize("path", ["a/x", "%61/x", "a%2Fx", "a/%78", "a/x/"])
def test_a_path_is_decoded_once_for_the_right_and_for_the_deed(
    client: Client, project: Project, path: str
) -> None:
    assert ask(client, "POST", f"{BASE}/{path}", "ci-bot", body_of()).status_code == 200
    assert [ref.name for ref in project.catalog.packages(project.tree())] == ["a/x"]


names = st.text(st.sampled_from("aAbB/.%*- _\u0430\u00e4\x00\n"), min_size=0, max_size=6)


@given(names, names)
def test_a_right_is_for_a_namespace_to_the_letter(namespace: str, package: str) -> None:
    token = Token(name="x", sha256=digest("x"), namespaces=["a"], may=["push"])
    assert token.allows("push", f"{namespace}/{package}") == (
        namespace == "a" or namespace.startswith("a/")
    )
    assert not token.allows("delete", f"{namespace}/{package}")


HEADERS = {
    "Bearer token of ci-bot": True,
    "bearer token of ci-bot": True,
    "BEARER token of ci-bot": True,
    "Token token of ci-bot": True,
    "Bearer   token of ci-bot  ": True,
    "Bearer \ttoken of ci-bot\t": True,
    "Bearer\ttoken of ci-bot": False,
    "Bearer: token of ci-bot": False,
    "Bearertoken of ci-bot": False,
    "Digest token of ci-bot": False,
    "Bearer Bearer token of ci-bot": False,
    "Bearer token of ci-bot, Bearer x": False,
    "Bearer token of ci-bo": False,
    "Bearer token of ci-bott": False,
    "Bearer TOKEN OF CI-BOT": False,
    "Bearer token of ci-bot\u00a0x": False,
    f"Bearer {digest('token of ci-bot')}": False,
    "Bearer": False,
    "Bearer ": False,
    "": False,
    " ": False,
}


@pytest.mark.parametrize("header", HEADERS)
def test_odd_headers_bring_the_token_or_none(header: str) -> None:
    given = [Token(name="ci-bot", sha256=digest("token of ci-bot"), namespaces="*", may=["push"])]
    assert bool(find(given, header, NOW)) == HEADERS[header]


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_header_at_random_brings_a_token_or_fails(header: str) -> None:
    given = [Token(name="x", sha256=digest("a token that is long"), namespaces="*", may=["push"])]
    assert find(given, header, NOW) is None


def test_a_token_without_a_scheme_may_not_have_blanks() -> None:
    given = [Token(name="x", sha256=digest("word"), namespaces="*", may=["push"])]
    assert find(given, "word", NOW) and not find(given, "wo rd", NOW)


def test_a_token_in_the_address_the_body_or_a_cookie_is_none(
    client: Client, project: Project
) -> None:
    word = "token of ci-bot"
    path = f"{BASE}/a/x?token={word}&access_token={word}&authorization=Bearer {word}"
    for headers in ({}, {"Cookie": f"token={word}"}, {"X-Authorization": f"Bearer {word}"},
                    {"Proxy-Authorization": f"Bearer {word}"}, {"Token": word}):  # fmt: skip
        answer = client.post(path, json={**body_of(), "token": word}, headers=headers)
        assert code_of(answer) == (401, "unauthorized-access")
    assert project.head().revision == 0


def test_an_answer_to_a_wrong_token_says_nothing_of_the_right_ones(client: Client) -> None:
    wrong = ask(client, "POST", f"{BASE}/a/x", "nobody", body_of())
    late = ask(client, "POST", f"{BASE}/a/x", "past", body_of())
    none = client.post(f"{BASE}/a/x", json=body_of())
    assert wrong.data == late.data == none.data


def test_many_wrong_tries_read_no_file_and_touch_no_mirror(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(client, "POST", f"{BASE}/a/x", "nobody", body_of())

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a wrong try is to be cheap")

    monkeypatch.setattr(tokens, "read_regular", never)
    monkeypatch.setattr(Project, "signing", never)
    monkeypatch.setattr("cnrmirror.server.writing.parse_json", never)
    for number in range(500):
        answer = ask(client, "POST", f"{BASE}/a/x", f"guess {number}", {"a": "x" * 1000})
        assert answer.status_code == 401
        assert ask(client, "DELETE", f"{BASE}/a/x/1.0.0/helm", f"{number}").status_code == 401


def test_every_token_is_compared_whichever_is_the_right_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def compare(one: str, other: str) -> bool:
        seen.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    given = [Token(name=n, sha256=digest(n), namespaces="*", may=["push"]) for n in "abc"]
    for header in ("Bearer a", "Bearer c", "Bearer x"):
        find(given, header, NOW)
    assert seen == [digest(n) for n in "abc"] * 3


# -- the file -------------------------------------------------------------------------------------


def test_a_file_may_be_yaml_or_json(tmp_path: Path) -> None:
    text = "".join(
        f"- name: {e['name']}\n  sha256: {e['sha256']}\n  may: [{', '.join(e['may'])}]\n"
        f"  namespaces: {json.dumps(e['namespaces'])}\n"
        + (f"  until: {e['until']}\n" if "until" in e else "")
        for e in ENTRIES
    )
    yaml = read_tokens(written(tmp_path / "a.yaml", text))
    assert yaml == read_tokens(written(tmp_path / "a.json")) and len(yaml) == 5


BAD: dict[str, tuple[Any, str]] = {
    "no list": ("{}", "Expected `array`"),
    "empty": ("", "Expected `array`"),
    "no YAML": ("- [", "while parsing"),
    "a star without quotes": ("- {namespaces: *}", "alias"),
    "a key twice": ("- {name: a, name: b}", "is there twice"),
    "an unknown field": ([entry("a", expires="2026-01-01")], "unknown field `expires`"),
    "no digest": ([{"name": "a", "namespaces": "*", "may": ["push"]}], "required field `sha256`"),
    "the token itself": ([{**entry("a"), "sha256": "secret"}], "- at `$[0].sha256`"),
    "capital letters": ([{**entry("a"), "sha256": "A" * 64}], "- at `$[0].sha256`"),
    "the digest of nothing": ([{**entry("a"), "sha256": digest("")}], "hash the token itself"),
    "the digest of an empty line": ([{**entry("a"), "sha256": digest("\n")}], "hash the token"),
    "a right that is none": ([entry("a", may=["pull"])], "'pull' - at `$[0].may[0]`"),
    "no right": ([entry("a", may=[])], "gives no right"),
    "no namespace": ([entry("a", [])], "gives no right"),
    "a pattern": ([entry("a", ["team-*"])], "'team-*' is not a namespace"),
    "a path": ([entry("a", ["a/b"])], "'a/b' is not a namespace"),
    "a star in a list": ([entry("a", ["*"])], "namespaces: '*'"),
    "one namespace that is no list": ([entry("a", "charts")], "- at `$[0].namespaces`"),
    "a name twice": ([entry("a"), {**entry("b"), "name": "a"}], "the name 'a' is there twice"),
    "a token twice": ([entry("a"), {**entry("a"), "name": "b"}], "a and b have one token"),
    "a name with a line": ([{**entry("a"), "name": "a\nb"}], "- at `$[0].name`"),
    "a name with a line's end": ([{**entry("a"), "name": "a\n"}], "- at `$[0].name`"),
    "no name": ([{**entry("a"), "name": ""}], "- at `$[0].name`"),
    "no day": ([entry("a", until="soon")], "- at `$[0].until`"),
    "no such day": ([entry("a", until="2026-02-30")], "no such day"),
    "too deep": ("[" * 5000, ""),
    "too long": ("#" * (300 << 10), "more than"),
    "not UTF-8": ("- \udcff", ""),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_wrong_is_refused_with_what_and_where(tmp_path: Path, name: str) -> None:
    text, said = BAD[name]
    path = tmp_path / "tokens.yaml"
    data = text if isinstance(text, str) else json.dumps(text)
    path.write_bytes(data.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        TokensFile(path)
    assert str(path) in caught.value.message and said in caught.value.message
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_change_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(InputError, match="chmod go-w"):
        TokensFile(file)


def test_a_file_that_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError):
            TokensFile(path)


def test_a_changed_file_counts_at_once(client: Client, file: Path, project: Project) -> None:
    assert ask(client, "POST", f"{BASE}/a/x", "ci-bot", body_of()).status_code == 200
    written(file, [entry("new")])
    assert ask(client, "POST", f"{BASE}/a/y", "ci-bot", body_of()).status_code == 401
    assert ask(client, "POST", f"{BASE}/a/y", "new", body_of()).status_code == 200
    written(file.with_name("other"), [entry("newer")]).replace(file)
    assert ask(client, "POST", f"{BASE}/a/z", "new", body_of()).status_code == 401
    assert ask(client, "POST", f"{BASE}/a/z", "newer", body_of()).status_code == 200


@pytest.mark.parametrize("how", ["bad", "gone", "open"])
def test_while_the_file_is_bad_no_token_counts_and_its_owner_is_told_once(
    project: Project, file: Path, how: str
) -> None:
    told: list[str] = []
    writing = Writing(project, lambda: NOW, TokensFile(file, told.append))
    client = Client(Application(project, writing))
    if how == "gone":
        file.unlink()
    elif how == "open":
        file.chmod(0o666)
    else:
        file.write_text("- {")
    for _ in range(3):
        answer = ask(client, "POST", f"{BASE}/a/x", "admin", body_of())
        assert answer.status_code == 503 and answer.json
        assert str(file) not in answer.text
    assert len(told) == 1 and str(file) in told[0] and "no token counts" in told[0]
    assert not writing.permits("POST", f"{BASE}/a/x", "Bearer token of admin")
    assert client.get(BASE).status_code == 200
    written(file)
    assert ask(client, "POST", f"{BASE}/a/x", "admin", body_of()).status_code == 200


def test_several_threads_see_one_file(file: Path) -> None:
    source, seen = TokensFile(file), set()

    def look() -> None:
        for _ in range(200):
            seen.add(len(source()))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for count in (1, 5, 2):
        written(file.with_name("other"), ENTRIES[:count]).replace(file)
    for thread in threads:
        thread.join()
    assert seen <= {1, 2, 5} and len(source()) == 2


# -- the server -----------------------------------------------------------------------------------


@contextmanager
def raw(address: str, request: str) -> Iterator[socket.socket]:
    host, _, port = address.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as sock:
        sock.sendall(request.encode("latin-1"))
        yield sock


def test_serve_takes_no_body_that_its_token_does_not_allow(project: Project, file: Path) -> None:
    with serving(project, "--accept-push", "--tokens", str(file)) as address:
        for path, word, status in (
            (f"{BASE}/b/x", "token of ci-bot", "403"),
            (f"{BASE}/a/x", "secret", "401"),
            (f"{BASE}/a/x/y", "token of ci-bot", "405"),
            ("/anything", "token of ci-bot", "404"),
        ):
            head = (
                f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {word}\r\n"
                "Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
            )
            with raw(address, head) as sock:
                assert sock.recv(64).split()[1].decode() == status
        done = requests.post(
            f"{address}{BASE}/a/x", json=body_of(), timeout=60,
            headers={"Authorization": "Bearer token of ci-bot"},
        )  # fmt: skip
        assert done.status_code == 200


def test_two_headers_bring_no_token(project: Project, file: Path) -> None:
    with serving(project, "--accept-push", "--tokens", str(file)) as address:
        head = (
            f"DELETE {BASE}/a/x/1.0.0/helm HTTP/1.1\r\nHost: x\r\n"
            "Authorization: Bearer x\r\nAuthorization: Bearer token of admin\r\n\r\n"
        )
        with raw(address, head) as sock:
            assert sock.recv(64).split()[1] == b"401"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--tokens", "TOKENS"], 2, "--tokens needs --accept-push"),
        (["--accept-push", "--tokens", "TOKENS", "--token-file", "TOKENS"], 2, "an entry"),
        (["--accept-push", "--tokens", "BAD"], 3, "Expected `array`"),
        (["--accept-push", "--tokens", "TOKENS", "BUNDLE"], 2, "a bundle is read-only"),
    ],
)
def test_what_cannot_be_meant_is_said(
    project: Project, file: Path, options: list[str], code: int, said: str
) -> None:
    bad = written(file.with_name("bad"), "{}")
    words = {"TOKENS": str(file), "BAD": str(bad), "BUNDLE": str(file.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "cnrmirror", "-C", str(project.folder), "serve",
         *(words.get(o, o) for o in options)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code and said in done.stderr, done.stderr


def test_create_app_takes_a_file_of_tokens(project: Project, file: Path) -> None:
    with pytest.raises(UsageError):
        create_app(project.folder, accept_push=True, token="x", tokens=file)
    written(file, [entry("ci-bot", ["a"])])
    client = Client(create_app(project.folder, accept_push=True, tokens=file))
    assert ask(client, "POST", f"{BASE}/a/x", "ci-bot", body_of()).status_code == 200
    assert ask(client, "POST", f"{BASE}/b/x", "ci-bot", body_of()).status_code == 403
