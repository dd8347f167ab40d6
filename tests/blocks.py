"""The code blocks of the documents: read with their lines, and run by one bash as a reader would.

The block of ``text`` that follows directly is what a block's commands must print, standard error
included: "…" in a line stands for any text, a line of "…" alone for any lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.interop.ports import free_port

ROOT = Path(__file__).parents[1]
SHELL = ("sh", "bash", "console")
PORTS = ("8080", "8786", "9000")
_FENCED = re.compile(r"^```(\S*)\n(.*?)^```$", re.S | re.M)
_MARK = "\036"


@dataclass(frozen=True)
class Block:
    """Commands, or Python, and what they must print; None if nothing is said about that."""

    commands: str
    expected: str | None = None
    language: str = "sh"
    document: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def first(self) -> str:
        """Its first line, by which tests name it."""
        return self.commands.partition("\n")[0].rstrip()


class Fence(NamedTuple):
    """A fenced block of any language; ``line`` is that of its first line of text."""

    language: str
    text: str
    line: int
    begin: int
    end: int


def documents() -> list[str]:
    """The documents whose blocks count, seen from the root."""
    top = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
    return top + sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))


def fences(text: str) -> Iterator[Fence]:
    """All fenced blocks of a text, in order."""
    for match in _FENCED.finditer(text):
        line = text.count("\n", 0, match.start(2)) + 1
        yield Fence(match[1], match[2], line, *match.span())


def without_fences(text: str) -> str:
    """The text around its fenced blocks."""
    return _FENCED.sub("", text)


def blocks(text: str, document: str = "") -> list[Block]:
    """The blocks of a text that can be run, in order."""
    found, all_fences = [], list(fences(text))
    for number, fence in enumerate(all_fences):
        if fence.language not in (*SHELL, "python"):
            continue
        commands, expected = fence.text, None
        after = all_fences[number + 1] if number + 1 < len(all_fences) else None
        if fence.language == "console":
            commands = "".join(re.findall(r"^\$ (.*\n)", commands, re.M))
        elif after and after.language == "text" and text[fence.end : after.begin] == "\n\n":
            expected = after.text or None
        found.append(Block(commands, expected, fence.language, document, fence.line))
    return found


def blocks_of(document: str) -> list[Block]:
    """The blocks of a document that can be run, in order."""
    return blocks((ROOT / document).read_text(), document)


@dataclass(frozen=True)
class Step:
    """What a block printed."""

    block: Block
    output: str

    @property
    def installs(self) -> bool:
        """pip says where it looks for packages: that is of this machine, and not shown."""
        return re.search(r"pipx? install|recipes/install", self.block.commands) is not None


class Failed(Exception):
    """A command failed, or printed something else.

    ``installs``: it is pip that failed.
    """

    def __init__(self, told: str, installs: bool = False) -> None:
        super().__init__(told)
        self.installs = installs


def misfit(expected: str, output: str) -> str | None:
    """The first expected line that the output does not have at its place; None if all fits."""
    left = output.splitlines()
    skips = False
    for line in expected.splitlines():
        if line == "…":
            skips = True
            continue
        pattern = ".*".join(re.escape(part) for part in line.split("…"))
        while left and skips and not re.fullmatch(pattern, left[0]):
            left.pop(0)
        if not left or not re.fullmatch(pattern, left.pop(0)):
            return line
        skips = False
    return None if skips or not left else f"nothing more, instead of: {left[0]}"


def run(
    home: Path,
    wanted: list[Block],
    programs: str = "",
    seconds: float = 600,
    variables: Mapping[str, str] | None = None,
) -> list[Step]:
    """Run the blocks one after the other; all processes that they start end with it.

    Args:
        home: the folder in which they begin.
        wanted: the blocks.
        programs: a folder that the path begins with, for who does not install.
        seconds: how long all of it may take.
        variables: more of the environment.

    Returns:
        What each block printed.

    Raises:
        Failed: a command failed, there was no end, or something else was printed.
    """
    ports = {port: str(free_port()) for port in PORTS}
    script = home / "tutorial.sh"
    script.write_text(
        # What still runs in the background would keep the output open.
        "set -eo pipefail\nexec < /dev/null 2>&1\ntrap 'jobs -p | xargs -r kill || :' EXIT\n"
        + "".join(f"{_as_run(b.commands, ports)}printf '{_MARK}'\n" for b in wanted)
    )
    output, code = _bash(script, {**environment(home, programs), **(variables or {})}, seconds)
    script.unlink()
    for port, used in ports.items():
        output = output.replace(f":{used}", f":{port}")
    parts = output.split(_MARK)
    steps = [Step(block, part) for block, part in zip(wanted, parts, strict=False)]
    if code != 0:
        raise Failed(_told(steps[-1], f"exit code {code}", home), steps[-1].installs)
    for step in steps:
        wrong = misfit(step.block.expected or "", step.output)
        if step.block.expected is not None and wrong is not None:
            raise Failed(_told(step, f"this line is not printed: {wrong}", home))
    return steps


def _as_run(commands: str, ports: dict[str, str]) -> str:
    """The commands with this work tree for the clone, and ports that are free."""
    commands = commands.replace("git clone URL cnrmirror", f"ln -s '{ROOT}' cnrmirror")
    for port, used in ports.items():
        commands = re.sub(rf"(?<=:){port}\b|(?<=-p ){port}\b|(?<=port ){port}\b", used, commands)
    return commands


def _bash(script: Path, environment: dict[str, str], seconds: float) -> tuple[str, int]:
    with subprocess.Popen(
        ["bash", "--noprofile", "--norc", script.name], cwd=script.parent, env=environment,
        stdout=subprocess.PIPE, start_new_session=True, text=True, encoding="utf-8",
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"no end after {seconds} s") from None
        finally:
            # What runs in the background belongs to the session.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return output, process.returncode


def environment(home: Path, programs: str = "") -> dict[str, str]:
    """Nothing but a home, a path, and how pip gets packages on this machine."""
    python = Path(getattr(sys, "_base_executable", sys.executable)).parent
    kept = {
        key: value for key, value in os.environ.items()
        if key.startswith("PIP_") or key.lower().endswith("_proxy") or key == "SSL_CERT_FILE"
    }  # fmt: skip
    user = Path.home() / ".config/pip/pip.conf"
    if user.exists():
        kept.setdefault("PIP_CONFIG_FILE", str(user))
    local = "127.0.0.1,localhost"
    return {
        **kept, "HOME": str(home), "PATH": f"{programs}:{python}:{os.defpath}".strip(":"),
        "LANG": "C.UTF-8",
        "NO_PROXY": local, "no_proxy": local, "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }  # fmt: skip


def _told(step: Step, problem: str, home: Path) -> str:
    output = re.sub(r"(?:https?|file)://(?!127\.)\S+", "URL", step.output)
    where = f"{step.block.document}:{step.block.line}: " if step.block.document else ""
    return f"{where}{problem}\n{step.block.commands}--\n{output.replace(str(home), '~')}"
