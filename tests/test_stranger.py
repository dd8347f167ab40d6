"""A stranger with bash, jq and openssl reads a mirror: recover.sh, on sites and on bundles.

The mirror is made by the commands alone. What the script writes is compared with the blobs, byte by
byte; whatever is tampered with, it refuses, and names the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, TargetFile
from tuf.api.serialization.json import JSONSerializer

from tests.conftest import chart_bytes, tar_gz
from tests.mirrors import _HOME

SCRIPT = Path(__file__).parents[1] / "templates" / "recover.sh"
META = "catalog/metadata"
CHARTS = 90
Json = dict[str, Any]

if not os.environ.get("CI"):
    for _tool in ("bash", "jq", "openssl"):
        if shutil.which(_tool) is None:
            pytest.skip(f"{_tool} is not on this machine", allow_module_level=True)


def run(*arguments: object, cwd: Path | None = None) -> str:
    """A command of cnrmirror, as it is typed; gives what it prints."""
    command = [sys.executable, "-m", "cnrmirror", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


class Mirror:
    """A mirror as its publisher has it, and what a stranger is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mirror"
        self.offline = folder / "offline"
        run("init", self.folder, "--offline-keys", self.offline)
        self.site = self.folder / "site"
        self.root = folder / "root.json"
        shutil.copy(self.site / META / "1.root.json", self.root)
        self.registry = self.signed("1.root.json")["x-registry"]

    def __call__(self, *arguments: object) -> str:
        return run("-C", self.folder, *arguments)

    def signed(self, name: str) -> Json:
        found: Json = json.loads((self.site / META / name).read_bytes())["signed"]
        return found

    def signer(self, purpose: str) -> CryptoSigner:
        (path,) = Path(_HOME, "config/cnrmirror/keys", self.registry).glob(f"{purpose}-*.pem")
        private = load_pem_private_key(path.read_bytes(), None)
        return CryptoSigner(private)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Mirror:
    """Ninety charts, a kpm package, a second release, channels, and a new root in between."""
    folder = tmp_path_factory.mktemp("stranger")
    charts = folder / "charts"
    charts.mkdir()
    for number in range(CHARTS):
        data = chart_bytes(f"p{number}", "1.0.0", os.urandom(300 if number % 6 else 16_000).hex())
        (charts / f"p{number}-1.0.0.tgz").write_bytes(data)
    mirror = Mirror(folder)
    mirror("push", "--namespace", "charts", charts)
    kpm = folder / "chat.tar.gz"
    kpm.write_bytes(tar_gz({"manifest.yaml": b"package: {name: apps/chat, version: 2.0.0}\n"}))
    mirror("push", "--as", "apps/chat", "--release", "2.0.0-rc.1+b.7", "-t", "kpm", kpm)
    root = mirror.signed("1.root.json")
    proposal = folder / "next.json"
    mirror("root", "propose", "--out", proposal, "--new-keys", folder / "new-keys",
           "--replace", root["roles"]["root"]["keyids"][0][:8])  # fmt: skip
    mirror("root", "sign", proposal, "--offline-keys", mirror.offline)
    mirror("root", "publish", proposal)
    newer = folder / "p7-1.1.0.tgz"
    newer.write_bytes(chart_bytes("p7", "1.1.0"))
    mirror("push", "--namespace", "charts", "--channel", "stable", newer)
    assert mirror.signed("2.root.json")["version"] == 2
    return mirror


@pytest.fixture(scope="module")
def bundle(mirror: Mirror) -> Path:
    """The same mirror in six volumes or more."""
    folder = mirror.folder.parent / "bundle"
    mirror("export", folder, "--volume-size", "100K")
    assert len(list(folder.glob("volume-*.tar"))) >= 6
    return folder


@pytest.fixture
def site(mirror: Mirror, tmp_path: Path) -> Path:
    """A copy of the catalog that can be tampered with."""
    shutil.copytree(mirror.site / "catalog", tmp_path / "site" / "catalog")
    return tmp_path / "site"


