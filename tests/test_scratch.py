"""Deleting scratch forgets nothing: one story of commands, told twice, with and without it."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner
from securesystemslib.signer import CryptoSigner

from cnrmirror.cli import cli
from cnrmirror.model.errors import CnrMirrorError
from tests.conftest import chart_bytes
from tests.mirrors import key

MIRRORS = ("first", "reader", "beside", "follower")
FIRST = """
retention: {revisions: 3, grace_hours: 0}
sources:
  shelf: {type: charts, folder: ../shelf, namespace: shelf, deletes: follow, max_shrink: 1}
publish:
  place: {to: ../place, grace_minutes: 0}
"""
READER = """
sources:
  up: {type: mirror, location: ../first/site, root: ../root.json, deletes: follow, max_shrink: 1}
"""
Seen = tuple[str, int, str, str]

# What a run of sync took: scratch saves requests and time.
TOOK = re.compile(r'"requests":\d+,"seconds":[\d.]+')


class Story:
    """Commands in ``folder``, with a clock and keys of its own, and what each of them said.

    Args:
        folder: the working folder of every command.
        start: the time of the first act, in seconds since 1970.
        forgetful: whether the scratch of every mirror is deleted before every command.
        monkeypatch: undone by whoever made it.
    """

    def __init__(
        self, folder: Path, start: int, forgetful: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.folder = folder
        self.seen: list[Seen] = []
        self.forgetful = forgetful
        self._clock = start
        self._monkeypatch = monkeypatch
        folder.mkdir()
        monkeypatch.chdir(folder)
        for kind in ("CONFIG", "STATE", "CACHE"):
            monkeypatch.setenv(f"XDG_{kind}_HOME", str(folder / "home" / kind.lower()))

    def begin(self, act: str) -> None:
        """Move the clock, and draw keys and identities from the act's name."""
        self._clock += 600
        numbers = count()

        def word() -> str:
            return f"{act} {next(numbers)}"

        patch = self._monkeypatch
        patch.setenv("SOURCE_DATE_EPOCH", str(self._clock))
        patch.setattr(CryptoSigner, "generate_ed25519", staticmethod(lambda: key(word())))
        patch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=sha256(word().encode()).digest()[:16]))

    def forget(self) -> None:
        """Delete the scratch of every mirror, if this is the story in which it is deleted."""
        if self.forgetful:
            for scratch in self.folder.glob("*/.state/scratch"):
                shutil.rmtree(scratch)

    def attempt(self, command: str) -> Seen:
        """Run one command: the command, its exit code, its output and its errors."""
        self.forget()
        done = CliRunner().invoke(cli, command.split())
        code, errors = done.exit_code, done.stderr
        if isinstance(done.exception, CnrMirrorError):
            code, errors = done.exception.exit_code, errors + done.exception.message
        elif done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        said = re.sub(r"\d+\.\d+ s\n", "N s\n", done.stdout)
        return command, code, TOOK.sub("took", said), errors

    def run(self, *commands: str, code: int = 0) -> str:
        """Run commands that say the same in both stories: the output of the last one."""
        for command in commands:
            seen = self.attempt(command)
            assert seen[1] == code, seen
            self.seen.append(seen)
        return seen[2]

    def chart(self, path: str, name: str, release: str) -> None:
        """Write a chart, as old as the act."""
        file = self.folder / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(chart_bytes(name, release))
        os.utime(file, (self._clock, self._clock))

    def age(self) -> None:
        """Make every file of a catalog older than the act: gc looks at the time of a file."""
        for file in self.folder.glob("*/site/catalog/**/*"):
            if file.is_file():
                os.utime(file, (self._clock - 300, self._clock - 300))

    def configure(self, mirror: str, text: str) -> None:
        with (self.folder / mirror / "mirror.yaml").open("a") as file:
            file.write(text)

    def remains(self) -> dict[str, bytes | str]:
        """Every file but caches, scratch, and the key that signs what ``have`` says."""
        left_out = re.compile(r"home/cache/|[a-z]+/\.state/scratch/|.*/receiver-[0-9a-f]{8}\.pem")
        found: dict[str, bytes | str] = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if left_out.match(name):
                continue
            if path.is_symlink():
                found[name] = path.readlink().as_posix()
            elif path.is_file():
                found[name] = path.read_bytes()
            if "/memory/sources/" in name:
                found[name] = TOOK.sub("took", path.read_text())
        return found


