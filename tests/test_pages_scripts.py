"""The scripts of the pages: what they refuse, and that they read archives as the program does."""

from __future__ import annotations

import base64
import gzip
import io
import random
import shutil
import tarfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cnrmirror.archive.identify import Override
from cnrmirror.archive.inspect import inspect
from cnrmirror.archive.scan import Limits, Member
from cnrmirror.mirror.push import push
from cnrmirror.mirror.rotate import install_root
from cnrmirror.model.errors import InputError
from cnrmirror.trust import rotation
from cnrmirror.trust.signing import Repository
from tests.chain_attacks import BAD, CLOCK, GOOD, NAME
from tests.conftest import NOW, chart_bytes, tar_gz
from tests.fuzz.combinations import combinations
from tests.fuzz.mutate import generated
from tests.mirrors import key, make, reopen
from tests.scripts import META, Altered, digest_of, run

VERIFY = """
const read = (site, files) => async (path, max) => {
  stats.requests++;
  if (stats.broken) throw new cnrmirror.Problem("unavailable", "cannot be reached", path);
  let data;
  if (path in files) data = files[path] && Buffer.from(files[path], "base64");
  else try { data = fs.readFileSync(`${site}/${path}`); } catch { data = null; }
  if (data === null) throw new cnrmirror.Problem("missing", "is not there", path);
  data = data.subarray(0, max + 1);
  stats.bytes += data.length;
  return new Uint8Array(data);
};
let stats;
const real = globalThis.crypto;
(async () => {
  const out = {};
  for (const [id, one] of Object.entries(payload)) {
    stats = {requests: 0, bytes: 0, broken: one.broken, kept: null};
    const crypto = {value: one.insecure ? {} : real, configurable: true};
    Object.defineProperty(globalThis, "crypto", crypto);
    const memory = {get: () => one.seen ?? null, set: (registry, mark) => (stats.kept = mark)};
    const {pin, name, now} = one;
    const options = {pin, name, now, memory, read: read(one.site, one.files)};
    out[id] = {...await cnrmirror.verify(options), ...stats};
  }
  console.log(JSON.stringify(out));
})();
"""


class Sites:
    """A mirror of two revisions and 70 packages; as it was before, and after a new root."""

    def __init__(self, folder: Path) -> None:
        charts = folder / "charts"
        charts.mkdir()
        for number in range(70):
            (charts / f"p{number}-1.0.0.tgz").write_bytes(chart_bytes(f"p{number}", "1.0.0"))
        project = make(folder / "mirror", "scripts")
        push(project, [charts], Override(namespace="ns"), NOW)
        self.before = folder / "before"
        shutil.copytree(folder / "mirror" / "site" / "catalog", self.before / "catalog")
        newer = folder / "p7-1.1.0.tgz"
        newer.write_bytes(chart_bytes("p7", "1.1.0"))
        push(project, [newer], Override(namespace="ns"), NOW)
        self.site = folder / "mirror" / "site"
        shutil.copytree(folder / "mirror", folder / "rotated")
        self.rotated = folder / "rotated" / "site"
        _new_root(folder / "rotated")


def _new_root(folder: Path) -> None:
    """One root key is replaced by another."""
    project = reopen(folder)
    repository = project.signer
    assert isinstance(repository, Repository)
    old = key("root-1").public_key.keyid
    proposal = rotation.propose(repository, {old: key("root-4").public_key}, None, NOW)
    for name in ("root-2", "root-3", "root-4"):
        proposal.proposed.sign(key(name), append=True)
    install_root(project, repository, proposal, NOW)


def _case(site: Path, files: dict[str, str | None], **more: Any) -> dict[str, Any]:
    root = (site / META / "1.root.json").read_bytes()
    pin = {"version": 1, "sha256": digest_of(root)}
    now = CLOCK.timestamp() * 1000
    return {"site": str(site), "files": files, "pin": pin, "name": NAME, "now": now, **more}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Sites:
    return Sites(tmp_path_factory.mktemp("scripts"))