@pytest.fixture
def carried(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that can be tampered with."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def good(*arguments: object) -> str:
    done = script(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(code: int, named: str, *arguments: object) -> None:
    """The script ends with this code, and the message has this text."""
    done = script(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert named in done.stderr
    assert "good:" not in done.stdout


def documents(mirror: Mirror) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for path in (mirror.site / "catalog/nodes").rglob("*"):
        if path.is_file() and (document := json.loads(path.read_bytes()))["kind"] == "package":
            name = document["package"]
            if name not in found or len(document["releases"]) > len(found[name]["releases"]):
                found[name] = document
    return found


@pytest.mark.parametrize("kind", ["site", "bundle"])
def test_every_package_comes_out_byte_by_byte(
    mirror: Mirror, bundle: Path, tmp_path: Path, kind: str
) -> None:
    place = mirror.site if kind == "site" else bundle
    told = good("recover", "--root", mirror.root, "--diff-ids", tmp_path / "out", place)
    assert f"{CHARTS + 1} packages, {CHARTS + 2} releases" in told
    expected = {}
    for name, document in documents(mirror).items():
        for release in document["releases"]:
            file = f"{name.partition('/')[2]}-{release['release']}.{release['media_type']}.tar.gz"
            digest = release["blob"]["digest"]
            blob = mirror.site / f"catalog/blobs/sha256/{digest[:2]}/{digest}"
            expected[f"{name}/{file}"] = blob.read_bytes()
        expected[f"{name}/package.json"] = msgspec.json.encode(document, order="sorted")
    assert "apps/chat/chat-2.0.0-rc.1+b.7.kpm.tar.gz" in expected
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in files} == expected


def test_the_list_names_each_archive_and_the_receipt_is_held_to(
    mirror: Mirror, bundle: Path
) -> None:
    receipt = json.loads((bundle / "bundle.json").read_bytes())["receipt"]
    lines = good("list", "--root", mirror.root, "--expect", receipt, bundle).splitlines()
    assert len(lines) == CHARTS + 2
    assert [line for line in lines if line.startswith("charts/p7 1.1.0 helm ")]
    refused(9, "the receipt says", "list", "--root", mirror.root, "--expect", "0" * 64, bundle)


def test_the_volumes_may_lie_on_several_disks(mirror: Mirror, carried: Path) -> None:
    other = carried.parent / "other"
    other.mkdir()
    for path in sorted(carried.glob("volume-*.tar"))[::2]:
        path.rename(other / path.name)
    good("verify", "--root", mirror.root, other, carried)
    refused(11, "missing", "verify", "--root", mirror.root, carried)


def test_a_difference_is_read_with_what_it_continues_from(mirror: Mirror, tmp_path: Path) -> None:
    mirror("export", tmp_path / "old", "--since", "2")
    refused(11, "missing", "verify", "--root", mirror.root, tmp_path / "old")
    good("verify", "--root", mirror.root, tmp_path / "old", mirror.site)


def test_a_part_lists_what_is_not_in_it(mirror: Mirror, tmp_path: Path) -> None:
    mirror("export", tmp_path / "part", "--package", "apps/*")
    arguments = ("recover", "--root", mirror.root, "--partial", tmp_path / "out", tmp_path / "part")
    assert f"not in this part: {CHARTS} files" in good(*arguments)
    assert (tmp_path / "out/apps/chat/chat-2.0.0-rc.1+b.7.kpm.tar.gz").is_file()
    refused(3, "not empty", *arguments)


def test_age_is_judged_as_of_the_clock_or_of_a_time(mirror: Mirror, site: Path) -> None:
    late = ("verify", "--root", mirror.root, "--at", "2999-01-01T00:00:00", site)
    refused(10, "expired", *late)
    done = script(*late, "--ignore-expiry")
    assert done.returncode == 13 and "NOT FRESH" in done.stderr and "good:" in done.stdout
    refused(
        10, "in the future", "verify", "--root", mirror.root, "--at", "2001-01-01T00:00:00", site
    )


def test_the_canonical_json_is_that_of_tuf(mirror: Mirror, tmp_path: Path) -> None:
    """What signatures cover, also with line feeds (PEM), quotes, back slashes and other scripts."""
    text = SCRIPT.read_text().partition("PRELUDE='\n")[2].partition("\n'\n")[0]
    odd = tmp_path / "odd.json"
    signed = Metadata.from_file(str(mirror.site / META / "2.root.json"))
    signed.signed.unrecognized_fields["x-odd"] = {
        "b": ['"', "\\", "\n\t\x01\x7f", "é€😀", {}, []], "B": None, "a b": True, "": -0, "ü": 7,
    }  # fmt: skip
    odd.write_bytes(signed.to_bytes(JSONSerializer()))
    for path in (odd, *sorted((mirror.site / META).iterdir())):
        program = f"{text} .signed | canonical"
        done = subprocess.run(["jq", "-j", program, str(path)], capture_output=True, check=True)
        assert done.stdout == Metadata.from_file(str(path)).signed_bytes, path


# -- tampering with a site --

Attack = Callable[[Mirror, Path], str]


def flip(path: Path, at: int = -3) -> str:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    return path.name


def blob_of(site: Path, package: str) -> Path:
    for path in (site / "catalog/nodes").rglob("*"):
        if path.is_file() and f'"package":"{package}"'.encode() in path.read_bytes():
            digest = json.loads(path.read_bytes())["releases"][0]["blob"]["digest"]
            return site / f"catalog/blobs/sha256/{digest[:2]}/{digest}"
    raise LookupError(package)


def node_of(site: Path, kind: str, package: str = "") -> Path:
    """A node that the current catalog names."""
    root = json.loads(head_of(site).read_bytes())
    nodes = list(root["tree"]["children"].values())
    path = Path()
    for child in nodes:
        path = site / f"catalog/nodes/sha256/{child['digest'][:2]}/{child['digest']}"
        node = json.loads(path.read_bytes())
        for ref in node["packages"]:
            if kind == "package" and ref["name"] == package:
                return site / f"catalog/nodes/sha256/{ref['digest'][:2]}/{ref['digest']}"
    assert kind == "leaf"
    return path


def newest(site: Path, role: str) -> Path:
    found = (site / META).glob(f"*.{role}.json")
    return max(found, key=lambda path: int(path.name.partition(".")[0]))


def head_of(site: Path) -> Path:
    target = json.loads(newest(site, "catalog").read_bytes())["signed"]["targets"]["catalog.json"]
    return site / f"catalog/targets/{target['hashes']['sha256']}.catalog.json"


def a_bit_in_an_archive(mirror: Mirror, site: Path) -> str:
    return flip(blob_of(site, "charts/p3"))


def a_bit_in_a_document(mirror: Mirror, site: Path) -> str:
    return flip(node_of(site, "package", "charts/p9"))


def a_bit_in_a_leaf(mirror: Mirror, site: Path) -> str:
    return flip(node_of(site, "leaf"))


def a_bit_in_the_catalog_root(mirror: Mirror, site: Path) -> str:
    return flip(head_of(site))


def a_bit_in_an_older_catalog_root(mirror: Mirror, site: Path) -> str:
    root = json.loads(head_of(site).read_bytes())
    return flip(site / f"catalog/targets/{root['parent']['digest']}.catalog.json")


def a_bit_in_a_signature(mirror: Mirror, site: Path) -> str:
    path = site / META / "timestamp.json"
    document = json.loads(path.read_bytes())
    sig = document["signatures"][0]["sig"]
    document["signatures"][0]["sig"] = ("1" if sig[0] == "0" else "0") + sig[1:]
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return "timestamp.json: signed by 0"


def a_timestamp_for_longer(mirror: Mirror, site: Path) -> str:
    path = site / META / "timestamp.json"
    document = json.loads(path.read_bytes())
    document["signed"]["expires"] = "2999-01-01T00:00:00Z"
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return "timestamp.json: signed by 0"


def a_timestamp_in_another_form(mirror: Mirror, site: Path) -> str:
    path = site / META / "timestamp.json"
    path.write_bytes(path.read_bytes() + b"\n")
    return "timestamp.json: not in its one form"


def a_timestamp_by_the_publish_key(mirror: Mirror, site: Path) -> str:
    path = site / META / "timestamp.json"
    metadata = Metadata.from_file(str(path))
    metadata.sign(mirror.signer("publish"))
    path.write_bytes(metadata.to_bytes(JSONSerializer(compact=True)))
    return "timestamp.json: signed by 0"


def a_role_file_of_another_version(mirror: Mirror, site: Path) -> str:
    shutil.copy(newest(site, "snapshot"), site / META / "keep")
    shutil.copy(site / META / "1.snapshot.json", newest(site, "snapshot"))
    return newest(site, "snapshot").name


def a_bit_in_the_targets(mirror: Mirror, site: Path) -> str:
    return flip(newest(site, "targets"))


def a_bit_in_the_catalog_role(mirror: Mirror, site: Path) -> str:
    return flip(newest(site, "catalog"))


def a_foreign_first_root(mirror: Mirror, site: Path) -> str:
    foreign(site, mirror.folder.parent, ("1.root.json",))
    return "1.root.json: signed by 0"


def a_first_root_with_the_right_keys_but_not_the_pinned_one(mirror: Mirror, site: Path) -> str:
    path = site / META / "1.root.json"
    metadata = Metadata.from_file(str(path))
    metadata.signed.unrecognized_fields["x-registry"] = "another"
    metadata.signatures.clear()
    for name in root_keys(mirror):
        metadata.sign(name, append=True)
    path.write_bytes(metadata.to_bytes(JSONSerializer(compact=True)))
    return "1.root.json: not the root that is pinned"


def root_keys(mirror: Mirror) -> list[CryptoSigner]:
    """The offline root keys, of the first root."""
    paths = sorted(mirror.offline.glob("root-*.pem"))
    found = [load_pem_private_key(path.read_bytes(), None) for path in paths]
    return [CryptoSigner(private) for private in found]


def a_foreign_second_root(mirror: Mirror, site: Path) -> str:
    foreign(site, mirror.folder.parent, ("1.root.json",), "2.root.json")
    return "2.root.json"


def a_foreign_mirror(mirror: Mirror, site: Path) -> str:
    (site / META / "1.root.json").unlink()
    (site / META / "2.root.json").unlink()
    foreign(site, mirror.folder.parent, ("timestamp.json",))
    return "timestamp.json: signed by 0"


def foreign(site: Path, folder: Path, names: tuple[str, ...], to: str = "") -> None:
    """Files of somebody else's mirror in the place of the publisher's."""
    other = folder / "foreign"
    if not other.exists():
        run("init", other, "--solo", "--offline-keys", folder / "foreign-keys")
    for name in names:
        shutil.copy(other / "site" / META / name, site / META / (to or name))


def a_root_with_too_few_signatures(mirror: Mirror, site: Path) -> str:
    path = site / META / "2.root.json"
    document = json.loads(path.read_bytes())
    document["signatures"] = document["signatures"][:1]
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return "2.root.json (by the keys of root 1): signed by 1 of the keys that count, 2"


def a_root_with_one_signature_twice(mirror: Mirror, site: Path) -> str:
    path = site / META / "2.root.json"
    document = json.loads(path.read_bytes())
    document["signatures"] = document["signatures"][:1] * 2
    path.write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    return "2.root.json (by the keys of root 1): signed by 1 of the keys that count, 2"


def the_newest_root_held_back(mirror: Mirror, site: Path) -> str:
    (site / META / "2.root.json").unlink()
    return "2.root.json: missing"


def two_archives_swapped(mirror: Mirror, site: Path) -> str:
    one, two = blob_of(site, "charts/p3"), blob_of(site, "charts/p4")
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    return "catalog/blobs/sha256/"


def two_documents_swapped(mirror: Mirror, site: Path) -> str:
    one, two = (node_of(site, "package", f"charts/p{n}") for n in (3, 4))
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)
    return "catalog/nodes/sha256/"


def a_missing_node(mirror: Mirror, site: Path) -> str:
    path = node_of(site, "package", "charts/p9")
    path.unlink()
    return f"{path.name}: missing"


def a_missing_archive(mirror: Mirror, site: Path) -> str:
    path = blob_of(site, "charts/p9")
    path.unlink()
    return f"{path.name}: missing"


def an_endless_archive(mirror: Mirror, site: Path) -> str:
    path = blob_of(site, "charts/p9")
    with path.open("ab") as stream:
        stream.truncate(1 << 40)  # sparse: to read it would take hours
    return f"{path.name}: not as long as signed"


def an_endless_timestamp(mirror: Mirror, site: Path) -> str:
    with (site / META / "timestamp.json").open("ab") as stream:
        stream.truncate(1 << 40)
    return "timestamp.json: longer than 16384 bytes"


def a_pipe_for_an_archive(mirror: Mirror, site: Path) -> str:
    path = blob_of(site, "charts/p9")
    path.unlink()
    os.mkfifo(path)
    return f"{path.name}: not a plain file"


def a_link_for_a_node(mirror: Mirror, site: Path) -> str:
    path = node_of(site, "package", "charts/p9")
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))
    return f"{path.name}: not a plain file"