# -- the acts -------------------------------------------------------------------------------------


def a_mirror_is_made(story: Story) -> None:
    story.run("init first --offline-keys keys")
    shutil.copy("first/site/catalog/metadata/1.root.json", "root.json")
    story.configure("first", FIRST)
    for name, release in (("a", "1.0.0"), ("b", "1.0.0"), ("a", "1.1.0")):
        story.chart(f"{name}-{release}.tgz", name, release)
    story.run(
        "-C first push --namespace apps --channel stable a-1.0.0.tgz b-1.0.0.tgz",
        "-C first channel set apps/b next 1.0.0",
        "-C first push --namespace apps a-1.1.0.tgz",
        "-C first channel set apps/a stable 1.1.0",
        "-C first channel list apps/a",
        "-C first channel remove apps/b next",
        "-C first list",
        "-C first show apps/a:stable",
        "-C first --json show apps/b",
        "-C first diff 1",
        "-C first log",
    )


def a_folder_of_charts_is_followed(story: Story) -> None:
    story.chart("shelf/c-1.0.0.tgz", "c", "1.0.0")
    story.chart("shelf/d-1.0.0.tgz", "d", "1.0.0")
    story.run("-C first --json sync --dry-run", "-C first --json sync", "-C first --json sync")
    story.chart("shelf/c-1.1.0.tgz", "c", "1.1.0")
    os.unlink("shelf/d-1.0.0.tgz")
    story.run("-C first --json sync", "-C first --json report", "-C first list")


def it_is_published_with_removals(story: Story) -> None:
    story.run(
        "-C first publish --dry-run",
        "-C first publish",
        "-C first publish",
        "-C first publish --audit",
        "-C first remove apps/a@1.0.0 --reason withdrawn",
        "-C first publish",
        "-C first rollback 7",
        "-C first publish",
        "-C first remove apps/b@1.0.0",
        "-C first publish",
        "-C first publish --audit",
    )
    story.run(
        "search a --from place --root root.json",
        "list --from place",
        "show apps/a --from place",
        "pull apps/a --from place --dest pulled",
        "pull apps/a@1.0.0 --from place --tarball --dest pulled",
        "check --from place --strict",
    )


def another_mirror_syncs_from_it(story: Story) -> None:
    story.chart("e-1.0.0.tgz", "e", "1.0.0")
    story.run("init reader")
    story.configure("reader", READER)
    story.run(
        "-C reader push --namespace own e-1.0.0.tgz",
        "-C reader --json sync --dry-run",
        "-C reader --json sync",
        "-C reader --json sync",
        "-C first remove apps/a@1.1.0",
    )
    story.chart("f-1.0.0.tgz", "f", "1.0.0")
    story.run(
        "-C first push --namespace apps --channel stable f-1.0.0.tgz",
        "-C reader --json sync",
        "-C reader --json report",
        "-C reader diff 2",
        "-C reader list",
    )


def a_follower_and_another_take_in_a_bundle(story: Story) -> None:
    story.chart("c-0.1.0.tgz", "c", "0.1.0")
    story.run(
        "-C first export bundle-1",
        "init follower --follow root.json",
        "-C follower import bundle-1",
        "-C follower import bundle-1",
        "init beside",
        "-C beside push --namespace own e-1.0.0.tgz",
        "-C beside push --namespace shelf c-0.1.0.tgz",
        "-C beside import bundle-1 --root root.json",
        "-C beside list",
        "-C follower log",
    )


def the_next_bundle_is_a_difference(story: Story) -> None:
    """A follower states what it has, and gets the difference: its own files tell all of it."""
    story.chart("a-2.0.0.tgz", "a", "2.0.0")
    story.run("-C first push --namespace apps --channel stable a-2.0.0.tgz")
    story.run("-C first remove apps/f@1.0.0")
    Path("follower-has.json").write_text(story.run("-C follower have"))
    story.run(
        "-C first export bundle-2 --since follower-has.json",
        "-C first export whole-2",
        "-C follower import bundle-2",
        "-C follower check",
    )


