"""Search without a server: script files that a page loads by the first letters of a word.

The words of all packages form a trie. A file holds the words that begin with its letters; where
they would be much more than 64 KiB, it names its children instead, and the best packages below.
A change touches the files on the way to its words. ``templates/assets/search.js`` reads them.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from heapq import nsmallest
from typing import Any, TypeVar

import msgspec

from cnrmirror.views.searchtrie import MOST_PACKAGES, WITH_RECORD, Changed, Moves, Node, Texts, Trie
from cnrmirror.views.searchwords import STOP_WORDS, Words, words_of

__all__ = ["STOP_WORDS", "Words", "shards", "words_of"]

T = TypeVar("T")
_BEST = 60
_encode = msgspec.json.Encoder().encode


class Shared:
    """What the calls about one change have in common, if it changes no words: most do not."""

    trie: Trie | None = None


def shards(
    entries: Mapping[str, Words], changed: Changed, shared: Shared | None = None
) -> Iterator[tuple[str, bytes]]:
    """The files (``s-re.js``, their content) that a change touches, as they are for all entries.

    Args:
        entries: all packages, as they are before the change or as they are after it.
        changed: the packages that changed, before and after; None where there is none. With all
            packages from None to what they are, all files are touched.
        shared: the same for both calls about a change; it is filled by the first one.

    Every file that differs before and after, or is not there, is named by one of the two calls.
    Files that others refer to come first.
    """
    moves = Moves(entries, changed)
    yield from _record_files(entries, moves)
    known = shared.trie if shared is not None else None
    trie = known or Trie(Texts(entries), moves)
    if shared is not None:  # after the second call, nobody asks
        shared.trie = None if moves.of_words or known else trie
    touched = trie.touched() if entries else {Node("")}  # A page asks for the root in any case.
    for node in sorted(touched, key=lambda n: (-len(n.prefix), n.prefix, not n.own)):
        body = (_inner if node.inner else _leaf)(trie, node, entries)
        name = node.prefix + "-" * node.own
        # The root says how the files of records are named.
        yield f"s-{name}.js", _call("c", name, body, *(() if name else (trie.scale.digits,)))


def _call(function: str, *values: Any) -> bytes:
    # JSON is JavaScript; what a package says stays data.
    given = b",".join(map(_encode, values))
    return b"cnrmirror.search." + function.encode() + b"(" + given + b");\n"


@lru_cache(maxsize=1 << 17)
def _rank(package: str) -> tuple[int, int, str]:
    """The order of packages that a word fits equally well: fewer words, shorter, by letters."""
    short = package.partition("/")[2]
    return short.count("-") + short.count("_") + short.count("."), len(package), package


def _once(trie: Trie, name: str, work: Callable[[], T]) -> T:
    """What ``work`` gives, which is told by the trie alone."""
    if name not in trie.told:
        trie.told[name] = work()
    found: T = trie.told[name]
    return found


def _record(package: str, entries: Mapping[str, Words]) -> list[str]:
    return [package, entries[package].release, entries[package].description]


def _leaf(trie: Trie, node: Node, entries: Mapping[str, Words]) -> list[list[Any]]:
    """The words of a file, each with its packages: by name, by keyword, by description."""
    words = [node.prefix] if node.own else trie.words(node.prefix)
    return [_listed(word, trie, entries) for word in words]


def _listed(word: str, trie: Trie, entries: Mapping[str, Words]) -> list[Any]:
    kinds: list[Any] = [*map(list, _once(trie, f"word {word}", lambda: _ranked(word, trie)))]
    # The first ones carry their records, so that the first rows need one file.
    kinds[0][:WITH_RECORD] = [_record(package, entries) for package in kinds[0][:WITH_RECORD]]
    while kinds and not kinds[-1]:
        kinds.pop()
    return [word, *kinds]


def _ranked(word: str, trie: Trie) -> list[list[str]]:
    """The packages of a word, by kind, the best first."""
    names, tags, texts = trie.lists[word]
    if len(texts) > trie.scale.common:
        texts = []
    return [sorted(kind, key=_rank)[:MOST_PACKAGES] for kind in (names, tags, texts)]


def _inner(trie: Trie, node: Node, entries: Mapping[str, Words]) -> dict[str, Any]:
    """The next letters, whether the letters are a word, and the best packages for them."""
    prefix = node.prefix
    # The root names no packages: they are not even looked for.
    best = (
        _once(trie, f"best {prefix}", lambda: _best(trie.named(prefix), prefix)) if prefix else []
    )
    rows = [_record(package, entries) for package in best]
    return {"k": trie.letters(prefix), "o": int(trie.has(prefix)), "t": rows}


def _best(packages: set[str], prefix: str) -> list[str]:
    """The best of them: those whose names begin with the prefix come first."""
    first = {p for p in packages if p.partition("/")[2].lower().startswith(prefix)}
    best = nsmallest(_BEST, first, key=_rank)
    return best + nsmallest(_BEST - len(best), packages - first, key=_rank)


def _record_files(entries: Mapping[str, Words], moves: Moves) -> Iterator[tuple[str, bytes]]:
    """The files that hold release and description of packages, by a checksum of their names."""
    digits = moves.scale.digits
    wanted = {_key(package, digits) for package in moves.records}
    found: dict[int, list[str]] = defaultdict(list)
    if wanted or moves.everything:
        for package in entries:
            key = _key(package, digits)
            if moves.everything or key in wanted:
                found[key].append(package)
    for key in sorted(found):
        name = f"{key:0{digits}x}" if digits else ""
        yield f"r-{name}.js", _call("r", [_record(p, entries) for p in sorted(found[key])])


def _key(package: str, digits: int) -> int:
    return zlib.crc32(package.encode()) >> 32 - 4 * digits
