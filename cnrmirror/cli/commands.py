"""The commands by purpose, with what each does; a test holds it against them."""

from __future__ import annotations

SECTIONS = {
    "Begin": {
        "init": "Make a new, empty mirror in DIR, and the keys that sign it.",
        "adopt": "Make a mirror again from a place where it is published.",
        "help": "Explain a TOPIC: trust, exit-codes, references, air-gap.",
        "completion": "Print the script that completes words in a shell.",
    },
    "Change the mirror": {
        "push": "Put packages into the mirror, all as one revision, or none.",
        "channel": "List, set and remove channels: movable names for releases.",
        "remove": "Remove a release; a tombstone says when and why.",
        "rollback": "Make a new revision with the content of revision REV.",
    },
    "Look into it": {
        "list": "List the packages: default release, formats, number of releases.",
        "show": "Show what is known of a package or release.",
        "search": "Find packages by words in their names.",
        "images": "List the container images that charts name, and where.",
        "log": "List the revisions, newest first.",
        "diff": "Show what changed from revision A to revision B.",
        "cost": "Count what the mirror holds at each place, and what that costs.",
    },
    "Bring packages in, and out": {
        "sync": "Bring in what the sources of mirror.yaml have, as one revision.",
        "report": "Say how complete the mirror is, by the last sync of each source.",
        "publish": "Bring places up to this mirror: only what changed, in a safe order.",
        "serve": "Answer the registry's API from the catalog.",
        "pull": "Get a package out of a mirror, verified from the pinned root on.",
        "export": "Write a bundle into OUT: all, or what a receiver lacks.",
        "have": "Print what this mirror holds of its sender, for 'export --since'.",
        "import": "Take in a bundle, or any other site.",
    },
    "Keep it well": {
        "check": "Compare every digest and view with the catalog, here or elsewhere.",
        "build": "Write all views again, and server configurations into hosts/.",
        "gc": "Remove blobs and nodes that only old revisions need.",
        "config": "Check mirror.yaml, show what it means, print its schema.",
        "upgrade": "Raise the mirror's format to the newest that this program writes.",
    },
    "Keep its keys": {
        "refresh": "Sign again, so that clients know the mirror is alive; run it daily.",
        "keys": "List, renew and rotate the keys that sign the mirror.",
        "root": "Make a new root, as one file between the machines with its keys.",
    },
}

COMMANDS = {name: text for named in SECTIONS.values() for name, text in named.items()}
