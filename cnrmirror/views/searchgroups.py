"""The groups of the search: words by their first two letters, and records by a checksum.

A package has a row in the group of each pair of letters with which one of its words begins, and one
in a group of records, which are about a 4,096th of all packages each. Every row is a ``Words``
that has only the words of its group; with words of the name, it has the record, too.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from cnrmirror.model import typed
from cnrmirror.views.searchwords import Words

if TYPE_CHECKING:
    from cnrmirror.views.groups import Groups

BEST = 60
"""How many packages a file names that has the words of its letters in other files."""
_LETTERS = 2
_RECORDS = "/"  # no word has it
_DIGITS = 3
Record = tuple[str, str, str]
"""What is shown of a package: its name, release and description."""


class Few(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What files above a group need of it.

    ``packages``: how many rows it has. Of words: the best packages for their first letter, those
    whose names begin with it and the others; at most ``BEST`` records each.
    """

    packages: int
    first: msgspec.Raw = msgspec.Raw(b"[]")
    others: msgspec.Raw = msgspec.Raw(b"[]")


def rows_of(package: str, words: Words) -> dict[str, Words]:
    """The rows of a package, by group."""
    stems: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for kind, text in enumerate(words.kinds()):
        for word in text.split():
            stems.setdefault(word[:_LETTERS], ([], [], []))[kind].append(word)
    record = (words.release, words.description)
    found = {
        stem: Words(*(record if kinds[0] else ("", "")), *map(" ".join, kinds))
        for stem, kinds in stems.items()
    }
    return found | {_record_group(package): Words(*record, "", "", "")}


def summary_of(name: str, rows: Mapping[str, Words]) -> Few:
    """What files above a group need of it."""
    if name.startswith(_RECORDS):
        return Few(len(rows))
    named = sorted((package for package, words in rows.items() if words.name), key=rank)
    both = (
        msgspec.Raw(msgspec.json.encode([record(rows, package) for package in found]))
        for found in parted(named, name[0])
    )
    return Few(len(rows), *both)


def rank(package: str) -> tuple[int, int, str]:
    """The order of packages that a word fits equally well: fewer words, shorter, by letters."""
    short = package.partition("/")[2]
    return short.count("-") + short.count("_") + short.count("."), len(package), package


def parted(ranked: Iterable[str], letters: str) -> tuple[list[str], list[str]]:
    """Of packages in their order, those whose names begin with some letters, and the others.

    Of each the first ``BEST``.
    """
    first: list[str] = []
    others: list[str] = []
    for package in ranked:
        some = first if package.partition("/")[2].lower().startswith(letters) else others
        if len(some) < BEST:
            some.append(package)
        elif len(first) == len(others):
            break
    return first, others


def record(rows: Mapping[str, Words], package: str) -> Record:
    """What is shown of a package that has a record in these rows."""
    return package, rows[package].release, rows[package].description


def count(groups: Groups) -> int:
    """How many packages there are."""
    every = groups.summaries().items()
    return sum(few.packages for name, few in every if name.startswith(_RECORDS))


def stems(groups: Groups, prefix: str = "") -> Iterator[str]:
    """The groups of words that begin with at most two letters, in no order."""
    for name in groups.summaries():
        if name.startswith(prefix) and not name.startswith(_RECORDS):
            yield name


def with_letters(groups: Groups, prefix: str) -> Mapping[str, Words]:
    """The rows that have the words with a prefix of at least two letters."""
    return groups.group(prefix[:_LETTERS])


def best_of_letter(groups: Groups, letter: str) -> list[Record]:
    """The best packages for a first letter: those whose names begin with it come first."""
    few = [groups.summaries()[name] for name in stems(groups, letter)]
    raws = (raw for each in few for raw in (each.first, each.others))
    records = {each[0]: each for raw in raws for each in typed.decode(raw, list[Record])}
    first, others = parted(sorted(records, key=rank), letter)
    return [records[package] for package in (*first, *others)[:BEST]]


def key(package: str, digits: int) -> int:
    """The file of a package's record, of 16 ** ``digits``."""
    return zlib.crc32(package.encode()) >> 32 - 4 * digits


def _record_group(package: str) -> str:
    return f"{_RECORDS}{key(package, _DIGITS):0{_DIGITS}x}"


def records(groups: Groups, digits: int, keys: Iterable[int] | None) -> dict[int, list[Record]]:
    """The records of some files, or of all, by the key of the file; sorted."""
    found: dict[int, list[Record]] = {}
    names = [name for name in groups.summaries() if name.startswith(_RECORDS)]
    if keys is not None:
        keys = set(keys)
        starts = tuple(f"{_RECORDS}{key:0{digits}x}"[: 1 + min(digits, _DIGITS)] for key in keys)
        names = [name for name in names if name.startswith(starts)]
    for name in sorted(names):
        rows = groups.group(name)
        for package in rows:
            number = key(package, digits)
            if keys is None or number in keys:
                found.setdefault(number, []).append(record(rows, package))
    return {number: sorted(found[number]) for number in sorted(found)}


def is_after(groups: Groups, changed: Mapping[str, tuple[Words | None, Words | None]]) -> bool:
    """Whether entries are as they are after a change."""
    for package, (old, new) in changed.items():
        before = rows_of(package, old) if old else {}
        after = rows_of(package, new) if new else {}
        for name in before.keys() | after.keys():
            row = after.get(name)
            if before.get(name) != row and groups.group(name).get(package) != row:
                return False
    return True