SITE_ATTACKS: list[Attack] = [
    a_bit_in_an_archive, a_bit_in_a_document, a_bit_in_a_leaf, a_bit_in_the_catalog_root,
    a_bit_in_an_older_catalog_root, a_bit_in_a_signature, a_timestamp_for_longer,
    a_timestamp_in_another_form, a_timestamp_by_the_publish_key, a_role_file_of_another_version,
    a_bit_in_the_targets, a_bit_in_the_catalog_role, a_foreign_first_root, a_foreign_second_root,
    a_first_root_with_the_right_keys_but_not_the_pinned_one,
    a_foreign_mirror, a_root_with_too_few_signatures, a_root_with_one_signature_twice,
    the_newest_root_held_back, two_archives_swapped, two_documents_swapped, a_missing_node,
    a_missing_archive, an_endless_archive, an_endless_timestamp, a_pipe_for_an_archive,
    a_link_for_a_node,
]  # fmt: skip


def words(attack: Callable[..., str]) -> str:
    return attack.__name__.replace("_", " ")


@pytest.mark.parametrize("attack", SITE_ATTACKS, ids=words)
def test_a_site_is_refused_with(mirror: Mirror, site: Path, attack: Attack) -> None:
    named = attack(mirror, site)
    code = 11 if "missing" in named else 9
    refused(code, named, "verify", "--root", mirror.root, site)


