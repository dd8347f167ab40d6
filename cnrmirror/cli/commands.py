"""The commands by purpose, with what each does; a test holds it against them."""

from __future__ import annotations

SECTIONS = {
    "Begin": {
        "init": "Make a new, empty mirror in DIR, and the keys that sign it.",
        "adopt": "Make a lost mirror again from where it is published.",
        "help": "Explain a TOPIC: trust, exit-codes, references, air-gap.",
        "completion": "Print the script that completes words in a shell.",
    },
    "Change the mirror": {
        "push": "Put packages into the mirror, all as one revision, or none.",
        "channel": "List, set and remove channels: movable names for releases.",
        "remove": "Remove a release; a tombstone says when and why.",
        "rollback": "Make a new revision with the content of revision REV.",
    },
    "Look into the mirror": {
        "list": "List the packages: default release, media types, number of releases.",
        "show": "Show what is known of a package or release.",
        "search": "Find packages by words in their names.",
        "images": "List the container images that charts name, and where.",
        "log": "List the revisions, newest first.",
        "diff": "Show what changed from revision A to revision B.",
        "cost": "Count what the mirror holds at each destination, and the cost.",
    },
    "Bring packages in, and out": {
        "sync": "Fetch what the sources in mirror.yaml have, as one revision.",
        "cluster": "Make what a cluster needs: see --cluster of 'sync' and 'check'.",
        "report": "Say how complete the mirror is, by the last sync of each source.",
        "publish": "Publish to buckets and folders: only what changed, in a safe order.",
        "serve": "Serve the registry's API over HTTP.",
        "pull": "Fetch a package from a mirror, and verify it from the root file on.",
        "export": "Write a bundle into folder OUT: all, or what a receiver lacks.",
        "have": "Print what this mirror imported, for the sender's 'export --since'.",
        "import": "Import a bundle, or the site of another mirror.",
    },
    "Maintain the mirror": {
        "check": "Compare every digest and view with the catalog, here or elsewhere.",
        "build": "Write all views again, and server configurations into hosts/.",
        "gc": "Remove blobs and nodes that only old revisions need.",
        "config": "Check mirror.yaml, show what it means, print its schema.",
        "upgrade": "Raise the mirror's format to the newest that this program writes.",
    },
    "Manage its keys": {
        "refresh": "Sign again, so that clients know the mirror is alive; run it daily.",
        "keys": "List, renew and rotate the keys that sign the mirror.",
        "root": "Make a new root: a file that is carried to each key, and signed.",
    },
}

COMMANDS = {name: text for named in SECTIONS.values() for name, text in named.items()}
