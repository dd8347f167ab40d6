"""Runs the commands of docs/tutorial.md as a reader would (``make tutorial``).

All blocks of ``sh`` go to one bash, in an empty folder that is also the home. The block of ``text``
that follows directly is what they must print, standard error included: "…" in a line stands for any
text, a line of "…" alone for any lines. What differs for the reader is in ``_as_run``.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.interop.ports import free_port

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs/tutorial.md"
TRANSCRIPT = ROOT / "docs/tutorial-transcript.txt"
PORTS = ("8080", "9000")
_BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.S | re.M)
_MARK = "\036"
_VARIES = {
    r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b": "ID",
    r"\b[0-9a-f]{64}\b": "DIGEST",
    r"\b[0-9a-f]{12}(?=\t)": "DIGEST",
    r"(?<=-)[0-9a-f]{8}(?=\.pem)": "KEY",
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?": "TIME",
    r"\b[\d.]+ s\b": "N s",
    r"\b\d+ (bytes|requests|files|views)\b": r"N \1",
    r"\b[1-9]\d+ written\b": "N written",
    r"(?m)^cnrmirror \S+, Python .*$": "cnrmirror VERSION, Python VERSION",
    r"(?m)^  ([a-z0-9-]+) \d[\w.+]*$": r"  \1 VERSION",
    r"\b[\d.]+ (KiB|MiB)\b": r"N \1",
}


@dataclass(frozen=True)
class Block:
    """Commands, and what they must print; None if nothing is said about that."""

    commands: str
    expected: str | None = None


@dataclass(frozen=True)
class Step:
    """What a block printed."""

    block: Block
    output: str

    @property
    def installs(self) -> bool:
        """pip says where it looks for packages: that is of this machine, and not shown."""
        return "pip install" in self.block.commands


class Failed(Exception):
    """A command failed, or printed something else.

    ``installs``: it is pip that failed.
    """

    def __init__(self, told: str, installs: bool = False) -> None:
        super().__init__(told)
        self.installs = installs


def blocks(text: str) -> list[Block]:
    """The blocks of a document, in order."""
    return [Block(commands, expected or None) for commands, expected in _BLOCK.findall(text)]


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


def normal(text: str, home: Path) -> str:
    """The text without what differs from run to run."""
    text = text.replace(str(home), "~")
    for pattern, word in _VARIES.items():
        text = re.sub(pattern, word, text)
    return text


def run(home: Path, wanted: list[Block], programs: str = "", seconds: float = 600) -> list[Step]:
    """Run the blocks one after the other; all processes that they start end with it.

    Args:
        home: an empty folder.
        wanted: the blocks.
        programs: a folder that the path begins with, for who does not install.
        seconds: how long all of it may take.

    Returns:
        What each block printed.

    Raises:
        Failed: a command failed, there was no end, or something else was printed.
    """
    ports = {port: str(free_port()) for port in PORTS}
    script = home / "tutorial.sh"
    script.write_text(
        "set -eo pipefail\nexec < /dev/null 2>&1\n"
        + "".join(f"{_as_run(b.commands, ports)}printf '{_MARK}'\n" for b in wanted)
    )
    output, code = _bash(script, environment(home, programs), seconds)
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
    return f"{problem}\n{step.block.commands}--\n{output.replace(str(home), '~')}"


def transcript(steps: list[Step], home: Path) -> str:
    """All commands and what they printed, without what differs from run to run."""
    pieces = ["# Written by 'make tutorial': the commands of tutorial.md, and what they print.\n"]
    for step in steps:
        pieces.append("\n" + typed(step.block.commands))
        if not step.installs and step.output:
            pieces.append(normal(step.output.rstrip("\n") + "\n", home))
    return "".join(pieces)


def typed(commands: str) -> str:
    """The lines as a terminal shows them, ">" before those that go on with a command."""
    shown, goes_on, end = [], False, None
    for line in commands.splitlines():
        shown.append(f"{'>' if goes_on else '$'} {line}\n")
        here = re.search(r"<<'(\w+)'$", line)
        end = here[1] if here else None if line == end else end
        goes_on = end is not None or line.endswith("\\")
    return "".join(shown)


def main() -> None:
    """Run the tutorial, write the transcript, say how long it took."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        TRANSCRIPT.write_text(transcript(run(home, blocks(TUTORIAL.read_text())), home))
    print(f"{TRANSCRIPT.relative_to(ROOT)}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
