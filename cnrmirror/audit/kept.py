"""Reports that are kept: written whole or not at all, and read as what a stranger gave."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from cnrmirror.audit.report import Audit
from cnrmirror.model import typed
from cnrmirror.model.canonical import encode
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.model.format import FIRST, Format, require_readable
from cnrmirror.objects.files import read_given, replace_durably, storage_errors

MAX_BYTES = 64 << 20
_MOST_FINDINGS = 100_000


class Kept(msgspec.Struct, frozen=True):
    """A report that was kept, and the digest of its file."""

    report: Audit
    sha256: str


class _Versioned(msgspec.Struct):
    format: Format = FIRST


def read_report(path: Path) -> Kept:
    """The report in a file; only its form is checked: what it says may be a lie.

    Raises:
        InputError: there is no such file, it has more than 64 MiB, or is no report of one mirror.
        NewerFormat: a newer program wrote it.
    """
    data = read_given(path, MAX_BYTES, "; no report has more than 64 MiB")
    try:
        require_readable(typed.decode(data, _Versioned).format, str(path))
        report = typed.decode(data, Audit)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidDocument(
            f"{path}: not a report of 'check --from … --report FILE': {error}"
        ) from error
    return Kept(report, hashlib.sha256(data).hexdigest())


def write_report(path: Path, report: Audit) -> None:
    """Keep a report: canonical JSON on one line, in the place of what is there.

    Of more than 100,000 findings, the first are kept. Raises StorageError.
    """
    more = len(report.findings) - _MOST_FINDINGS
    if more > 0:
        report = msgspec.structs.replace(
            report,
            findings=report.findings[:_MOST_FINDINGS],
            notes=[*report.notes, f"and {more} findings more"],
        )
    with storage_errors(str(path)):
        replace_durably(path, encode(report) + b"\n", path.parent)
