"""What can be odd about an archive: the words in a release's ``flags``, and what they mean."""

from __future__ import annotations

SYMLINKS = "symlinks"
REPEATED_KEYS = "repeated-keys"
OTHER_NAME = "other-name"
ROOT_FILES = "root-files"

_MEANING = {
    SYMLINKS: "it holds symlinks, which a Helm client reads as empty files; to repack it, unpack "
    "it and push the folder",
    REPEATED_KEYS: "its Chart.yaml has a key more than once; the last one counts, as for Helm",
    OTHER_NAME: "its Chart.yaml has another name than the index that it came from; the package has "
    "the index's name",
    ROOT_FILES: "its files are not in one folder, which Helm needs; Helm gets it repacked",
}
FLAGS = frozenset(_MEANING)
"""All that this program knows."""


def meaning_of(flag: str) -> str:
    """What a flag says to people; one that is not known here says itself."""
    return _MEANING.get(flag, flag)
