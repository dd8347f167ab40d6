"""Where this person's keys are, what opens them, and the project opened with them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnrmirror.cli.context import Context, clock
from cnrmirror.model.errors import InputError, UsageError
from cnrmirror.model.later import later
from cnrmirror.objects.files import read_descriptor, read_regular

if TYPE_CHECKING:
    from cnrmirror.mirror import home, rootplan, rotate
    from cnrmirror.mirror import project as projects
    from cnrmirror.trust import guard as guards
    from cnrmirror.trust import keys, signing, witness
else:
    home = later("cnrmirror.mirror.home")
    projects = later("cnrmirror.mirror.project")
    rootplan = later("cnrmirror.mirror.rootplan")
    rotate = later("cnrmirror.mirror.rotate")
    guards = later("cnrmirror.trust.guard")
    keys = later("cnrmirror.trust.keys")
    signing = later("cnrmirror.trust.signing")
    witness = later("cnrmirror.trust.witness")


_MAX_PASSPHRASE_FILE = 1 << 16
_DESCRIPTOR = re.compile(r"/dev/stdin|(?:/dev|/proc/self)/fd/([0-9]{1,5})")
_TRIES = 3

PASSPHRASE_FILE = click.option(
    "--passphrase-file", "passphrase_files", multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The first line of this file opens (or protects) the offline keys; repeatable. Without "
    "it, the passphrase is asked for on a terminal.",
)  # fmt: skip
OFFLINE_KEYS = click.option(
    "--offline-keys", "offline", metavar="FOLDER", required=True, multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with root or targets keys; repeatable, for keys on several media.",
)  # fmt: skip


def repository(project: projects.Project, allow_past: bool = True) -> signing.Repository:
    """The project's signed metadata, with this person's online keys.

    Args:
        allow_past: sign for whatever time is said; else for none that the clock belies.
    """
    return rotate.own_repository(project, None if allow_past else clock, _warn)


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def signing_project(context: Context) -> projects.Project:
    """The mirror that -C names, able to make revisions if the keys are here."""
    project = context.project()
    project.signer = repository(project, context.allow_past)
    return project


def offline_keys(folders: Sequence[Path], files: Sequence[Path]) -> keys.KeyFolder:
    """The offline keys in folders, which the passphrases in files open.

    Who sits at a terminal, and gave no file, is asked.
    """
    ask = None if files or not sys.stdin.isatty() else _ask
    return keys.KeyFolder(*folders, passphrases=[_first_line(file) for file in files], ask=ask)


def vaults(folders: Sequence[Path | None], files: Sequence[Path]) -> tuple[rootplan.Vault, ...]:
    """Folders for new offline keys, and what protects the keys in each.

    Args:
        folders: None stands for the folder below that of the online keys.
        files: with passphrases: one for all folders, or one for each. Who sits at a terminal, and
            gave none, is asked.

    Raises:
        UsageError: another number of files; two different answers, three times.
        InputError: a file is empty, or is none.
    """
    if len(files) not in (0, 1, len(folders)):
        raise UsageError(
            f"{len(files)} passphrase files for {len(folders)} folders of keys: give one for all, "
            "or one for each"
        )
    if not files and sys.stdin.isatty():
        return tuple(rootplan.Vault(folder, _ask_new(folder)) for folder in folders)
    said: list[bytes | None] = [_first_line(file) for file in files] or [None]
    if len(said) == 1:
        said *= len(folders)
    return tuple(rootplan.Vault(*pair) for pair in zip(folders, said, strict=True))


def _first_line(file: Path) -> bytes:
    """The passphrase that a file begins with; ``<(COMMAND)`` of a shell is one.

    Raises InputError if it is empty, or nothing that can be read to an end.
    """
    descriptor = _DESCRIPTOR.fullmatch(str(file))
    if descriptor:
        data = read_descriptor(int(descriptor[1] or 0), _MAX_PASSPHRASE_FILE, str(file))
    else:
        data = read_regular(file, _MAX_PASSPHRASE_FILE)
    line = data.split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise InputError(f"{file}: the passphrase is empty")
    return line


def _ask(where: str, again: bool) -> bytes | None:
    """What a person says at the terminal to open a key."""
    if again:
        click.echo(f"cnrmirror: this passphrase does not open {where}", err=True)
    said = _hidden(f"passphrase of {where}")
    if not said:
        click.echo(f"cnrmirror: no passphrase: {where} is not used", err=True)
    return said


def _ask_new(folder: Path | None) -> bytes | None:
    """What is to protect new keys: said twice. Raises UsageError."""
    where = str(folder) if folder else "your own configuration folder"
    for _ in range(_TRIES):
        said = _hidden(f"passphrase for the new offline keys in {where} (empty: none)")
        if said is None:
            click.echo(f"cnrmirror: no passphrase for the keys in {where}", err=True)
            return None
        if _hidden("the same passphrase again") == said:
            return said
        click.echo("cnrmirror: the two passphrases differ", err=True)
    raise UsageError("no passphrase was typed twice alike: run the command again")


def _hidden(question: str) -> bytes | None:
    """What is typed, unseen; None for nothing."""
    said: str = click.prompt(question, hide_input=True, err=True, default="", show_default=False)
    return said.encode("utf-8", "surrogateescape") or None