# -- what only a thief of the keys can sign --


def signed_again(mirror: Mirror, site: Path, edit: Callable[[Json], object]) -> None:
    """The current catalog root edited, and all above it signed by the true online keys."""
    root = json.loads(head_of(site).read_bytes())
    edit(root)
    data = msgspec.json.encode(root, order="sorted")
    digest = hashlib.sha256(data).hexdigest()
    (site / f"catalog/targets/{digest}.catalog.json").write_bytes(data)
    catalog, snapshot = newest(site, "catalog"), newest(site, "snapshot")
    role: Any = Metadata.from_file(str(catalog))
    custom = role.signed.targets["catalog.json"].unrecognized_fields
    target = TargetFile(len(data), {"sha256": digest}, "catalog.json", custom)
    role.signed.targets["catalog.json"] = target
    written = _write(catalog, role, mirror.signer("publish"))
    role = Metadata.from_file(str(snapshot))
    role.signed.meta["catalog.json"] = written
    written = _write(snapshot, role, mirror.signer("refresh"))
    role = Metadata.from_file(str(site / META / "timestamp.json"))
    role.signed.snapshot_meta = written
    _write(site / META / "timestamp.json", role, mirror.signer("refresh"))


def _write(path: Path, role: Any, signer: CryptoSigner) -> MetaFile:
    role.sign(signer)
    data = role.to_bytes(JSONSerializer(compact=True))
    path.write_bytes(data)
    return MetaFile.from_data(role.signed.version, data, ["sha256"])


