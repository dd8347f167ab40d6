"""Shells that complete a line, by the script that the program prints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

_BASH = """
eval "$(cnrmirror completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:@'
compopt() { echo "compopt $*"; }
_cnrmirror_completion cnrmirror
printf '%s\\n' "${COMPREPLY[@]}"
"""
# What zsh would add is printed: its own widgets need somebody who types.
_ZSH = """
autoload -Uz compinit; compinit -u -D
eval "$(cnrmirror completion zsh)"
_describe() { local -a found; found=("${(@P)3}"); print -l -- "${found[@]%%:*}" }
compadd() { local -a found; found=("${(@P)@[-1]}"); print -l -- $found }
_path_files() { print -- "files $*" }
words=(${(z)1}); [[ $1 == *\\  ]] && words+=("")
CURRENT=${#words}
_cnrmirror_completion
"""
_FISH = """
cnrmirror completion fish | source
complete --do-complete "$argv[1]"
"""


def completed(shell: str, line: str, folder: Path) -> list[str]:
    """What a shell offers for a line, up to the cursor at its end, in a folder."""
    commands = {
        "bash": ["bash", "--norc", "-c", _BASH, "bash", line],
        "zsh": ["zsh", "-f", "-c", _ZSH, "zsh", line],
        "fish": ["fish", "--no-config", "-c", _FISH, line],
    }
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    program = programs / "cnrmirror"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cnrmirror "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        commands[shell], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
             "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return [found.split("\t")[0].strip() for found in done.stdout.splitlines() if found.strip()]
