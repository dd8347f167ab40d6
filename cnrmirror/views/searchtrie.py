"""The trie of all words: which files it has, and which of them a change touches.

Its shape follows from how many packages there are, and how many have each word. The first letters
of the words that changed (their stems) bound what has to be looked at: all words with these stems,
as they are in the entries at hand and on the other side of the change.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from cnrmirror.views.groups import Groups
from cnrmirror.views.searchgroups import count, is_after, rank, stems
from cnrmirror.views.searchwords import Words

SPLIT = 64 * 1024
WITH_RECORD = 100
MOST_PACKAGES = 10_000
_RECORDS = 64

Changed = Mapping[str, tuple[Words | None, Words | None]]
Counts = tuple[int, int, int]
Lists = tuple[list[str], list[str], list[str]]
_NONE = (0, 0, 0)


class Scale(NamedTuple):
    """What follows from the number of packages alone; where it changes, all files change."""

    digits: int  # of the name of a file of records
    stem: int  # how many letters the words of one file have in common, at least
    common: int  # a word in more descriptions than this is not found in descriptions

    @classmethod
    def of(cls, packages: int) -> Scale:
        """The same for many numbers: a tenth of the packages is that of the last power of two."""
        digits = 0
        while packages > _RECORDS * 16**digits:
            digits += 1
        stem = (packages > 64) + (packages > 2048)
        return cls(digits, stem, max(400, (1 << max(packages, 1).bit_length() - 1) // 10))


class Moves:
    """What a change does to words: by how many packages more or fewer have them.

    Args:
        groups: the entries before the change, or after it.
        changed: the packages that changed; None for everything.
    """

    def __init__(self, groups: Groups, changed: Changed | None) -> None:
        real = {p: pair for p, pair in (changed or {}).items() if pair[0] != pair[1]}
        self._sign = -1 if is_after(groups, real) else 1
        self.records: set[str] = set()
        self.counts: list[Counter[str]] = [Counter(), Counter(), Counter()]
        # Words whose packages changed, and whether they stand in a name whose record is shown.
        self.touched: dict[str, bool] = {}
        self._moves_words = False
        for package, (old, new) in real.items():
            self._add(package, old, new)
        added = sum((new is not None) - (old is not None) for old, new in real.values())
        packages = count(groups)
        self.scale = Scale.of(packages)
        other = Scale.of(packages + self._sign * added)
        self.everything = changed is None or self.scale != other

    def _add(self, package: str, old: Words | None, new: Words | None) -> None:
        before, after = (("", "", "") if side is None else side.kinds() for side in (old, new))
        record, fresh = (side and (side.release, side.description) for side in (old, new))
        if record != fresh:
            self.records.add(package)
        for kind, (a, b) in enumerate(zip(before, after, strict=True)):
            left, right = set(a.split()), set(b.split())
            # Not told by the counts: what one package lost, another one may have got.
            self._moves_words |= left != right
            self.counts[kind].update(right - left)
            self.counts[kind].subtract(left - right)
            for word in left | right if kind == 0 and record != fresh else left ^ right:
                self.touched[word] = kind == 0 or self.touched.get(word, False)

    @property
    def of_words(self) -> bool:
        """Whether any word has other packages than before, or the scale is another."""
        return self.everything or self._moves_words

    def other(self, word: str, now: Counts) -> Counts:
        """How many packages have a word on the other side of the change."""
        a, b, c = (n + self._sign * moves[word] for n, moves in zip(now, self.counts, strict=True))
        return a, b, c

    def stems(self) -> set[str] | None:
        """The first letters of the words that changed; None for all there are."""
        found = {word[: self.scale.stem] for word in self.touched}
        # To look for very many, one by one, takes longer than to read all.
        return None if self.everything or "" in found or len(found) > 100 else found


def _lists(groups: Groups, some: Collection[str] | None) -> tuple[dict[str, int], dict[str, Lists]]:
    """The packages of all words with these stems, by kind, the best first; of all words for None.

    Also the place of each of these packages in that order.
    """
    starts = ("",) if some is None else tuple(some)
    read = [groups.group(name) for name in stems(groups) if name.startswith(starts)]
    ranked = sorted({package for rows in read for package in rows}, key=rank)
    places = {package: place for place, package in enumerate(ranked)}
    found: dict[str, Lists] = defaultdict(lambda: ([], [], []))
    for rows in read:
        for package in sorted(rows, key=places.__getitem__):
            for kind, text in enumerate(rows[package].kinds()):
                for word in text.split():
                    found[word][kind].append(package)
    return places, found


def _weight(word: str, counts: Counts, scale: Scale) -> int:
    """About as many bytes as a word takes in a file. It follows from counts, which cost little."""
    if counts == _NONE:
        return 0
    names, tags, texts = counts
    listed = min(names, MOST_PACKAGES) + min(tags, MOST_PACKAGES)
    listed += 0 if texts > scale.common else texts
    return 12 + len(word) + 24 * listed + 120 * min(names, WITH_RECORD)


class Node(NamedTuple):
    """One file: a leaf, an inner node, or the word that an inner node's letters are."""

    prefix: str
    inner: bool = False
    own: bool = False