@pytest.fixture(scope="module")
def verdicts(sites: Sites) -> dict[str, Any]:
    """What trust.js says of every case: node is started once."""
    cases = {}
    for name, (attack, more) in {**GOOD, **{n: (a, m) for n, (_, a, m) in BAD.items()}}.items():
        site = Altered(sites.site)
        attack(site)
        cases[name] = _case(sites.site, site.encoded(), **more)
    cases["before"] = _case(sites.before, {})
    cases["rotated"] = _case(sites.rotated, {})
    cases["held back"] = _case(sites.rotated, {f"{META}/2.root.json": None})
    found: dict[str, Any] = run(["trust.js"], VERIFY, cases)
    return found


@pytest.mark.parametrize("name", GOOD)
def test_a_chain_that_holds_is_said_to_hold(verdicts: dict[str, Any], name: str) -> None:
    found = verdicts[name]
    assert (found["kind"], found["reason"]) == ("good", "")
    assert (found["revision"], found["registry"]) == (2, "scripts")
    assert datetime.fromtimestamp(found["until"] / 1000) - CLOCK.replace(tzinfo=None) < timedelta(7)


def test_the_document_that_is_verified_is_handed_on(verdicts: dict[str, Any]) -> None:
    found = verdicts["as it is"]["document"]
    assert (found["package"], len(found["releases"])) == (NAME, 2)


def test_the_check_takes_few_requests_and_bytes(verdicts: dict[str, Any]) -> None:
    found = verdicts["as it is"]
    assert found["requests"] <= 10
    assert found["bytes"] <= 25_000


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_hold_is_refused_with_the_right_word(
    verdicts: dict[str, Any], name: str
) -> None:
    expected, found = BAD[name][0], verdicts[name]
    assert found["kind"] == expected, found["reason"]
    assert found["reason"]
    assert found["kept"] is None
    assert expected == "expired" or "document" not in found


def test_a_real_new_root_is_followed_and_noticed_where_it_is_held_back(
    verdicts: dict[str, Any],
) -> None:
    assert verdicts["rotated"]["kind"] == "good"
    assert verdicts["rotated"]["kept"]["root"] == 2
    assert verdicts["held back"]["kind"] == "missing"


def test_what_was_seen_is_remembered_and_holds_an_older_state_off(
    sites: Sites, verdicts: dict[str, Any]
) -> None:
    seen = verdicts["as it is"]["kept"]
    assert (seen["revision"], verdicts["before"]["kind"]) == (2, "good")
    again = {
        "older": _case(sites.before, {}, seen=seen),
        "same": _case(sites.site, {}, seen=seen),
        "newer": _case(sites.rotated, {}, seen=seen),
        "back": _case(sites.site, {}, seen=verdicts["rotated"]["kept"]),
    }
    found = run(["trust.js"], VERIFY, again)
    kinds = {name: one["kind"] for name, one in found.items()}
    assert kinds == {"older": "refused", "same": "good", "newer": "good", "back": "refused"}


UNPACK = """
const crypto_ = require("crypto");
const sha256 = (data) => crypto_.createHash("sha256").update(data).digest("hex");
(async () => {
  const out = [];
  for (const data of payload) {
    try {
      const members = await cnrmirror.archive.unpack(new Uint8Array(Buffer.from(data, "base64")));
      out.push(members.map((one) => [one.name, one.kind, one.target, sha256(one.body)]));
    } catch (error) { out.push(String(error.message)); }
  }
  console.log(JSON.stringify(out));
})();
"""


class _Members:
    """What the program's own reader hands on."""

    def __init__(self) -> None:
        self.found: list[tuple[Member, bytearray]] = []

    def member(self, member: Member) -> None:
        self.found.append((member, bytearray()))

    def content(self, data: bytes) -> None:
        self.found[-1][1].extend(data)


def _own_reading(data: bytes) -> list[list[str]] | None:
    """Name, kind, target and digest of each member; None if the program refuses the archive."""
    sink = _Members()
    try:
        inspect(io.BytesIO(data), Limits(), sink)
    except InputError:
        return None
    return [[m.name, m.kind, m.target, digest_of(bytes(content))] for m, content in sink.found]


