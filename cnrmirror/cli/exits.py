"""The exit codes that a command has beside those of all: one table, for --help and the manual."""

from __future__ import annotations

from collections.abc import Mapping

OTHERS = "The exit codes of all commands: 'cnrmirror help exit-codes'."
NONE = "Exit codes: 'cnrmirror help exit-codes'."

_SIGNS = {
    9: "A key that must sign is not here.",
    10: "Nothing good can be signed for this time: a clock is off.",
}
_READS = {
    9: "Not trusted: not what the keys signed, older than what was seen, or no root is known.",
    10: "Stale: signed well, but expired.",
    11: "Incomplete: a file that the catalog names is missing there.",
    12: "The host cannot be reached, is too slow, or answers with errors.",
    13: "Done, with expired metadata that --at or --allow-expired let pass.",
    16: "The host refuses: credentials, rights.",
}
_ADOPTS = {code: text for code, text in _READS.items() if code in (9, 11, 12, 16)}
_NAMED = {5: "There is no such package, release or channel."}
_SOURCES = {
    4: "Releases changed upstream and were not fetched.",
    9: "A source is not trusted, or a key that must sign is not here.",
    10: "A source is stale, or a clock is off.",
    11: "A source lacks a file that its catalog names.",
    12: "A source cannot be reached, is too slow, or answers with errors.",
    14: "Done, with holes that the next run tries again.",
    15: "Too much is gone upstream: nothing was removed.",
    16: "A source refuses: credentials, rights.",
}
_PROPOSED = {3: "FILE is no proposal of a root."}

_OF: dict[str, dict[int, str]] = {
    "init": {
        3: "There is a mirror in DIR already, or a public key cannot be read.",
        4: "With --store: there is a mirror already.",
        5: "With --store and --root: there is no mirror in the store.",
        9: "With --follow or --root: the file is no root of a mirror.",
        10: "Nothing good can be signed for this time: a clock is off.",
        12: "With --store: the service cannot be reached, is too slow, or answers with errors.",
        16: "With --store: the service refuses: credentials, rights.",
    },
    "adopt": {3: "There is a mirror in DIR already.", **_ADOPTS},
    "push": {
        3: "A package is refused, so none was pushed.",
        4: "A release exists with other content, so nothing was pushed.",
        **_SIGNS,
        14: "Done, but for what --keep-going left out.",
    },
    "channel list": _NAMED,
    "channel set": _NAMED | _SIGNS,
    "channel remove": _NAMED | _SIGNS,
    "remove": {
        4: "With --purge: another release has the same archive.",
        **_NAMED,
        **_SIGNS,
        14: "With --purge: erased here, but not at every destination.",
    },
    "rollback": {5: "There is no such revision.", **_SIGNS},
    "list": _READS,
    "show": _NAMED | _READS,
    "search": _READS,
    "images": _NAMED | _READS,
    "diff": {5: "There is no such revision."},
    "sync": {
        **_SOURCES,
        12: "A source, or the cluster, cannot be reached, is too slow, or answers with errors.",
    },
    "cluster certificates": {4: "There are certificates in FOLDER already."},
    "report": {
        **{
            code: f"By the last sync: {text[0].lower()}{text[1:]}"
            for code, text in _SOURCES.items()
        },
        5: "There was no sync yet.",
        9: "By the last sync: a source is not trusted.",
        10: "By the last sync: a source is stale. Or with --max-age: it was not asked in time.",
    },
    "publish": {
        4: "Somebody else published what cannot be merged, or the plan is out of date.",
        5: "There is no such bucket.",
        6: "With --audit: a file is missing, wrong, or does not belong.",
        7: "Somebody else publishes there.",
        9: "Not trusted: what is there was signed by others, or a key is not here.",
        12: "The destination or cluster cannot be reached, is too slow, or answers with errors.",
        16: "The destination refuses: credentials, rights, or a clock that is off.",
    },
    "pull": {
        3: "The archive must not be unpacked: hostile, or over a limit.",
        4: "A file or folder of that name exists already.",
        **_NAMED,
        **_READS,
        9: f"{_READS[9]} Or the package is not signed by a key that was given.",
    },
    "export": {
        4: "Another bundle is in OUT, or parts of it are not kept any more.",
        5: "What the receiver has is not kept here any more.",
    },
    "have": {5: "Nothing was imported yet."},
    "import": {
        4: "Releases changed at the sender and were not imported.",
        6: "A volume is missing or damaged: nothing was imported.",
        **_READS,
        14: "Done, with holes.",
    },
    "check": {
        6: "This mirror: a file is missing, damaged, or does not belong.",
        **_READS,
        9: "Not trusted: tampered with, or contradictions.",
        12: "The host, or the cluster, cannot be reached, is too slow, or answers with errors.",
        18: "Readers refuse the mirror because it is expired, or will within --fresh-for.",
        19: "Only harmless files are too many, or a publish is not finished.",
        20: "With --pages: the pages could not be compared.",
    },
    "build": {9: "With --facts: a key that must sign is not here.", 10: _SIGNS[10]},
    "gc": {9: "With --revisions: the key that must sign is not here."},
    "config check": {3: "mirror.yaml is not what it must be."},
    "config show": {3: "mirror.yaml is not what it must be."},
    "upgrade": _SIGNS,
    "refresh": {**_SIGNS, 18: "Signed, but readers refuse the mirror: another role is expired."},
    "keys rotate": _SIGNS,
    "keys renew": _SIGNS,
    "root propose": {3: "There is a file at --out already, or no folder for it."},
    "root sign": {**_PROPOSED, 9: "No key in FOLDER counts for this root."},
    "root status": _PROPOSED,
    "root publish": {
        **_PROPOSED,
        4: "The mirror has another root by now.",
        9: "It is not signed by enough keys, or a key that must sign is not here.",
        10: _SIGNS[10],
    },
}


def exits(command: str) -> Mapping[int, str]:
    """The exit codes of a command (``keys rotate``), with their meaning, but for those of all."""
    return dict(sorted(_OF.get(command, {}).items()))


def named() -> dict[str, list[int]]:
    """The codes of every command that has some of its own."""
    return {command: sorted(codes) for command, codes in _OF.items()}
