"""What a start costs in processor time, beside Python's own and other programs'.

``python -m bench.startup [--write] [--runs 15]``. In each round every command runs once; the ratio
is the median of the rounds', with the least and the most. The mirror has 1,000 packages, Helm's
index as many charts, rclone's configuration as many remotes. What is not here (``bench.peers``) is
said, and left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.peers import peer
from bench.table import SPEED, program
from tests.conftest import chart_bytes

BEGIN, END = "<!-- start-up: made by make bench -->", "<!-- end of start-up -->"
PEERS = ("uv", "rclone", "restic", "helm")
PACKAGES = 1000
PASS = "python -c pass"


class Start(NamedTuple):
    """A command of ours, and those beside it, by what they are called in the table."""

    name: str
    ours: list[str]
    beside: dict[str, list[str]]
    env: dict[str, str]


def cpu(command: list[str], env: dict[str, str]) -> float:
    """Processor milliseconds of a command. Raises CalledProcessError if it fails."""
    child = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return 1000 * (used.ru_utime + used.ru_stime)


def prepared(work: Path, found: dict[str, str]) -> dict[str, str]:
    """The environment of all commands: 1,000 of what each program can name."""
    charts = work / "charts"
    charts.mkdir()
    for number in range(PACKAGES):
        name = f"c{number:04}"
        (charts / f"{name}-1.0.0.tgz").write_bytes(chart_bytes(name, "1.0.0"))
    mirror = str(work / "m")
    subprocess.run(program("-q", "init", mirror), check=True)
    push = program("-q", "-C", mirror, "push", "--namespace", "ns", str(charts))
    subprocess.run(push, check=True)
    if helm := found.get("helm"):
        subprocess.run([helm, "repo", "index", str(charts)], check=True)
        (work / "cache").mkdir()
        (charts / "index.yaml").rename(work / "cache/local-index.yaml")
        names = "".join(f"c{number:04}\n" for number in range(PACKAGES))
        (work / "cache/local-charts.txt").write_text(names)  # what `helm repo update` writes, too
    (work / "repositories.yaml").write_text(
        "apiVersion: ''\nrepositories:\n- {name: local, url: 'http://127.0.0.1:9'}\n"
    )
    remotes = (f"[r{number:04}]\ntype = local\n" for number in range(PACKAGES))
    (work / "rclone.conf").write_text("".join(remotes))
    return {
        **os.environ, "RCLONE_CONFIG": str(work / "rclone.conf"),
        "HELM_REPOSITORY_CACHE": str(work / "cache"),
        "HELM_REPOSITORY_CONFIG": str(work / "repositories.yaml"),
    }  # fmt: skip


def starts(work: Path, found: dict[str, str]) -> Iterator[Start]:
    """What is measured."""
    env = prepared(work, found)
    here = ("-C", str(work / "m"))

    def beside(commands: dict[str, str]) -> dict[str, list[str]]:
        words = {text: text.split() for text in commands.values()}
        return {PASS: [sys.executable, "-c", "pass"]} | {
            text: [found[name], *words[text][1:]]
            for name, text in commands.items()
            if name in found
        }

    def completing(line: str) -> dict[str, str]:
        words = ["cnrmirror", *here, *line.split(" ")]
        return {
            **env, "_CNRMIRROR_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }  # fmt: skip

    version = {"uv": "uv --version", "restic": "restic version", "helm": "helm version"}
    version["rclone"] = "rclone version"
    yield Start("--version", program("--version"), beside(version), env)
    yield Start("--help", program("--help"), beside({n: f"{n} --help" for n in PEERS}), env)
    words = {"rclone": "rclone __complete co", "restic": "restic __complete sn"}
    words["helm"] = "helm __complete pu"
    yield Start("completion: pu", program(), beside(words), completing("pu"))
    # What the scripts that rclone and helm print start for a name.
    names = {"rclone": "rclone listremotes", "helm": "helm __complete show chart local/c00"}
    yield Start("completion: show ns/c00", program(), beside(names), completing("show ns/c00"))
    lists = {"rclone": "rclone listremotes", "helm": "helm search repo"}
    yield Start("list", program(*here, "list"), beside(lists), env)


def measured(start: Start, runs: int) -> list[str]:
    """The rows of one command, printed."""
    cpu(start.ours, start.env)  # once before: files are read, compiled modules written
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in start.beside}
    for _ in range(runs):
        ours.append(cpu(start.ours, start.env))
        for name, command in start.beside.items():
            theirs[name].append(cpu(command, start.env))
    rows = []
    for name, found in theirs.items():
        ratios = sorted(a / b for a, b in zip(ours, found, strict=True))
        own, other = statistics.median(ours), statistics.median(found)
        rows.append(
            f"| {start.name} | {own:.0f} | {name} {other:.0f} "
            f"| **{statistics.median(ratios):.2f}** | {ratios[0]:.2f} to {ratios[-1]:.2f} |"
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into docs/speed.md")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--folder", default="/dev/shm" if Path("/dev/shm").is_dir() else None)
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    found = {name: path for name in PEERS if (path := peer(name))}
    lines = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for start in starts(Path(folder), found):
            lines += measured(start, options.runs)
    if options.write:
        cores = len(os.sched_getaffinity(0))
        said = (
            f"Python {platform.python_version()}, {cores} cores; CPU ms, medians of "
            f"{options.runs} rounds.\n\n| what | ours | beside | ratio | spread |\n"
            "|---|---|---|---|---|\n"
        )
        before, _, rest = SPEED.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        SPEED.write_text(f"{before}{BEGIN}\n\n{said}" + "\n".join(lines) + f"\n\n{END}{after}")


if __name__ == "__main__":
    main()
