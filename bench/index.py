"""Reading a large index.yaml, beside helm and beside a tree of all of it.

``python -m bench.index [--versions 40000] [--runs 3]``. Prints CPU seconds and the
most memory of a process that reads it; helm reads it to search it. Ratios are to helm in the same
run.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.peers import peer

_EVENTS = """
import sys
from cnrmirror.sources.helmindex import entries_of
print(sum(map(len, entries_of(open(sys.argv[1], "rb").read(), "index.yaml").values())))
"""
_TREE = """
import sys, yaml
found = yaml.load(open(sys.argv[1], "rb").read(), Loader=yaml.CBaseLoader)["entries"]
print(sum(map(len, found.values())))
"""


def index(file: Path, versions: int) -> None:
    """An index with the fields of real ones: a kilobyte a version, forty versions a chart."""
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(600)]
    with file.open("w") as out:
        out.write("apiVersion: v1\nentries:\n")
        for number in range(versions):
            name = f"chart-{number // 40:05}"
            if number % 40 == 0:
                out.write(f"  {name}:\n")
            lines = [
                f"- apiVersion: v2\n    appVersion: 1.{number % 40}.0",
                "created: '2024-01-02T03:04:05.123456789Z'",
                f"dependencies:\n    - name: common\n      repository: https://{words[3]}.example.com\n"
                "      version: 2.x.x",
                f"description: {' '.join(dice.choices(words, k=25))}",
                f"digest: {dice.randbytes(32).hex()}",
                f"home: https://example.com/{name}",
                "icon: https://example.com/icon.png",
                "keywords:\n    - " + "\n    - ".join(dice.choices(words, k=5)),
                "maintainers:\n    - email: somebody@example.com\n      name: somebody",
                f"name: {name}",
                "sources:\n    - " + "\n    - ".join(f"https://example.com/{w}" for w in words[:4]),
                f"urls:\n    - https://charts.example.com/{name}-1.{number % 40}.0.tgz",
                f"version: 1.{number % 40}.0",
            ]
            out.write("  " + "\n    ".join(lines) + "\n")
        out.write("generated: '2024-01-02T03:04:05Z'\n")


def cost(command: tuple[str, ...], env: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and MB of a command."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        file = Path(work, "index.yaml")
        index(file, options.versions)
        print(f"{options.versions} versions, {file.stat().st_size / 1e6:.1f} MB")
        commands: dict[str, tuple[str, ...]] = {
            "cnrmirror": (sys.executable, "-c", _EVENTS, str(file)),
            "a tree": (sys.executable, "-c", _TREE, str(file)),
        }
        env = dict(os.environ)
        if helm := peer("helm"):
            cache, config = Path(work, "cache/repository"), Path(work, "repositories.yaml")
            cache.mkdir(parents=True)
            shutil.copy(file, cache / "bench-index.yaml")
            config.write_text(
                "apiVersion: ''\nrepositories:\n- {name: bench, url: 'http://127.0.0.1:9'}\n"
            )
            env["HELM_REPOSITORY_CACHE"] = str(cache)
            env["HELM_REPOSITORY_CONFIG"] = str(config)
            commands["helm"] = (helm, "search", "repo", "bench/chart-00001")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, command in commands.items():
                found[name].append(cost(command, env))
        for name, runs in found.items():
            seconds = statistics.median(run[0] for run in runs)
            memory = statistics.median(run[1] for run in runs)
            ratio = ""
            if "helm" in found and name != "helm":
                ratios = [a[0] / b[0] for a, b in zip(runs, found["helm"], strict=True)]
                ratio = f", {statistics.median(ratios):.2f} x helm"
            print(f"{name}: {seconds:.2f} CPU s, {memory:.0f} MB{ratio}")


if __name__ == "__main__":
    main()
