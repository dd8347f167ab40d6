"""What a receiver holds of a sender, stated and signed, for the sender's next export.

::

    {"signed": {"kind": "have", "format": {"read": 1, "write": 1}, …}, "key": …, "keyid": …,
     "signature": …}
"""

from __future__ import annotations

import json
import os
import re

import msgspec

from cnrmirror.catalog.tree import CatalogReader
from cnrmirror.mirror.project import Project
from cnrmirror.model import typed
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.documents import CatalogRoot, Upstream
from cnrmirror.model.errors import DamageError, InvalidDocument, NotFoundError, UsageError
from cnrmirror.model.format import FIRST, KNOWN, Format, require_readable
from cnrmirror.objects.files import replace_durably, storage_errors
from cnrmirror.objects.store import Store
from cnrmirror.trust.keys import verify_statement
from cnrmirror.trust.tuf import CryptoSigner


class Have(msgspec.Struct, frozen=True, tag_field="kind", tag="have"):
    """What a receiver holds: a registry's catalog, whole."""

    registry: str
    catalog: str
    revision: int
    time: str
    format: Format = FIRST


class _Versioned(msgspec.Struct, frozen=True):
    format: Format = FIRST


def write_have(have: Have, signer: CryptoSigner) -> bytes:
    """The statement, signed by the receiver's own key."""
    signed = msgspec.to_builtins(msgspec.structs.replace(have, format=KNOWN))
    payload = msgspec.json.encode(signed, order="sorted")
    document = {
        "signed": signed,
        "key": signer.public_key.to_dict(),
        "keyid": signer.public_key.keyid,
        "signature": signer.sign(payload).signature,
    }
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def read_have(data: bytes, where: str) -> Have:
    """The statement in a file, its signature checked.

    Raises:
        InvalidDocument, BadSignature: it is none, or was changed on the way.
        NewerFormat: a newer program wrote it.
    """
    try:
        document = json.loads(data)
        signed = document["signed"]
        payload = msgspec.json.encode(signed, order="sorted")
        verify_statement(document["keyid"], document["key"], document["signature"], payload, where)
        require_readable(typed.convert(signed, _Versioned).format, where)
        return typed.convert(signed, Have)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDocument(f"{where}: neither a receipt nor what 'have' writes") from error


def source_name(registry: str) -> str:
    """What a sender is called among the sources; no name in mirror.yaml has a dot."""
    safe = re.fullmatch(r"[A-Za-z0-9_-]{1,64}", registry)
    return f"import.{registry if safe else Descriptor.of(registry.encode()).digest}"


def have(project: Project, now: str, registry: str | None = None) -> Have:
    """What this mirror holds of a sender's registry.

    Raises:
        NotFoundError: nothing was imported yet.
        UsageError: from more than one sender; one has to be named.
    """
    if project.config.follow:
        project.head()  # says so if there is nothing yet
        head = project.metadata.signed_head()
        followed = project.catalog.root(head.at).registry
        return Have(followed, head.at.digest, head.revision, now)
    found = holdings(project)
    if registry is None and len(found) > 1:
        raise UsageError(
            "this mirror imported from several registries: use --registry with one of "
            f"{', '.join(sorted(found))}"
        )
    wanted = registry or next(iter(found), "")
    if wanted not in found:
        raise NotFoundError("nothing was imported yet; see 'cnrmirror import'")
    if not _is_at_hand(project, found[wanted]):
        raise NotFoundError(
            f"what was imported from registry {wanted} cannot be continued from: its nodes in "
            f"{project.layout.scratch} are gone; ask the sender for a bundle without --since"
        )
    return found[wanted]


def sender_nodes(project: Project, registry: str) -> Store:
    """The nodes that were taken in of a sender: a difference leaves out those that are here."""
    return Store(project.layout.upstream_cache(source_name(registry)), project.layout.making)


def _is_at_hand(project: Project, have: Have) -> bool:
    """Whether the catalog that was taken in can be read, down to the package documents."""
    store = sender_nodes(project, have.registry)
    catalog = CatalogReader(store)
    try:
        size = os.stat(store.root_path(have.catalog)).st_size
        tree = catalog.root(Descriptor(have.catalog, size)).tree
        return all(os.path.exists(store.node_path(r.digest)) for r in catalog.packages(tree))
    except (FileNotFoundError, DamageError, InvalidDocument):
        return False


def holdings(project: Project) -> dict[str, Have]:
    """What was taken in whole, by registry: as remembered, or else as the catalog records it.

    Raises:
        NewerFormat: a newer program wrote what is remembered.
    """
    found = {}
    for name, record in project.root().upstreams.items():
        if name == source_name(record.registry):
            found[record.registry] = _of_record(record)
    for path in sorted(project.layout.imports_memory.glob("*.json")):
        data = path.read_bytes()
        try:
            require_readable(typed.decode(data, _Versioned).format, str(path))
            have = typed.decode(data, Have)
        except msgspec.DecodeError:
            continue
        recorded = found.get(have.registry)
        if recorded is None or recorded.revision <= have.revision:
            found[have.registry] = have
    return found


def _of_record(record: Upstream) -> Have:
    return Have(record.registry, record.catalog, record.revision, record.time)


def remember(project: Project, have: Have, root: CatalogRoot) -> None:
    """Remember what was taken in whole, and keep its root with its nodes. Raises StorageError."""
    store = sender_nodes(project, have.registry)
    for old, digest, _ in list(store.walk("targets")):
        if digest != have.catalog:
            os.unlink(old)
    store.put(root)
    path = project.layout.import_memory(have.registry)
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, msgspec.json.encode(have), project.layout.making)
