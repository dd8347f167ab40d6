"""A list of images in the forms that other tools copy from. YAML whose texts are JSON's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from cnrmirror.archive import imagename


def plain_list(images: Sequence[str], name: str) -> str:
    """One reference a line."""
    return "".join(f"{image}\n" for image in images)


def skopeo(images: Sequence[str], name: str) -> str:
    """What ``skopeo sync --src yaml`` reads: registry → images → repository → tags and digests.

    An image with a tag and a digest is there by its digest.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for image in images:
        if parsed := imagename.parse(image):
            tags = found.setdefault(parsed.host, {}).setdefault(parsed.path, [])
            if (tag := parsed.digest or parsed.tag) not in tags:
                tags.append(tag)
    lines = []
    for host, repositories in sorted(found.items()):
        lines += [f"{_text(host)}:", "  images:"]
        for path, tags in sorted(repositories.items()):
            lines += [f"    {_text(path)}:", *(f"      - {_text(tag)}" for tag in sorted(tags))]
    return "".join(f"{line}\n" for line in lines) or "{}\n"


def hauler(images: Sequence[str], name: str) -> str:
    """A manifest for ``hauler store sync``."""
    head = (
        "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nmetadata:\n"
        f"  name: {_text(name)}\nspec:\n  images:"
    )
    return _with_items(head, [f"    - name: {_text(image)}" for image in images])


def oc_mirror(images: Sequence[str], name: str) -> str:
    """An ImageSetConfiguration for ``oc-mirror --v2``."""
    head = (
        "apiVersion: mirror.openshift.io/v2alpha1\nkind: ImageSetConfiguration\nmirror:\n"
        "  additionalImages:"
    )
    return _with_items(head, [f"    - name: {_text(image)}" for image in images])


def zarf(images: Sequence[str], name: str) -> str:
    """A package for ``zarf package create``, with one component."""
    head = (
        f"kind: ZarfPackageConfig\nmetadata:\n  name: {_text(name)}\ncomponents:\n"
        "  - name: images\n    required: true\n    images:"
    )
    return _with_items(head, [f"      - {_text(image)}" for image in images])


FORMS: dict[str, Callable[[Sequence[str], str], str]] = {
    "list": plain_list, "skopeo": skopeo, "hauler": hauler, "oc-mirror": oc_mirror, "zarf": zarf,
}  # fmt: skip
"""By name: makes the text of sorted references, and of a name for the whole."""


def _with_items(head: str, items: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in (head, *items)) if items else f"{head} []\n"


def _text(text: str) -> str:
    return json.dumps(text)