def the_mirror_with_own_packages_asks_for_all(story: Story) -> None:
    """One fact is in scratch alone: the sender's own documents, in a mirror that has others, too.

    Without them a difference cannot be continued from: the mirror says so and changes nothing, and
    a whole bundle brings it to where the difference would have brought it.
    """
    before = story.remains()
    asked, taken = story.attempt("-C beside have"), story.attempt("-C beside import bundle-2")
    if story.forgetful:
        assert asked[1:3] == (5, "") and "ask the sender for a bundle without --since" in asked[3]
        assert taken[1:3] == (11, "") and "without its nodes; nothing was imported" in taken[3]
        assert story.remains() == before
    else:
        assert asked[1] == taken[1] == 0
    assert story.attempt("-C beside import whole-2")[1] == 0
    story.run("-C beside import whole-2", "-C beside list", "-C beside diff 2", "-C beside log")


def what_is_older_is_refused(story: Story) -> None:
    """Whether scratch or memory notices first decides the words, and nothing else."""
    before = story.remains()
    for mirror in ("follower", "beside"):
        _, code, said, errors = story.attempt(f"-C {mirror} import bundle-1")
        assert (code, said) == (9, "") and "older than what was imported before" in errors
    assert story.remains() == before


def old_revisions_are_collected(story: Story) -> None:
    story.age()
    story.run(
        "-C first refresh",
        "-C first publish",
        "-C first gc --dry-run",
        "-C first gc",
        "-C first build",
        "-C first check",
        "-C first publish",
    )
    story.run(
        "-C first publish --audit",
        "-C first publish --audit --repair",
        "-C follower import place",
        "-C follower gc",
        "-C follower check",
        "-C beside import place --root root.json",
        "-C reader --json sync",
    )


def a_key_is_replaced(story: Story) -> None:
    story.chart("g-1.0.0.tgz", "g", "1.0.0")
    story.run(
        "-C first keys rotate publish --offline-keys keys",
        "-C first keys rotate refresh --offline-keys keys",
        "-C first keys renew --offline-keys keys",
        "-C first keys list",
        "-C first push --namespace apps g-1.0.0.tgz",
        "-C first upgrade",
        "-C first config check",
        "-C first publish",
        "-C reader --json sync",
        "-C follower import place",
        "-C beside import place",
    )


def all_is_well_in_the_end(story: Story) -> None:
    for mirror in MIRRORS:
        story.run(f"-C {mirror} check", f"-C {mirror} log -n 50", f"-C {mirror} build")
    story.run("-C first publish --audit", "check --from place --strict")


ACTS: list[Callable[[Story], None]] = [
    a_mirror_is_made,
    a_folder_of_charts_is_followed,
    it_is_published_with_removals,
    another_mirror_syncs_from_it,
    a_follower_and_another_take_in_a_bundle,
    the_next_bundle_is_a_difference,
    the_mirror_with_own_packages_asks_for_all,
    what_is_older_is_refused,
    old_revisions_are_collected,
    a_key_is_replaced,
    all_is_well_in_the_end,
]


def told(folder: Path, start: int, forgetful: bool) -> tuple[list[Seen], dict[str, bytes | str]]:
    """The whole story: what each command said, and the files in the end."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        story = Story(folder, start, forgetful, monkeypatch)
        for act in ACTS:
            story.begin(act.__name__)
            act(story)
        return story.seen, story.remains()


def test_a_story_of_commands_is_the_same_though_scratch_is_deleted_before_each(
    tmp_path: Path,
) -> None:
    start = int(time.time()) - 3 * 3600  # readers refuse what their clock has in the future
    kept, kept_files = told(tmp_path / "story", start, forgetful=False)
    (tmp_path / "story").rename(tmp_path / "kept")
    forgotten, forgotten_files = told(tmp_path / "story", start, forgetful=True)
    for expected, seen in zip(kept, forgotten, strict=True):
        assert seen == expected
    assert forgotten_files.keys() == kept_files.keys()
    assert [name for name in kept_files if kept_files[name] != forgotten_files[name]] == []