def _node(site: Path, document: Json) -> Json:
    data = msgspec.json.encode(document, order="sorted")
    digest = hashlib.sha256(data).hexdigest()
    path = site / f"catalog/nodes/sha256/{digest[:2]}/{digest}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return {"digest": digest, "size": len(data)}


def only(site: Path, document: Json, name: str = "") -> Callable[[Json], object]:
    """A catalog with this one package."""
    releases = len(document["releases"])
    ref = {"name": name or document["package"], "releases": releases, **_node(site, document)}
    tree = {"kind": "leaf", "prefix": "", "packages": [ref]}
    return lambda root: root.update(tree=tree, packages=1, releases=releases)


def package(site: Path, name: str = "apps/evil", **changes: Any) -> Json:
    """The document of a good package, with something changed in its first release."""
    document: Json = json.loads(node_of(site, "package", "charts/p9").read_bytes())
    document["releases"][0].update(changes)
    return {**document, "package": name}


def a_name_that_climbs(site: Path) -> Callable[[Json], object]:
    return only(site, package(site, "../evil"))


def a_name_with_three_parts(site: Path) -> Callable[[Json], object]:
    return only(site, package(site, "a/b/../../../evil"))


def a_release_that_climbs(site: Path) -> Callable[[Json], object]:
    return only(site, package(site, release="x/../../../evil"))


