"""What a field, a record or a long name may hold: usual things, and what readers differ about."""

from __future__ import annotations

from tests.fuzz.bases import DEEP, TIMES
from tests.fuzz.build import END, GNU, STAR, USTAR, V7, header, member

MAGICS = (
    USTAR, GNU, V7, b"ustar\0\0\0", b"ustar\x0001", b"ustar 00", b"USTAR\x0000", b"ustar   ",
    b"ustar\0  ", b"ustar  0", b"ustar\x00 \0", b"ustar00\0",
)  # fmt: skip
PREFIXES = (
    b"c", b"./c", b"c/p", DEEP, b"c/" + b"d" * 128, b"c/" + b"d" * 129, b"c/" + b"d" * 130,
    b"p" * 155, b"c/", b"/c", b"c\0x", b"c//p", b".", b"..", b"\0x", b"\xff", b"c/..",
    b"00000000000\x0000000000000\0", "é".encode() * 77,
)  # fmt: skip
TAILS = (
    STAR,
    TIMES,
    TIMES[:-4] + b"tar\0",
    b"tar\0",
    b"x",
    bytes(36) + b"1",
    b"\0" + b"1" * 36,
    bytes(12),
)
ODD_TARGETS = (
    b"c/Chart.yaml",
    b"",
    b"x\0y",
    b"/etc",
    b"..",
    b".",
    b"a//b",
    b"\xff",
    b"x/",
    b"x/..",
)
BLANKS = (b"  ", b"\t", b"", b" \t", b"\0", b" \n")
"""In place of the blank between a record's length and its keyword."""
ENDS = (b"\0", b"", b"\0x", b"\0\0", b"\0x\0", b"\n\0")
"""What ends a GNU long name: the first is right."""
ENDINGS = (
    b"", b"", END[:512], END[:512], END * 10, END * 10, END[:512] + member(b"c/after", b"x"),
    END + member(b"c/after", b"x"), END + b"x", END[:700], b"x", END + header(b"c/after"),
    bytes(511) + b"\1",
)  # fmt: skip
TEXTS = (
    b"", b"c.tgz", b"Helm", b"n" * 255, b"n" * 511, b"n" * 512, b"n" * 70_000, b"\xe9", b"\n",
)  # fmt: skip
"""File names and comments of gzip headers."""
EXTRAS = (
    None,
    None,
    b"",
    b"BC\2\0\1\2",
    b"+aHR0cHM6",
    b"x" * 4096,
    b"x" * 4097,
    b"x" * 65535,
    bytes(40),
)


def odd_lengths(record: bytes) -> tuple[bytes, ...]:
    """The record with its length written in other ways."""
    length, rest = record.split(b" ", 1) if b" " in record else (b"1", record)
    n = int(length) if length.isdigit() else 1
    lengths = (
        b"0" + length, b"+" + length, b" " + length, b"-" + length, b"%d" % (n + 1),
        b"%d" % (n - 1), b"1_" + length, length + b".", b"0", b"", b"9" * 9, b"0x" + length,
        b"\0" + length, b"\n" + length, b"00" + length, length + b"\0",
        length[:1] + b"_" + length[1:],
    )  # fmt: skip
    return tuple(other + b" " + rest for other in lengths)


