"""mirror.yaml: what is wrong is named with its line and its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from cnrmirror.cli import cli
from cnrmirror.mirror import config
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.schema import MEANINGS, keys, schema, schema_as_text
from cnrmirror.mirror.settings import Config
from cnrmirror.model.errors import InputError, InvalidDocument, NotFoundError, UsageError
from cnrmirror.objects.folder import FolderReader
from cnrmirror.sync.open import open_sources
from cnrmirror.views.hosts import configurations
from tests.machine import Machine

ROOT = Path(__file__).parents[1]
HEAD = "id: x\n# a line more\nsources:\n"
REGISTRY = "  up:\n    type: registry\n    url: https://r.example\n"
KEYS = "  up:\n    type: keyvalue\n"


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "mirror.yaml"
    path.write_text(text)
    return config.load(path)


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        (REGISTRY + REGISTRY, 7, "up"),
        (REGISTRY + "    filter:\n      newest: -1\n", 8, "newest"),
        (REGISTRY + "    filter: {newest: 1.5}\n", 7, "newest"),
        (REGISTRY + "    filter:\n      created_after: yesterday\n", 8, "created_after"),
        (REGISTRY + "    filter:\n      packages: ['/ns/[/']\n", 8, "packages"),
        (REGISTRY + "    filter:\n      exclude: ['/(/']\n", 8, "exclude"),
        (REGISTRY + "    filter:\n      releases: 'newer than 1'\n", 8, "releases"),
        (REGISTRY + "    filter:\n      channel: [stable]\n", 8, "channel"),
        (REGISTRY + "    namespaces: ['a/b']\n", 7, "namespaces"),
        (REGISTRY + "    namespaces: ['..']\n", 7, "namespaces"),
        (REGISTRY + "    packages: [nginx]\n", 7, "packages"),
        (REGISTRY + "    packages: ['ns/../x']\n", 7, "packages"),
        (REGISTRY + "    names:\n      quay: ours\n", 7, "names"),
        (REGISTRY + "    names:\n      'quay/*': 'ours/../*'\n", 7, "names"),
        (REGISTRY + "    timeout_seconds: -1\n", 7, "timeout_seconds"),
        (REGISTRY + "    timeout_seconds: 0\n", 7, "timeout_seconds"),
        (REGISTRY + "    rate: -1\n", 7, "rate"),
        (REGISTRY + "    parallel: 0\n", 7, "parallel"),
        (REGISTRY + "    max_shrink: 30\n", 7, "max_shrink"),
        (REGISTRY + "    deletes: maybe\n", 7, "deletes"),
        (REGISTRY + "    changes: maybe\n", 7, "changes"),
        (REGISTRY + "    enumerate: some\n", 7, "enumerate"),
        (REGISTRY + "    token: abc\n", 7, "token"),
        (REGISTRY + "    authorization_env: A\n    authorization_file: b\n", 8,
         "authorization_file"),
        ("  up:\n    type: registry\n    url: ftp://r.example\n", 6, "url"),
        ("  up:\n    type: registry\n    url: '//r.example'\n", 6, "url"),
        ("  up:\n    type: registry\n    url: 'https://[r'\n", 6, "url"),
        ("  up:\n    type: registry\n    url: 'https://user:pass@r.example'\n", 6, "url"),
        ("  up:\n    type: registry\n    url: 'https://r.example/?token=a'\n", 6, "query"),
        (KEYS + "    etcd: 'http://e.example/#a'\n", 6, "fragment"),
        ("  up:\n    type: mirror\n    location: https://r.example?a\n    root: r\n", 6, "query"),
        (REGISTRY + "    client_key: a.pem\n", 7, "client_key"),
        ("  up:\n    type: helm\n    url: https://r.example\n    namespace: a/b\n", 7, "namespace"),
        ("  up:\n    type: charts\n    folder: x\n    namespace: '-'\n", 7, "namespace"),
        (KEYS, 4, "folder, redis and etcd"),
        (KEYS + "    folder: x\n    etcd: http://e.example\n", 4, "folder, redis and etcd"),
        (KEYS + "    redis: redis://user:pass@h/0\n", 6, "redis"),
        (KEYS + "    redis: redis://h/0?password=pass\n", 6, "redis"),
        (KEYS + "    etcd: 'e.example:2379'\n", 6, "etcd"),
        ("  push:\n    type: backup\n    file: x\n", 4, "push"),
        ("  'a b':\n    type: backup\n    file: x\n", 4, "a b"),
        ("  up:\n    file: x\n", 4, "up"),
        ("  up: 3\n", 4, "up"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_key(
    tmp_path: Path, text: str, line: int, key: str
) -> None:
    with pytest.raises(InvalidDocument) as caught:
        loaded(tmp_path, HEAD + text)
    message = caught.value.message
    assert f"mirror.yaml:{line}: " in message and key in message
    assert "pass@" not in message and "=pass" not in message


def test_the_second_of_two_sources_is_named(tmp_path: Path) -> None:
    text = HEAD + REGISTRY + "  other:\n    type: registry\n    url: https://x\n    rate: fast\n"
    with pytest.raises(InvalidDocument, match=r":10: sources\.other\.rate: must be a number at"):
        loaded(tmp_path, text)


def test_a_date_and_a_version_stay_the_text_that_they_are(tmp_path: Path) -> None:
    text = HEAD + REGISTRY + "    filter: {created_after: 2026-01-02, releases: '^1.10'}\n"
    rules = loaded(tmp_path, text).sources["up"].filter
    assert (rules.created_after, rules.releases) == ("2026-01-02", "^1.10")


@pytest.mark.parametrize(
    ("text", "said"),
    [(REGISTRY + "    ca_file: none.pem\n", r"yaml:7: sources\.up\.ca_file: "),
     (REGISTRY + "    client_certificate: none.pem\n", r"yaml:7: .*\.client_certificate: "),
     (REGISTRY + "    authorization_file: none\n", r"yaml:7: .*\.authorization_file: "),
     (REGISTRY + "    authorization_env: NONE_SUCH\n", r"yaml:7: .*authorization_env: .*NONE_SUCH"),
     ("  up: {type: mirror, location: x, root: none.json}\n", "none.json"),
     (KEYS + "    redis: redis://h\n    password_env: NONE_SUCH\n", "NONE_SUCH"),
     (KEYS + "    redis: gopher://h\n", "redis")],
)  # fmt: skip
def test_config_check_misses_what_a_source_needs(project: Project, text: str, said: str) -> None:
    (project.folder / "mirror.yaml").write_text(HEAD + text)
    with pytest.raises((InputError, NotFoundError), match=said):
        open_sources(Project(project.folder), [], {}, lambda location: FolderReader(Path()))
    check = ["-C", str(project.folder), "config", "check", "--secrets"]
    assert isinstance(CliRunner().invoke(cli, check).exception, InputError)


@pytest.mark.parametrize(
    "text",
    [REGISTRY + "    authorization_file: none\n",
     REGISTRY + "    authorization_env: NONE_SUCH\n",
     KEYS + "    redis: redis://h\n    password_env: NONE_SUCH\n"],
)  # fmt: skip
def test_config_check_needs_no_secrets(project: Project, text: str) -> None:
    (project.folder / "mirror.yaml").write_text(HEAD + text)
    result = CliRunner().invoke(cli, ["-C", str(project.folder), "config", "check"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("views: {dialect: x}\n", ":2: views.dialect: 'x' is none of: appr, cnr;"),
        ("viewz: {}\n", ":2: there is no key 'viewz'; did you mean 'views'?"),
        ("views: {zzz: 1}\n", ":2: views: there is no key 'zzz'; there are: dialect, profile,"),
        ("views: 3\n", ":2: views: must be a mapping, not a whole number"),
        ("views: {look: {accent: red}}\n", "views.look.accent: it has not the form that it must"),
        ("hosts: {port: 99999}\n", ":2: hosts.port: must be at least 1 and at most 65535"),
        ("limits: {packd: 1}\n", ":2: limits: there is no key 'packd'; did you mean 'packed' or"),
        ("publish:\n  a: {to: x}\n  b: {to: y, host: z}\n",
         ":4: publish.b.host: 'z' is none of: cloudflare-pages, github-pages,"),
        ("publish:\n  a: {to: x, forms: [json, y]}\n", "publish.a.forms[1]: 'y' is none of: "),
        ("publish:\n  a: {}\n", ":3: publish.a: the key 'to' is missing: s3://BUCKET/PREFIX"),
        ("sources:\n  a: {type: quay}\n",
         ":3: sources.a.type: 'quay' is none of: backup, charts, helm, keyvalue, mirror, oci,"),
        ("sources:\n  a: {}\n", ":3: sources.a: the key 'type' is missing"),
        ("sources:\n  a: {type: helm, url: https://x, namespace: n, duplicates: z}\n",
         ":3: sources.a.duplicates: 'z' is none of: first, last, plain, refuse;"),
        ("sources:\n  a: {type: charts, path: x, namespace: n}\n",
         ":3: sources.a: there is no key 'path'; there are: "),
        ("sources:\n  a: {type: registry, url: https://x, filter: {newest: -1}}\n",
         ":3: sources.a.filter.newest: must be at least"),
        ("acknowledge:\n  - {package: a, reason: b}\n  - {package: c}\n",
         ":4: acknowledge[1]: the key 'reason' is missing: Why it is no fault"),
        ("lock_wait_seconds: soon\n", ":2: lock_wait_seconds: must be a number, not text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_words_of_the_file(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InvalidDocument) as error:
        loaded(tmp_path, f"id: x\n{text}")
    assert said in error.value.message
    assert not any(odd in error.value.message for odd in ("$", "regex", "`", "enum", "object"))


def test_every_key_has_a_meaning_and_an_example_that_fits() -> None:
    whole = schema()
    validator = Draft202012Validator({**whole, "$ref": "#/$defs/Config"})
    meanings = yaml.safe_load(MEANINGS.read_bytes())
    known = set(keys())
    shared = {key for _, key in known}
    for name, each in meanings.items():
        assert name in {"SourceRules"} | whole["$defs"].keys()
        assert set(each) <= (
            shared if name == "SourceRules" else {k for n, k in known if n == name}
        )
    for part in whole["$defs"].values():
        for value in part["properties"].values():
            assert value["description"].endswith(".")
            found = validator.evolve(schema={**value, "$defs": whole["$defs"]})
            assert [e.message for e in found.iter_errors(value["examples"][0])] == []


def test_the_effective_configuration_has_all_defaults_and_is_a_good_one(
    project: Project, tmp_path: Path
) -> None:
    show = ["-C", str(project.folder), "config", "show"]
    text = CliRunner().invoke(cli, [*show, "--effective"]).output
    assert loaded(tmp_path, text) == project.config and "lock_wait_seconds: 60" in text
    assert CliRunner().invoke(cli, show).output == (project.folder / "mirror.yaml").read_text()


def test_init_tells_editors_where_the_schema_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    machine("init", "m")
    first = (machine.folder / "m/mirror.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=.state/mirror.schema.json"
    path = machine.folder / "m/.state/mirror.schema.json"
    assert json.loads(path.read_text())["$id"] == "urn:cnrmirror:mirror.yaml:1"
    path.write_text("old")
    machine("-C", "m", "config", "check")
    assert path.read_text() == schema_as_text() + "\n"


def test_config_check_misses_the_certificates_for_a_mirror(project: Project) -> None:
    root = project.metadata.path / "1.root.json"
    text = f"  up:\n    type: mirror\n    location: https://x\n    root: {root}\n"
    (project.folder / "mirror.yaml").write_text(f"{HEAD}{text}    ca_file: none.pem\n")
    with pytest.raises(InputError, match=r"yaml:8: .*ca_file"):
        open_sources(Project(project.folder), [], {}, lambda at: FolderReader(Path()))


def test_a_source_that_is_not_there_is_said_with_those_that_are(project: Project) -> None:
    (project.folder / "mirror.yaml").write_text(HEAD + REGISTRY)
    with pytest.raises(UsageError, match="'quay'; there are: up"):
        open_sources(Project(project.folder), ["quay"], {}, lambda at: FolderReader(Path()))


def test_the_published_schema_is_the_one_that_the_program_prints() -> None:
    result = CliRunner().invoke(cli, ["config", "schema"])
    assert result.exit_code == 0
    assert (ROOT / "docs/mirror.schema.json").read_text() == result.output


@pytest.mark.parametrize(
    ("address", "written"),
    [("::1", "[::1]"), ("[2001:DB8::1]", "[2001:db8::1]"), ("127.0.0.1", "127.0.0.1"),
     ("localhost", "localhost"), ("mirror.example.com", "mirror.example.com"), ("::", "[::]")],
)  # fmt: skip
def test_an_address_to_listen_on_stands_as_all_servers_take_it(address: str, written: str) -> None:
    texts = configurations("/srv/site", "/srv/hosts", address, 8080)
    assert f"{written}:8080" in texts["nginx.conf"] and f"{written}:8080" in texts["Caddyfile"]
    assert f'server.bind = "{written}"' in texts["lighttpd.conf"]


@pytest.mark.parametrize(
    "hosts",
    ["port: 0", "port: 65536", 'address: "[]"', 'address: ":::::"', 'address: ""',
     'address: "1.2.3"', 'address: "a b"', 'address: "::1]"', 'address: "-x"'],
)  # fmt: skip
def test_what_no_server_can_listen_on_is_refused_by_its_key(tmp_path: Path, hosts: str) -> None:
    (tmp_path / "mirror.yaml").write_text(f"id: x\nhosts: {{{hosts}}}\n")
    with pytest.raises(InvalidDocument, match=r"hosts\.(address|port): "):
        config.load(tmp_path / "mirror.yaml")


@pytest.mark.parametrize(
    "url",
    ["https://user:pass@packages.example.com", "https://user@packages.example.com",
     "javascript:alert(1)", "ftp://packages.example.com", "https://", "https://:80",
     "https://h:0", "https://h:65536", "https://h/?a=b", "https://h/#a", "https://h/a b",
     'https://h/"><script>alert(1)</script>', "https://h/'", "https://h/$(id)", "https://h/`id`",
     "https://h/;id", "https://h\\@e", "https://[::1", "https://[::1]x", "https://h/\\u2028"],
)  # fmt: skip
def test_a_public_address_that_paths_cannot_be_put_after_is_refused(
    project: Project, url: str
) -> None:
    text = (project.folder / "mirror.yaml").read_text().replace("url: ''", "").replace(
        'url: ""', ""
    )  # fmt: skip
    (project.folder / "mirror.yaml").write_text(f"{text}\nurl: {json.dumps(url)}\n")
    result = CliRunner().invoke(cli, ["-C", str(project.folder), "config", "check"])
    assert isinstance(result.exception, InvalidDocument) and result.exception.exit_code == 3
    assert ": url: " in result.exception.message
    assert "pass" not in result.exception.message.replace("password", "")


@pytest.mark.parametrize(
    "url",
    ["https://packages.example.com", "http://127.0.0.1:8080/a/b", "https://[::1]:8443",
     "https://b\u00fccher.example/~me/r%20x", "https://packages.example.com/"],
)  # fmt: skip
def test_a_public_address_is_kept_without_the_slash_at_its_end(tmp_path: Path, url: str) -> None:
    (tmp_path / "mirror.yaml").write_text(f"id: x\nurl: {json.dumps(url)}\n")
    assert config.load(tmp_path / "mirror.yaml").url == url.rstrip("/")