def a_media_type_with_a_line_feed(site: Path) -> Callable[[Json], object]:
    return only(site, package(site, media_type="helm\n"))


def a_digest_that_climbs(site: Path) -> Callable[[Json], object]:
    return only(site, package(site, blob={"digest": "../../../etc/passwd", "size": 1}))


def a_size_that_is_a_command(site: Path) -> Callable[[Json], object]:
    digest = "0" * 64
    size = f"a[$(touch {site.parent}/ran)]"
    return only(site, package(site, blob={"digest": digest, "size": size}))


def another_packages_document(site: Path) -> Callable[[Json], object]:
    return only(site, package(site), "apps/good")


def another_diff_id(site: Path) -> Callable[[Json], object]:
    content = {**package(site)["releases"][0]["content"], "digest": "0" * 64}
    return only(site, package(site, content=content))


def another_registry(site: Path) -> Callable[[Json], object]:
    return lambda root: root.update(registry="somebody")


def another_revision(site: Path) -> Callable[[Json], object]:
    return lambda root: root.update(revision=99)


def another_count(site: Path) -> Callable[[Json], object]:
    return lambda root: root.update(packages=5)


def children_swapped(site: Path) -> Callable[[Json], object]:
    def edit(root: Json) -> None:
        children = root["tree"]["children"]
        children["0"], children["1"] = children["1"], children["0"]

    return edit


@pytest.mark.parametrize("attack", [
    a_name_that_climbs, a_name_with_three_parts, a_release_that_climbs,
    a_media_type_with_a_line_feed, a_digest_that_climbs, a_size_that_is_a_command,
    another_packages_document, another_diff_id, another_registry, another_revision, another_count,
    children_swapped,
], ids=words)  # fmt: skip
def test_what_is_signed_is_still_checked(
    mirror: Mirror, site: Path, attack: Callable[[Path], Callable[[Json], object]]
) -> None:
    signed_again(mirror, site, attack(site))
    out = site.parent / "a" / "b" / "c" / "out"
    refused(9, "", "recover", "--root", mirror.root, "--diff-ids", out, site)
    outside = [path for path in site.parent.rglob("evil*") if out not in path.parents]
    assert not outside and not (site.parent / "ran").exists()


def test_a_newer_format_is_named_as_such(mirror: Mirror, site: Path) -> None:
    newer = {"format": {"read": 2, "write": 2}, "tree": "of another shape"}
    signed_again(mirror, site, lambda root: root.update(newer))
    refused(17, "this mirror needs a newer script", "verify", "--root", mirror.root, site)


