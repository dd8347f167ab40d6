"""How much of each room the tests ran, from ``coverage json``: ``python -m tests.covered``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

KINDS = ("num_statements", "missing_lines", "num_branches", "missing_branches")


def rooms(report: Path) -> dict[str, Counter[str]]:
    """The lines and branches of each room, and those that no test ran; "" is all of them."""
    found: dict[str, Counter[str]] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        parts = Path(name).parts
        room = f"{parts[1]}/" if len(parts) > 2 else "(files of no room)"
        numbers = Counter({kind: file["summary"][kind] for kind in KINDS})
        for key in (room, ""):
            found.setdefault(key, Counter()).update(numbers)
    return found


def percent(numbers: Counter[str]) -> float:
    """Lines and branches that ran, of all there are, as coverage.py counts."""
    every = numbers["num_statements"] + numbers["num_branches"]
    missed = numbers["missing_lines"] + numbers["missing_branches"]
    return 100 * (every - missed) / every if every else 100.0


def main() -> None:
    found = rooms(Path(sys.argv[1] if len(sys.argv) > 1 else ".coverage.json"))
    every = found.pop("")
    print(f"{'room':<20} {'lines':>6} {'missed':>6} {'branches':>8} {'missed':>6} {'covered':>8}")
    for room, numbers in [*sorted(found.items()), ("all", every)]:
        cells = [numbers[kind] for kind in KINDS]
        print(f"{room:<20} {cells[0]:>6} {cells[1]:>6} {cells[2]:>8} {cells[3]:>6} "
              f"{percent(numbers):>6.1f} %")  # fmt: skip


if __name__ == "__main__":
    main()
