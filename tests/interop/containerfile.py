"""Plays a Containerfile without building an image: its files, its steps, its process.

Every path of the image lies in a folder of its own; the text of a step is changed accordingly. The
base image is stood for by this machine's Python.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_PATHS = re.compile(r"(?<![\w./])/(src|usr/local/lib/cnrmirror|data|tmp)(?=[/\s:\"']|$)")


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction and what it says, on one line."""
    text = re.sub(r"^#.*\n", "", text, flags=re.M)
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if line:
            word, _, rest = line.partition(" ")
            yield word, rest


class Image:
    """What the steps leave.

    Attributes:
        user: as whom it runs.
        command, healthcheck: the words of the process, and of what asks for its health.
        environment: of both.
    """

    def __init__(self, containerfile: Path, context: Path, python: Path, folder: Path) -> None:
        self.root, self._context, self._python = folder / "image", context, python
        self.user = self.work = ""
        self.environment: dict[str, str] = {}
        self._arguments: dict[str, str] = {}
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.healthcheck: list[str] = []
        for word, rest in instructions(containerfile.read_text()):
            getattr(self, f"_{word.lower()}")(rest)

    def here(self, text: str) -> str:
        """A text with the image's paths as they are on this machine."""
        return _PATHS.sub(lambda match: f"{self.root}/{match[1]}", text)

    def _from(self, rest: str) -> None:
        assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim( AS build)?", rest)
        for name in ("src", "usr/local/lib", "tmp"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.environment = {"PATH": f"{self._python.parent}:/usr/bin:/bin"}

    def _arg(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self._arguments = {name: value}

    def _copy(self, rest: str) -> None:
        *sources, target = rest.removeprefix("--from=build ").split()
        if rest.startswith("--from"):
            assert sources == [target]  # the stages share a folder here
            return
        place = Path(self.here(target))
        place.mkdir(parents=True, exist_ok=True)
        for source in sources:
            path = self._context / source
            if path.is_dir():  # what is in it, links as links, as COPY does
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, place, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy(path, place)

    def _run(self, rest: str) -> None:
        home = {"HOME": str(self.root / "tmp"), **self._arguments}
        subprocess.run(["/bin/sh", "-c", self.here(rest)], env=self.environment | home,
                       cwd=self.root, check=True, stdin=subprocess.DEVNULL)  # fmt: skip

    def _env(self, rest: str) -> None:
        given = dict(pair.split("=", 1) for pair in self.here(rest).split())
        base = str(self._python.parent)  # the image has its Python there
        self.environment |= {k: v.replace("/usr/local/bin", base) for k, v in given.items()}

    def _user(self, rest: str) -> None:
        self.user = rest

    def _workdir(self, rest: str) -> None:
        self.work = self.here(rest)

    def _volume(self, rest: str) -> None:
        assert rest == "/data"

    def _expose(self, rest: str) -> None:
        assert rest == "8080"

    def _healthcheck(self, rest: str) -> None:
        self.healthcheck = json.loads(self.here(rest.partition(" CMD ")[2]))

    def _entrypoint(self, rest: str) -> None:
        self.entrypoint = json.loads(self.here(rest))

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)