def test_a_format_that_only_writers_need_to_know_is_read(mirror: Mirror, site: Path) -> None:
    signed_again(mirror, site, lambda root: root.update(format={"read": 1, "write": 9}, new=[]))
    good("verify", "--root", mirror.root, site)


def test_attachments_and_facts_are_checked_and_written(mirror: Mirror, site: Path) -> None:
    data = b"a signature"
    digest = hashlib.sha256(data).hexdigest()
    blob = site / f"catalog/blobs/sha256/{digest[:2]}/{digest}"
    blob.parent.mkdir(exist_ok=True)
    blob.write_bytes(data)
    described = {"mediaType": "text/plain", "digest": digest, "size": len(data)}
    facts = {"kind": "facts", "extractor": 1, "releases": {}}
    document = {**package(site, attachments=[described]), "facts": [_node(site, facts)]}
    signed_again(mirror, site, only(site, document))
    out = site.parent / "out"
    good("recover", "--root", mirror.root, out, site)
    found = out / f"apps/evil/evil-1.0.0.helm.attachments/{digest}"
    assert found.read_bytes() == data
    blob.write_bytes(b"a signaturE")
    refused(9, digest, "verify", "--root", mirror.root, site)
    blob.write_bytes(data)
    node = document["facts"][0]["digest"]
    (site / f"catalog/nodes/sha256/{node[:2]}/{node}").unlink()
    refused(11, node, "verify", "--root", mirror.root, site)


@pytest.mark.parametrize("scheme", ["ecdsa", "rsa"])
def test_keys_of_other_kinds_count_too(mirror: Mirror, site: Path, scheme: str) -> None:
    """A KMS has no ed25519 keys; a PEM in the root has line feeds in it."""
    signer = CryptoSigner.generate_ecdsa() if scheme == "ecdsa" else CryptoSigner.generate_rsa()
    root: Any = Metadata.from_file(str(site / META / "2.root.json"))
    root.signed.version = 3
    old = root.signed.roles["timestamp"].keyids[0]
    root.signed.revoke_key(old, "timestamp")
    root.signed.add_key(signer.public_key, "timestamp")
    root.signatures.clear()
    for key in root_keys(mirror):
        root.sign(key, append=True)
    (site / META / "3.root.json").write_bytes(root.to_bytes(JSONSerializer(compact=True)))
    refused(9, "timestamp.json: signed by 0", "verify", "--root", mirror.root, site)
    timestamp = site / META / "timestamp.json"
    _write(timestamp, Metadata.from_file(str(timestamp)), signer)
    good("verify", "--root", mirror.root, site)


# -- tampering with a bundle --


def toc(folder: Path, edit: Callable[[Json], object]) -> None:
    """bundle.json, which nobody signs, made to fit what was done."""
    contents = json.loads((folder / "bundle.json").read_bytes())
    for volume in contents["volumes"]:
        data = (folder / volume["name"]).read_bytes()
        volume.update(digest=hashlib.sha256(data).hexdigest(), size=len(data))
    edit(contents)
    (folder / "bundle.json").write_bytes(msgspec.json.encode(contents, order="sorted"))


def member(folder: Path, prefix: str) -> tuple[Path, Json]:
    """The last file of the bundle whose path begins so, and its volume."""
    for volume in sorted(folder.glob("volume-*.tar"), reverse=True):
        size = json.loads((folder / "bundle.json").read_bytes())["volumes"]
        index = next(v["index"] for v in size if v["name"] == volume.name)
        with volume.open("rb") as stream:
            stream.seek(512)
            files = json.loads(stream.read(index))["files"]
        for entry in reversed(files):
            if entry["path"].startswith(prefix):
                return volume, entry
    raise LookupError(prefix)


def altered(folder: Path, prefix: str) -> str:
    volume, entry = member(folder, prefix)
    flip(volume, entry["offset"] + entry["size"] - 3)
    toc(folder, lambda contents: None)
    return Path(entry["path"]).name


def a_truncated_volume(mirror: Mirror, folder: Path) -> str:
    path = folder / "volume-003.tar"
    os.truncate(path, path.stat().st_size - 512)
    return "volume-003.tar: damaged"