def written(value: int, width: int) -> tuple[bytes, ...]:
    """Ways to write a number in a field: those that are usual first."""
    digits = b"%o" % value
    return (
        digits.rjust(width - 1, b"0") + b"\0", digits.rjust(width - 1, b"0") + b" ",
        digits.rjust(width - 2, b"0") + b" \0", digits.rjust(width - 2, b"0") + b"\0 ",
        digits.rjust(width, b"0"), digits.rjust(width - 1) + b"\0", digits + b"\0",
        digits.rjust(width - 2) + b" \0", digits.rjust(width), digits, digits + b" ",
        digits + b" \0 \0", b" " + digits + b"\0",
        # What not all take from here on.
        b"\x80" + value.to_bytes(width - 1, "big"), b"\xff" * width, b" " * width, b"",
        b"+" + digits, b"-" + digits, b"0x" + digits, b"0o" + digits, digits + b"_0",
        b"\0" + digits, digits + b"\0" + digits, digits + b"x", digits + b".0", b"\t" + digits,
        digits + b"\n", b"8", b"%d " % (value + 8), b"7" * width, b"\x80" + b"\xff" * (width - 1),
        b"\x81" + bytes(width - 1), b"\xc0" + bytes(width - 2) + b"\1", b" \0" + digits,
    )  # fmt: skip


ODD_NAMES = (
    b"", b".", b"./", b"./.", b"c", b"c/", b"c/a/.", b"c/a/./", b"c/a//b", b"c/a//", b"c/./b",
    b"./c/z", b"././c/z", b"c/..", b"../c", b"/c", b"c/\xff", b"c/a\0b", b"c/a\nb", b"c/a\\b",
    b"C:/a", b"BZh91AY&SY", b"LRZI", b"MSCF", b"#mtree", b"070707", b"c/...", b"c/ ", b" c/a",
    b"n" * 100, b"n" * 99 + b"/", b"c/values.yaml/", b"c/Chart.yaml", b"c/%41", b"c/\xc2\x85",
    "c/\ufffe".encode(), "c/\U0010ffff".encode(), "c/\ue000".encode(), b"c/e\xcc\x81",
    b"c/\xed\xa0\x80", b"@LongLink", b"././@LongLink", b"PaxHeaders/x", b"c/@", b"c/$(x)", b"~",
)  # fmt: skip


KEYS = (
    b"path", b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime", b"atime",
    b"ctime", b"comment", b"hdrcharset", b"SCHILY.dev", b"SCHILY.xattr.user.x", b"VENDOR.key",
    b"LIBARCHIVE.creationtime", b"SCHILY.acl.access", b"SCHILY.fflags", b"RHT.security.selinux",
    b"LIBARCHIVE.xattr.user.x", b"NODETAR.depth", b"SCHILY.ino", b"SCHILY.nlink",
    # Hardly ever written from here on.
    b"", b" path", b"path ", b"Path", b"PATH", b"pa\0th", b"path\0", b"GNU.sparse.size", b"size ",
    b"GNU.sparse.name", b"GNU.volume.filename", b"SCHILY.realsize", b"SUN.holesdata", b"\npath",
    b"GNU.sparse.major", b"SCHILY.devmajor", b"SCHILY.filetype", b"LIBARCHIVE.symlinktype", b"\xff",
    b"charset", b"SCHILY.acl.default", b"SCHILY.acl.ace", b"SCHILY.offset", b"GNU.dumpdir",
    b"security.selinux", b"SELinux", b"path/", b"\tpath", "é".encode(), b"realtime.x",
)  # fmt: skip
VALUES = (
    b"0", b"1", b"5", b"1700000000", b"1700000000.5", b"4294967294", b"4294967295", b"-1", b"+1",
    b"007", b"1_0", b" 1", b"1 ", b"", b"x", b"1e3", b"nan", b"0x1", b"1.", b".5", b"-1.5",
    b"1.5.5",
    b"99999999999", b"-99999999999", b"9" * 20, b"root", b"BINARY", b"ISO-IR 10646 2000 UTF-8",
    b"UTF-8", b"a=b", b"a\nb", b"a\0b", b"\xff", b"c/z\0", b"c/z\n", b"\n", b"user::rw-,group::r--",
    b"13 path=c/y\n", b"x\n21 hdrcharset=BINARY", b"nodump", b"symlink:file", "é".encode(), b"c/d/",
    b"user::rwx,group::r-x,other::r-x", b"AAA=", b"file", b"1,2", b"directory",
)  # fmt: skip
