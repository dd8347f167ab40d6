"""A stage: blocks of a document, run in the home of a person who has a mirror, ``w``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests import s3_double
from tests.blocks import ROOT, SHELL, Block, Step, blocks_of, run
from tests.conftest import chart_bytes
from tests.recipes import tools

_SYSTEM = re.compile(r"(?<![\w.}~])/(?=(?:media|var|etc|srv|usr/local)/)")
_SERVES = re.compile(r"^cnrmirror .*\bserve\b(?!.*&$).*")


@dataclass(frozen=True)
class Stage:
    """Blocks of a document that are run one after the other.

    Attributes:
        document: seen from the root.
        blocks: how each begins.
        where: the folder in the home in which they begin.
        before: what is run before the first line that begins with a key; "" is the first of all.
        meant: what stands for what in their commands.
        after: what has to succeed when they have been run.
        needs: programs that not every machine has.
    """

    document: str
    blocks: tuple[str, ...]
    where: str = "w"
    before: Mapping[str, str] = field(default_factory=dict)
    meant: Mapping[str, str] = field(default_factory=dict)
    after: str = "true"
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.document}: {self.blocks[0].splitlines()[0]}"

    def chosen(self) -> list[Block]:
        """Its blocks, as they stand.

        Raises:
            LookupError: the document has no such block, or two.
        """
        there = [block for block in blocks_of(self.document) if block.language in SHELL]
        found = []
        for begin in self.blocks:
            of_these = [block for block in there if block.commands.startswith(begin)]
            if len(of_these) != 1:
                raise LookupError(f"{self.document}: {len(of_these)} blocks begin: {begin}")
            found += of_these
        return found

    def played(
        self, home: Path, places: Mapping[str, str], left_out: Collection[tuple[str, str]]
    ) -> list[Block]:
        """Its blocks as they are run in a home, where ``places`` stand for addresses.

        Raises:
            LookupError: the blocks have no line that ``before`` names.
        """
        before = dict(self.before)
        not_run = tuple(line for document, line in left_out if document == self.document)
        first = before.pop("", "true")
        blocks = [Block(f"cd '{home / self.where}'\n{_as_meant(first, places, home)}\n")]
        for block in self.chosen():
            lines = []
            for line in block.commands.splitlines():
                if line.startswith(not_run):
                    continue
                made = [before.pop(begin) for begin in list(before) if line.startswith(begin)]
                lines += [_as_meant(text, places, home) for text in made]
                lines.append(_as_meant(line, {**self.meant, **places}, home))
            blocks.append(replace(block, commands="\n".join(lines) + "\n"))
        if before:
            raise LookupError(f"{self.document} has no line that begins: {[*before]}")
        return [*blocks, Block(f"{_as_meant(self.after, places, home)}\n")]

    def perform(
        self,
        world: Path,
        url: str,
        home: Path,
        left_out: Collection[tuple[str, str]],
        programs: str = "",
    ) -> list[Step]:
        """Run it in a copy of a world that is served at ``url``, with a bucket beside it.

        Args:
            left_out: documents, and how lines begin that are not run.
            programs: a folder with more programs.

        Raises:
            Failed: a command failed, or printed something else.
        """
        furnish(world, home)
        (home / self.where).mkdir(exist_ok=True)
        own = str(tools(home / "programs"))
        with s3_double.serving() as bucket:
            places = {
                **{f"{how}://HOST": url for how in ("https", "http")},
                **{f"https://{name}.example.com": url for name in ("mirror", "a")},
                "https://b.example.com": f"{url}/", "https://new.example.com": f"{bucket.url}/"
                "my-bucket/new",
            }  # fmt: skip
            variables = {
                "AWS_ENDPOINT_URL": bucket.url, "AWS_ACCESS_KEY_ID": "somebody",
                "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
                "CLONE": str(ROOT), "PYTHON": sys.executable,
            }  # fmt: skip
            wanted = self.played(home, places, left_out)
            return run(home, wanted, f"{own}:{programs}".rstrip(":"), 120, variables)


def _as_meant(line: str, meant: Mapping[str, str], home: Path) -> str:
    for said, word in meant.items():
        line = line.replace(said, word)
    line = _SYSTEM.sub(f"{home}/", line)
    return _SERVES.sub(r"PYTHONPATH=$CLONE $PYTHON -m tests.briefly \g<0>", line)


def furnish(world: Path, home: Path) -> None:
    """Make a home of a copy of the world: its folders as they are called by default, and charts."""
    shutil.copytree(world, home, symlinks=True)
    (home / ".local").mkdir()
    for name, place in {"config": ".config", "cache": ".cache", "state": ".local/state"}.items():
        if (home / name).exists():
            (home / name).rename(home / place)
    (home / "archives").mkdir()
    for release in ("1.0.0", "1.1.0", "1.2.0"):
        (home / f"archives/nginx-{release}.tgz").write_bytes(chart_bytes("nginx", release))
    (home / "large").mkdir()
    for name in "abc":
        data = chart_bytes(name, "1.0.0", os.urandom(60_000).hex())
        (home / f"large/{name}-1.0.0.tgz").write_bytes(data)
    (home / "redis").mkdir()
    (home / "redis/Chart.yaml").write_text("apiVersion: v2\nname: redis\nversion: 1.0.0\n")
    (home / "redis/values.yaml").write_text("image: redis:7.2\n")