def a_bit_in_a_volume(mirror: Mirror, folder: Path) -> str:
    flip(folder / "volume-004.tar", 5000)
    return "volume-004.tar: damaged"


def an_archive_altered_and_the_contents_fixed(mirror: Mirror, folder: Path) -> str:
    return altered(folder, "catalog/blobs/")


def a_node_altered_and_the_contents_fixed(mirror: Mirror, folder: Path) -> str:
    # One of the newest revision: only that is looked at.
    node = node_of(mirror.site, "package", "charts/p9")
    return altered(folder, node.relative_to(mirror.site).as_posix())


def the_timestamp_altered_and_the_contents_fixed(mirror: Mirror, folder: Path) -> str:
    return altered(folder, "catalog/metadata/timestamp.json")


def an_index_that_points_elsewhere(mirror: Mirror, folder: Path) -> str:
    volume, entry = member(folder, "catalog/blobs/")
    data = volume.read_bytes()
    old = f'"offset":{entry["offset"]},'.encode()
    assert data.count(old) == 1
    volume.write_bytes(data.replace(old, f'"offset":{entry["offset"] - 512},'.encode()))
    toc(folder, lambda contents: None)
    return f"{volume.name}: its index cannot be used"


def an_index_with_a_path_that_climbs(mirror: Mirror, folder: Path) -> str:
    volume, entry = member(folder, "catalog/blobs/")
    data = volume.read_bytes()
    path = entry["path"].encode()
    evil = b"../" * (len(path) // 3) + b"x" * (len(path) % 3)
    volume.write_bytes(data.replace(path, evil))
    toc(folder, lambda contents: None)
    return f"{volume.name}: its index cannot be used"


def a_volume_with_a_name_that_climbs(mirror: Mirror, folder: Path) -> str:
    toc(folder, lambda contents: contents["volumes"][0].update(name="../volume-001.tar"))
    return "bundle.json: not what it must be"


@pytest.mark.parametrize("attack", [
    a_truncated_volume, a_bit_in_a_volume, an_archive_altered_and_the_contents_fixed,
    a_node_altered_and_the_contents_fixed, the_timestamp_altered_and_the_contents_fixed,
    an_index_that_points_elsewhere, an_index_with_a_path_that_climbs,
    a_volume_with_a_name_that_climbs,
], ids=words)  # fmt: skip
def test_a_bundle_is_refused_with(
    mirror: Mirror, carried: Path, attack: Callable[[Mirror, Path], str]
) -> None:
    named = attack(mirror, carried)
    code = 6 if "damaged" in named or "index" in named else 9
    refused(code, named, "verify", "--root", mirror.root, carried)


def test_a_bundle_of_a_newer_format_is_named_as_such(mirror: Mirror, carried: Path) -> None:
    toc(carried, lambda contents: contents.update(format={"read": 2, "write": 2}))
    refused(17, "needs a newer script", "verify", "--root", mirror.root, carried)


# -- the script itself --


def test_without_a_root_file_only_damage_is_found(mirror: Mirror, site: Path) -> None:
    refused(2, "--root FILE", "verify", site)
    done = script("verify", "--without-root", site)
    assert done.returncode == 0 and "believed unchecked" in done.stderr
    flip(blob_of(site, "charts/p3"))
    refused(9, "not the bytes", "verify", "--without-root", site)


def test_the_script_is_clean() -> None:
    if shutil.which("shellcheck") is None:
        if os.environ.get("CI"):
            pytest.fail("shellcheck is missing, and CI must not skip this test")
        pytest.skip("shellcheck is not on this machine")
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)


def test_it_lies_in_every_site_and_beside_every_bundle(mirror: Mirror, bundle: Path) -> None:
    for place in (mirror.site, bundle):
        assert (place / "recover.sh").read_bytes() == SCRIPT.read_bytes()
    done = subprocess.run(
        ["bash", "recover.sh", "list", "--root", str(mirror.root)],
        cwd=bundle, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.count("\n") == CHARTS + 2
