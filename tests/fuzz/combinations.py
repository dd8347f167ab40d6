"""Every rule with every other that it could meet: the same archives each time, by name."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterator

from tests.fuzz.build import (
    END,
    FIELDS,
    GNU,
    USTAR,
    checksum,
    extended,
    gzipped,
    header,
    member,
    record,
)
from tests.fuzz.menus import (
    BLANKS,
    ENDINGS,
    ENDS,
    EXTRAS,
    KEYS,
    MAGICS,
    ODD_NAMES,
    ODD_TARGETS,
    PREFIXES,
    TAILS,
    TEXTS,
    VALUES,
    odd_lengths,
    written,
)
from tests.fuzz.mutate import Case

CHART = member(b"c/Chart.yaml", b"name: c\nversion: 1.0.0\n")
_TYPES = (b"\0", b"0", b"5", b"2", b"7", b"1")
_SHORT = (
    b"c/f", b"c/f/", b"n" * 99 + b"/", b"n" * 98 + b"/", b"n" * 100, b"./c/f", b"c/f/.", b"c//f",
    b"",
)  # fmt: skip
_LONG = (b"c/z", b"c/z/", b"./c/z", b"c/z/.", b"c/./z", b"c//z", b"c/Chart.yaml", b"./", b"c/z//")


def _typed(name: bytes, kind: bytes, content: bytes = b"") -> bytes:
    link = {b"2": b"Chart.yaml", b"1": b"c/Chart.yaml"}.get(kind, b"")
    return member(name, content if kind in b"07\0" else b"", kind, link=link)


def _named(how: str, name: bytes) -> bytes:
    return {"x": extended(record(b"path", name)), "L": extended(name + b"\0", b"L")}[how]


def _names() -> Iterator[tuple[str, bytes]]:
    """The name in the header, the one before it, and the type."""
    for kind, short in itertools.product(_TYPES, (*_SHORT, *ODD_NAMES)):
        yield f"{kind!r} {short!r}", CHART + _typed(short, kind)
    for kind, short, how, name in itertools.product(_TYPES, _SHORT, "xL", _LONG):
        yield f"{kind!r} {short!r} {how} {name!r}", CHART + _named(how, name) + _typed(short, kind)


def _numbers() -> Iterator[tuple[str, bytes]]:
    """A number, written in every way, in a member and in an extended header."""
    fields = {"mode": 0o644, "uid": 1000, "gid": 0, "size": 9, "mtime": 1_700_000_000}
    values = {**fields, "devmajor": 0, "devminor": 0}
    for field, form in itertools.product(values, (USTAR, GNU)):
        for way in written(values[field], FIELDS[field][1]):
            more = {"magic": form, field: way}
            size = more.pop("size", b"%011o\0" % 9)
            block = header(b"c/f", b"0", size, **more)
            yield f"{field} {way!r}", CHART + block + b"123456789".ljust(512, b"\0")
            if field != "size":
                body = record(b"comment", b"x")
                long = header(b"x", b"x", len(body), **more) + body.ljust(512, b"\0")
                yield f"{field} {way!r} in x", CHART + long + member(b"c/f", b"1")
    plain = header("c/é".encode(), size=0)
    signed = sum(plain[:148] + plain[156:]) + 256 - 256 * 2
    for value in (int(checksum(plain)[:6], 8), signed):
        for way in written(value, 8):
            yield f"checksum {way!r}", CHART + header("c/é".encode(), checksum=way)


def _forms() -> Iterator[tuple[str, bytes]]:
    """The magic, the prefix and the last bytes; with a name in full before them, too."""
    for form, prefix, tail in itertools.product(MAGICS, (b"", *PREFIXES), (b"", *TAILS)):
        block = header(b"f", magic=form, prefix=prefix, tail=tail)
        yield f"{form!r} {prefix!r} {tail!r}", CHART + block
        if len(prefix) < 10:
            yield f"x {form!r} {prefix!r} {tail!r}", CHART + _named("x", b"c/z") + block


def _records() -> Iterator[tuple[str, bytes]]:
    for key, value in itertools.product(dict.fromkeys(KEYS), (*VALUES, *ODD_NAMES)):
        body = extended(record(key, value))
        yield (
            f"x {key!r}={value!r}",
            CHART + body + _typed(b"c/f", b"2" if b"link" in key else b"0"),
        )
        if value in VALUES[:24]:
            yield f"g {key!r}={value!r}", extended(record(key, value), b"g") + CHART
    for key in (b"path", b"size", b"comment", b"mtime"):
        good = record(key, {b"path": b"c/z", b"size": b"3", b"mtime": b"1"}.get(key, b"x"))
        bad = [*odd_lengths(good), *(record(key, b"c/z", blanks) for blanks in BLANKS)]
        bad += [good + good, good + b"\0", good + b"\n", good[:-1], good[:-1] + b"\0", b"\n" + good]
        for text, kind in itertools.product(bad, (b"x", b"g")):
            yield f"{kind!r} {text!r}", extended(text, kind) + member(b"c/f", b"abc") + CHART


def _long_names() -> Iterator[tuple[str, bytes]]:
    for letter, end, name in itertools.product("LK", ENDS, (b"c/z", b"z" * 150, b"")):
        for typed in (b"0", b"2", b"5"):
            long = extended(name + end, letter.encode())
            yield f"{letter} {name[:9]!r}{end!r} {typed!r}", CHART + long + _typed(b"c/f", typed)
    for target in ODD_TARGETS:
        for how in (record(b"linkpath", target), target + b"\0"):
            long = extended(how, b"x" if b"linkpath" in how else b"K")
            yield f"target {how!r}", CHART + long + _typed(b"c/f", b"2")
        yield f"target {target!r}", CHART + member(b"c/f", b"", b"2", link=target)


def _orders() -> Iterator[tuple[str, bytes]]:
    parts = {
        "x": extended(record(b"path", b"c/x")),
        "t": extended(record(b"mtime", b"1.5")),
        "g": extended(record(b"comment", b"x"), b"g"),
        "L": extended(b"c/l\0", b"L"),
        "K": extended(b"other\0", b"K"),
        "0": bytes(512),
    }
    for length in (1, 2, 3):
        for order in map("".join, itertools.product(parts, repeat=length)):
            body = b"".join(parts[letter] for letter in order)
            for kind in (b"0", b"2"):
                yield f"{order} {kind!r}", CHART + body + _typed(b"c/f", kind, b"abc")
            yield f"first {order}", body + CHART


def tars() -> Iterator[tuple[str, bytes]]:
    for family in (_names, _numbers, _forms, _records, _long_names, _orders):
        yield from family()


def combinations() -> Iterator[Case]:
    """All of them, and every gzip header and end."""
    for story, tar in tars():
        yield Case(gzip.compress(tar + END, 1, mtime=0), tar + END, story)
    for end in ENDINGS:
        yield Case(gzip.compress(CHART + end, 1, mtime=0), CHART + end, f"end {end[:20]!r}")
    tar = CHART + END
    for name, comment, extra in itertools.product((None, *TEXTS), (None, *TEXTS), set(EXTRAS)):
        story = f"gzip {len(name or b'')} {len(comment or b'')} {len(extra or b'')}"
        yield Case(gzipped(tar, name=name, comment=comment, extra=extra), tar, story)
    for flags in range(1, 256):
        yield Case(gzipped(tar, flags=flags & ~0x1C), tar, f"gzip flags {flags}")
