"""One archive, judged: refused, or read alike by all, or not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from cnrmirror.archive.inspect import ArchiveReader
from cnrmirror.archive.scan import Limits, TarScanner
from cnrmirror.model.digest import CHUNK
from cnrmirror.model.errors import HostileArchive, TooLarge
from tests.fuzz.readers import Entry, Reader, Reading, digest


class Verdict(NamedTuple):
    """``refused``: why it was, if so. ``problems``: what is wrong with the scanner."""

    refused: str | None
    problems: list[str]


def accepted(data: bytes) -> None:
    """Raises what the archive reader raises."""
    reader = ArchiveReader()
    stream = io.BytesIO(data)
    while chunk := stream.read(CHUNK):
        reader.feed(chunk)
    reader.close()


def _files(tar: bytes) -> dict[str, str]:
    """The scanner's own view: the files by name, with their digests."""
    scanner = TarScanner(Limits(), lambda name: 1 << 30)
    scanner.feed(tar)
    scanner.close()
    return {name: digest(content) for name, content in scanner.captured.items()}


def _has_oldest_folder(tar: bytes) -> bool:
    """Whether a folder is marked by its name alone.

    Such archives are accepted, for they were written for decades; but busybox is mostly built
    without the option that reads them.
    """
    blocks = (tar[at : at + 512] for at in range(0, len(tar), 512))
    return any(
        block[257:262] == b"ustar" and not block[156] and block[:100].rstrip(b"\0")[-1:] == b"/"
        for block in blocks
    )


def judge(data: bytes, tar: bytes, readers: dict[str, Reader], archive: Path) -> Verdict:
    """``tar`` is what ``data`` unpacks to; ``archive`` is a path to write it to."""
    try:
        accepted(data)
    except (HostileArchive, TooLarge) as error:
        return Verdict(str(error), [])
    except Exception as error:
        return Verdict(None, [f"crash: {type(error).__name__}: {error}"])
    archive.write_bytes(data)
    if _has_oldest_folder(tar):
        readers = {name: read for name, read in readers.items() if name != "busybox"}
    readings = {name: read(archive, data) for name, read in readers.items()}
    return Verdict(None, _differences(_files(tar), readings))


def _differences(own: dict[str, str], readings: dict[str, Reading]) -> list[str]:
    problems = []
    first, expected = next(iter(readings.items()))
    for name, reading in readings.items():
        if isinstance(reading, str):
            problems.append(f"{name} complains: {reading}")
        elif {path: e.what for path, e in reading.items() if e.kind == "file"} != own:
            problems.append(f"{name} reads other files than the scanner: {_told(reading)}")
        elif reading != expected:
            problems.append(f"{name} reads {_told(reading)}, {first} {expected}")
    return problems


def _told(reading: dict[str, Entry]) -> str:
    return ", ".join(f"{path!r} ({e.kind} {e.what:.12})" for path, e in sorted(reading.items()))