class _Sums:
    """The sums of what belongs to words, by prefix."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self._words = sorted(values)
        self._sums = [0, *accumulate(values[word] for word in self._words)]

    def below(self, prefix: str) -> list[str]:
        left, right = self._range(prefix)
        return self._words[left:right]

    def total(self, prefix: str) -> int:
        left, right = self._range(prefix)
        return self._sums[right] - self._sums[left]

    def count(self, prefix: str) -> int:
        left, right = self._range(prefix)
        return right - left

    def letters(self, prefix: str) -> str:
        """The next letters of the longer words below."""
        at, right = self._range(prefix + "0")[0], self._range(prefix)[1]
        found = []
        while at < right:
            start = self._words[at][: len(prefix) + 1]
            found.append(start[-1])
            at = bisect_left(self._words, start + "~", at, right)
        return "".join(found)

    def _range(self, prefix: str) -> tuple[int, int]:
        left = bisect_left(self._words, prefix)
        return left, bisect_left(self._words, prefix + "~", left)


class Trie:
    """Which files there are, and which of them a change touches."""

    def __init__(self, groups: Groups, moves: Moves) -> None:
        self.moves, self.scale = moves, moves.scale
        self._groups, self._stems = groups, moves.stems()
        self._places, self.lists = _lists(groups, self._stems)
        counts: dict[str, Counts] = {
            w: (len(a), len(b), len(c)) for w, (a, b, c) in self.lists.items()
        }
        weights = {word: _weight(word, count, self.scale) for word, count in counts.items()}
        others = {
            word: _weight(word, moves.other(word, counts.get(word, _NONE)), self.scale)
            for word in moves.touched
        }
        self._now = _Sums(weights)
        self._moved = _Sums({w: weight - weights.get(w, 0) for w, weight in others.items()})
        # What others worked out of it, by name.
        self.told: dict[str, Any] = {}
        self._came = _Sums({w: (weight > 0) - (w in weights) for w, weight in others.items()})

    @property
    def is_empty(self) -> bool:
        """Whether no package has any word."""
        return next(stems(self._groups), None) is None

    def words(self, prefix: str) -> list[str]:
        """The words of a leaf."""
        return self._now.below(prefix)

    def letters(self, prefix: str) -> str:
        """The children of an inner node."""
        if len(prefix) < self.scale.stem and self._stems is not None:
            names = stems(self._groups, prefix)
            return "".join(sorted({name[len(prefix)] for name in names}))
        return self._now.letters(prefix)

    def named(self, prefix: str) -> list[str]:
        """The packages that have a word with this prefix in their names, the best first."""
        found = {package for word in self.words(prefix) for package in self.lists[word][0]}
        return sorted(found, key=self._places.__getitem__)

    def has(self, word: str) -> bool:
        """Whether letters are a word."""
        return word in self.lists

    def touched(self) -> set[Node]:
        """The files on the way to every word that changed; all below where the shape changed."""
        if self.moves.everything:
            return set(self._below(""))
        wanted: set[Node] = set()
        reshaped: set[str] = set()
        for word, named in self.moves.touched.items():
            self._walk(word, named, wanted, reshaped)
        for prefix in reshaped:
            wanted.update(self._below(prefix))
        return wanted

    def _walk(self, word: str, named: bool, wanted: set[Node], reshaped: set[str]) -> None:
        stem = word[: self.scale.stem]
        for size in range(len(stem)):
            # The root names no packages.
            if (named and size) or self._came_or_went(stem):
                above = Node(stem[:size], inner=True)
                if above not in wanted and (size == 0 or self.letters(above.prefix)):
                    wanted.add(above)
        for size in range(len(stem), len(word) + 1):
            prefix = word[:size]
            inner = self._is_inner(prefix)
            if prefix in reshaped or inner != self._was_inner(prefix):
                reshaped.add(prefix)
                return
            if not inner:
                wanted.update(self._below(prefix))
                return
            if named or prefix == word or self._came_or_went(word[: size + 1]):
                wanted.add(Node(prefix, inner=True))
        if self.has(word):
            wanted.add(Node(word, own=True))

    def _came_or_went(self, prefix: str) -> bool:
        now = self._now.count(prefix)
        return (now > 0) != (now + self._came.total(prefix) > 0)

    def _is_inner(self, prefix: str) -> bool:
        if len(prefix) < self.scale.stem:
            return True
        return self._now.total(prefix) > SPLIT and self._now.count(prefix) > 1

    def _was_inner(self, prefix: str) -> bool:
        total = self._now.total(prefix) + self._moved.total(prefix)
        return total > SPLIT and self._now.count(prefix) + self._came.total(prefix) > 1

    def _below(self, prefix: str) -> Iterator[Node]:
        """All files whose names begin so."""
        if not self._is_inner(prefix):
            if self._now.count(prefix):
                yield Node(prefix)
            return
        yield Node(prefix, inner=True)
        if self.has(prefix):
            yield Node(prefix, own=True)
        for letter in self.letters(prefix):
            yield from self._below(prefix + letter)
