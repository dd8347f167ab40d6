"""Runs the commands of docs/tutorial.md as a reader would (``make tutorial``).

All blocks go to one bash, in an empty folder that is also the home: tests/blocks.py.
"""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path

from tests.blocks import ROOT, Step, blocks, run

TUTORIAL = ROOT / "docs/tutorial.md"
TRANSCRIPT = ROOT / "docs/tutorial-transcript.txt"
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


def normal(text: str, home: Path) -> str:
    """The text without what differs from run to run."""
    text = text.replace(str(home), "~")
    for pattern, word in _VARIES.items():
        text = re.sub(pattern, word, text)
    return text


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