def _agree(archives: list[bytes]) -> int:
    """How many of these the program accepts; the script reads each of them as it does."""
    own = {data: reading for data in archives if (reading := _own_reading(data)) is not None}
    read = run(
        ["trust.js", "archive.js"], UNPACK, [base64.b64encode(data).decode() for data in own]
    )
    for (data, expected), found in zip(own.items(), read, strict=True):
        assert found == expected, gzip.decompress(data)[:2048]
    return len(own)


def test_archives_of_the_tests_are_read_as_the_program_reads_them() -> None:
    here = Path(__file__).parent
    blobs = [*here.glob("data/**/blobs/sha256/*/*"), *here.glob("data/recorded/packages/*")]
    blobs += here.parent.glob("sample-site/mirror/site/catalog/blobs/sha256/*/*")
    assert _agree([path.read_bytes() for path in blobs if path.is_file()]) > 20


def test_every_form_of_a_tar_that_is_accepted_is_read_as_the_program_reads_it() -> None:
    archives = [case.data for case in combinations()][::3]
    archives += [generated(16, n).data for n in range(1500)]
    assert _agree(archives) > 1000


def _tar(form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name in (
            "a/" * 20 + "b" * 90,
            "é" * 30 + "/" + "é" * 45,
            "x/" + "c" * 99,
            "short",
            "d/" * 31 + "e",
        ):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("a/link")
        link.type, link.linkname = tarfile.SYMTYPE, "b" * 120
        if form != tarfile.USTAR_FORMAT:
            tar.addfile(link)
    return gzip.compress(buffer.getvalue(), mtime=0)


def test_long_names_and_links_are_read_in_every_format() -> None:
    forms = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
    assert _agree([_tar(form) for form in forms]) == len(forms)


def test_what_no_archive_of_a_mirror_is_draws_an_error_and_no_files() -> None:
    whole = tar_gz({"a": b"1" * 1000})
    bomb = gzip.compress(bytes(70 << 20), 1)
    broken = [b"", b"no gzip", whole[:-9], gzip.compress(gzip.decompress(whole)[:1000]), bomb]
    found = run(["trust.js", "archive.js"], UNPACK, [base64.b64encode(d).decode() for d in broken])
    assert all(isinstance(one, str) for one in found), found


DIFF = """
console.log(JSON.stringify(payload.map(([a, b]) => {
  const rows = cnrmirror.diff.rows(a, b);
  const side = (sign) => rows.filter((r) => r.sign !== sign).map((r) => r.text).join("");
  const folded = cnrmirror.diff.fold(rows);
  return {old: side("+"), new: side("-"), equal: rows.filter((r) => r.sign === " ").length,
          folded: folded.reduce((sum, r) => sum + (r.gap ?? 1), 0), rows: rows.length};
})));
"""


def _equal_lines(a: list[str], b: list[str]) -> int:
    """How many lines the longest common subsequence has."""
    best = [0] * (len(b) + 1)
    for one in a:
        before = best[:]
        for n, other in enumerate(b):
            best[n + 1] = before[n] + 1 if one == other else max(best[n], before[n + 1])
    return best[-1]


def test_a_difference_is_whole_and_the_shortest() -> None:
    rng = random.Random(16)
    texts = [
        "\n".join(rng.choices("abc", k=rng.randrange(14))) + rng.choice(["", "\n"])
        for _ in range(600)
    ]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    for (a, b), found in zip(pairs, run(["trust.js", "diff.js"], DIFF, pairs), strict=True):
        assert (found["old"], found["new"]) == (a, b)
        assert found["equal"] == _equal_lines(a.splitlines(True), b.splitlines(True))
        assert found["folded"] == found["rows"]


def test_texts_with_nothing_in_common_are_replaced_whole() -> None:
    a, b = ("".join(f"{word} {n}\n" for n in range(20_000)) for word in ("old", "new"))
    [found] = run(["trust.js", "diff.js"], DIFF, [[f"same\n{a}", f"same\n{b}"]])
    assert (found["equal"], found["old"]) == (1, f"same\n{a}")
