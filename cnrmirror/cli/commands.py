"""The commands by name, with what each says of itself first; a test holds it against them."""

from __future__ import annotations

COMMANDS = {
    "init": "Make a new, empty mirror in DIR, and the keys that sign it.",
    "push": "Put packages into the mirror, all as one revision, or none.",
    "channel": "Channels: movable names for releases.",
    "remove": "Remove a release; a tombstone says when and why.",
    "rollback": "Make a new revision with the content of revision REV.",
    "list": "The packages: name, default release, formats, number of releases.",
    "show": "What is known of a package or release, and what its newest one says of itself.",
    "images": "The container images that charts name, and where: of default releases, or of those "
    "named.",
    "log": "The revisions, newest first.",
    "diff": "What changed from revision A to revision B: releases and channels, one a line.",
    "build": "All views again, and the server configurations in hosts/.",
    "check": "Compare every digest, and every view with the catalog: here, or (--from) anywhere.",
    "gc": "Remove blobs and nodes that only old revisions need.",
    "sync": "Bring in what the sources of mirror.yaml have, all as one revision.",
    "report": "How complete the mirror is: what the last sync of each source asked for, found, "
    "lacked.",
    "config": "mirror.yaml.",
    "publish": "Bring places up to this mirror: only what changed, in an order that never breaks a "
    "reader.",
    "cost": "What the mirror holds, here and at each place, by kind; and what other choices would "
    "cost.",
    "export": "Write a bundle into the folder OUT: all of the mirror, or what a receiver lacks.",
    "have": "Print what this mirror holds of its sender, signed, for 'export --since'.",
    "import": "Take in a bundle (its folders or volumes, in any order), or any other site.",
    "serve": "Answer the registry's API from the catalog, read-only unless --accept-push.",
    "pull": "Get a package out of a mirror, verified from the pinned root to the last byte.",
    "search": "The packages with WORDS in their names: of this mirror, or of the one that --from "
    "names.",
    "keys": "The keys that sign the mirror.",
    "root": "A new root, carried as one file between the machines that hold its keys.",
    "refresh": "Sign again, so that clients know the mirror is alive; run it daily.",
    "upgrade": "Raise this mirror's format to the newest that this program writes.",
    "adopt": "Make a mirror in DIR again from PLACE: an address, a bucket, a folder, a bundle.",
}
