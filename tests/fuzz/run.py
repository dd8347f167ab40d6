"""Run the differential fuzzer.

    python -m tests.fuzz.run --count 20000 --seed 1    # all combinations, then these
    python -m tests.fuzz.run --seed 1 --only 1234    # one archive again

Exit code 1 if the scanner crashed, accepted what readers take differently, or accepted so little
that nothing is shown. The archives in question are kept in a folder, by seed and number.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.combinations import combinations
from tests.fuzz.judge import judge
from tests.fuzz.mutate import Case, generated
from tests.fuzz.readers import PROGRAMS, SHARED_MEMORY, all_readers

LEAST_SHARE = 0.2
_DETAIL = re.compile(r"b?'(?:[^'\\]|\\.)*'|b?\"(?:[^\"\\]|\\.)*\"|\d+")


@dataclass
class Outcome:
    """The figures of one run."""

    count: int = 0
    accepted: int = 0
    crashes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.accepted / max(self.count, 1)

    @property
    def is_good(self) -> bool:
        return not self.problems and self.share >= LEAST_SHARE


def mutations(seed: int, numbers: Iterable[int]) -> Iterator[tuple[str, Case]]:
    """The archives of these numbers, each with a name for its file."""
    for n in numbers:
        yield f"{seed}-{n}", generated(seed, n)


def all_combinations(step: int = 1) -> Iterator[tuple[str, Case]]:
    """Every combination, or each ``step``-th."""
    for n, case in enumerate(combinations()):
        if n % step == 0:
            yield f"combination-{n}", case


def run(cases: Iterable[tuple[str, Case]], keep: Path | None = None) -> Outcome:
    """Judge the archives; those with problems are written to ``keep``."""
    outcome = Outcome()
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as folder, all_readers(Path(folder)) as readers:
        for name, case in cases:
            verdict = judge(case.data, case.tar, readers, Path(folder) / "archive.tgz")
            outcome.count += 1
            if verdict.refused is not None:
                outcome.refused[_DETAIL.sub("…", verdict.refused)] += 1
                continue
            is_crash = verdict.problems and verdict.problems[0].startswith("crash")
            outcome.crashes += bool(is_crash)
            outcome.accepted += not is_crash
            if verdict.problems:
                outcome.problems.append(f"{name} ({case.story}): {'; '.join(verdict.problems)}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}.tgz").write_bytes(case.data)
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one archive")
    parser.add_argument("--keep", type=Path, default=Path(".fuzz"), help="default: .fuzz")
    arguments = parser.parse_args()
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        parser.error(f"missing: {', '.join(missing)}")
    only = arguments.only
    numbers = range(arguments.count) if only is None else range(only, only + 1)
    began = time.monotonic()
    if only is None:
        fixed = run(all_combinations(), arguments.keep)
        _report("combinations", fixed, time.monotonic() - began)
        began = time.monotonic()
    outcome = run(mutations(arguments.seed, numbers), arguments.keep)
    _report(f"seed {arguments.seed}", outcome, time.monotonic() - began)
    if only is not None:
        return 1 if outcome.problems else 0
    return 0 if outcome.is_good and not fixed.problems else 1


def _report(what: str, outcome: Outcome, seconds: float) -> None:
    for reason, times in outcome.refused.most_common():
        print(f"{times:7} {reason}")
    for problem in outcome.problems:
        print(problem, file=sys.stderr)
    print(
        f"{what}: {outcome.count} archives in {seconds:.0f} s, "
        f"{outcome.accepted} accepted ({outcome.share:.0%}), "
        f"{len(outcome.problems) - outcome.crashes} read differently, {outcome.crashes} crashes"
    )


if __name__ == "__main__":
    sys.exit(main())
