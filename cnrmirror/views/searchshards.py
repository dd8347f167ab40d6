"""Search without a server: script files that a page loads by the first letters of a word.

The words of all packages form a trie. A file holds the words that begin with its letters; where
they would be much more than 64 KiB, it names its children instead, and the best packages below.
A change touches the files on the way to its words. ``templates/assets/search.js`` reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from cnrmirror.views.groups import Groups
from cnrmirror.views.searchgroups import (
    BEST,
    Record,
    best_of_letter,
    key,
    parted,
    record,
    records,
    with_letters,
)
from cnrmirror.views.searchtrie import MOST_PACKAGES, WITH_RECORD, Changed, Moves, Node, Trie
from cnrmirror.views.searchwords import STOP_WORDS, Words, words_of

__all__ = ["STOP_WORDS", "Words", "shards", "words_of"]

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class Shared:
    """What the calls about one change have in common, if it changes no words: most do not."""

    trie: Trie | None = None


def shards(
    groups: Groups, changed: Changed | None, shared: Shared | None = None
) -> Iterator[tuple[str, bytes]]:
    """The files (``s-re.js``, their content) that a change touches, as they are for all entries.

    Args:
        groups: the entries, as they are before the change or as they are after it.
        changed: the packages that changed, before and after, None where there is none. None: all
            files are touched.
        shared: the same for both calls about a change; it is filled by the first one.

    Every file that differs before and after, or is not there, is named by one of the two calls.
    Files that others refer to come first.
    """
    moves = Moves(groups, changed)
    yield from _record_files(groups, moves)
    known = shared.trie if shared is not None else None
    trie = known or Trie(groups, moves)
    if shared is not None:  # after the second call, nobody asks
        shared.trie = None if moves.of_words or known else trie
    # A page asks for the root in any case.
    touched = {Node("")} if trie.is_empty else trie.touched()
    for node in sorted(touched, key=lambda n: (-len(n.prefix), n.prefix, not n.own)):
        body = (_inner if node.inner else _leaf)(trie, node, groups)
        name = node.prefix + "-" * node.own
        # The root says how the files of records are named.
        yield f"s-{name}.js", _call("c", name, body, *(() if name else (trie.scale.digits,)))


def _call(function: str, *values: Any) -> bytes:
    # JSON is JavaScript; what a package says stays data.
    given = b",".join(map(_encode, values))
    return b"cnrmirror.search." + function.encode() + b"(" + given + b");\n"


def _once(trie: Trie, name: str, work: Callable[[], T]) -> T:
    """What ``work`` gives, which is told by the trie alone."""
    if name not in trie.told:
        trie.told[name] = work()
    found: T = trie.told[name]
    return found


def _leaf(trie: Trie, node: Node, groups: Groups) -> list[list[Any]]:
    """The words of a file, each with its packages: by name, by keyword, by description."""
    words = [node.prefix] if node.own else trie.words(node.prefix)
    return [_listed(word, trie, groups) for word in words]


def _listed(word: str, trie: Trie, groups: Groups) -> list[Any]:
    kinds: list[Any] = [*map(list, _once(trie, f"word {word}", lambda: _ranked(word, trie)))]
    # The first ones carry their records, so that the first rows need one file.
    rows = with_letters(groups, word)
    kinds[0][:WITH_RECORD] = [record(rows, package) for package in kinds[0][:WITH_RECORD]]
    while kinds and not kinds[-1]:
        kinds.pop()
    return [word, *kinds]


def _ranked(word: str, trie: Trie) -> list[list[str]]:
    """The packages of a word, by kind, the best first."""
    names, tags, texts = trie.lists[word]
    if len(texts) > trie.scale.common:
        texts = []
    return [kind[:MOST_PACKAGES] for kind in (names, tags, texts)]


def _inner(trie: Trie, node: Node, groups: Groups) -> dict[str, Any]:
    """The next letters, whether the letters are a word, and the best packages for them."""
    prefix = node.prefix
    rows: list[Record] = []
    if len(prefix) == 1:
        rows = best_of_letter(groups, prefix)
    elif prefix:  # The root names no packages: they are not even looked for.
        first, others = _once(trie, f"best {prefix}", lambda: parted(trie.named(prefix), prefix))
        below = with_letters(groups, prefix)
        rows = [record(below, package) for package in (*first, *others)[:BEST]]
    return {"k": trie.letters(prefix), "o": int(trie.has(prefix)), "t": rows}


def _record_files(groups: Groups, moves: Moves) -> Iterator[tuple[str, bytes]]:
    """The files that hold release and description of packages, by a checksum of their names."""
    digits = moves.scale.digits
    keys = None if moves.everything else {key(package, digits) for package in moves.records}
    for number, found in records(groups, digits, keys).items():
        name = f"{number:0{digits}x}" if digits else ""
        yield f"r-{name}.js", _call("r", found)
