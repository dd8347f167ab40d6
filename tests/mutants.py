"""Mutation budget of the core: ``make mutants`` (docs/mutants.md).

mutmut changes the modules, one small change at a time, and runs their own tests on each. Prints
the figures and the survivors; the exit code is 1 if a module is below the budget.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parents[1]
DOCUMENT = HERE / "docs" / "mutants.md"
MUTMUT = Path(sys.executable).with_name("mutmut")
LEAST = 40  # mutants a module
SHARE = 0.9  # of them that the tests must kill
# What of each module counts; the modules and their tests stand in pyproject.toml. Of merge.py it
# is what decides: the rest moves files, and belongs to the tests with two mirrors.
MODULES = {
    "cnrmirror.catalog.tree": ["*"],
    "cnrmirror.publish.merge": [
        "x_merged__*", "x__three_way__*", "x__joined_part__*", "x__called__*",
    ],
    "cnrmirror.sync.plan": ["*"],
    "cnrmirror.views.cnr_v1": ["*"],
}  # fmt: skip


def mutmut(*arguments: str) -> str:
    """What mutmut prints. Raises CalledProcessError, with it, if it fails."""
    return subprocess.run(
        [MUTMUT, *arguments], cwd=HERE, check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ).stdout  # fmt: skip


def patterns(module: str) -> list[str]:
    return [f"{module}.{pattern}" for pattern in MODULES[module]]


def outcomes(printed: str, module: str) -> dict[str, str]:
    """Mutant → status, of those that count, from what ``mutmut results --all true`` prints."""
    pairs = [line.strip().rsplit(": ", 1) for line in printed.splitlines() if ": " in line]
    return {
        name: status
        for name, status in pairs
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns(module))
    }


def changed_line(mutant: str) -> str:
    """The line as the mutant has it."""
    lines = mutmut("show", mutant).splitlines()
    return next((x[1:].strip() for x in lines if x[:1] == "+" and x[:3] != "+++"), "")


def report(module: str, found: dict[str, str], reasons: str) -> bool:
    """Print the figures of a module; whether they are within the budget."""
    alive = sorted(name for name, status in found.items() if status != "killed")
    share = 1 - len(alive) / len(found) if found else 0.0
    good = len(found) >= LEAST and share >= SHARE
    print(f"{module}: {len(found)} mutants, {share:.1%} killed{'' if good else ': BELOW BUDGET'}")
    for name in alive:
        line = changed_line(name)
        known = "known" if f"`{line}`" in reasons else "new"
        print(f"  {known}, {found[name]}: {name}: {line}")
    return good


def main() -> int:
    shutil.rmtree(HERE / "mutants", ignore_errors=True)
    wanted = [pattern for module in MODULES for pattern in patterns(module)]
    try:
        mutmut("run", "--max-children", str(os.cpu_count() or 1), *wanted)
        printed = mutmut("results", "--all", "true")
        reasons = DOCUMENT.read_text()
        good = [report(module, outcomes(printed, module), reasons) for module in MODULES]
    except subprocess.CalledProcessError as error:
        print(error.stdout[-4000:])
        return 1
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
