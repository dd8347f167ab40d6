"""What a receiver holds, stated and signed, for the sender's next export."""

from __future__ import annotations

import json

import msgspec
from securesystemslib.signer import CryptoSigner

from cnrmirror.model.errors import InvalidDocument
from cnrmirror.trust.keys import verify_statement


class Have(msgspec.Struct, frozen=True, tag_field="kind", tag="have"):
    """What a receiver holds: a registry's catalog, whole."""

    registry: str
    catalog: str
    revision: int
    time: str


def write_have(have: Have, signer: CryptoSigner) -> bytes:
    """The statement, signed by the receiver's own key."""
    signed = msgspec.to_builtins(have)
    payload = msgspec.json.encode(signed, order="sorted")
    document = {
        "signed": signed,
        "key": signer.public_key.to_dict(),
        "keyid": signer.public_key.keyid,
        "signature": signer.sign(payload).signature,
    }
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def read_have(data: bytes, where: str) -> Have:
    """The statement in a file, its signature checked. Raises InvalidDocument, BadSignature."""
    try:
        document = json.loads(data)
        payload = msgspec.json.encode(document["signed"], order="sorted")
        verify_statement(document["keyid"], document["key"], document["signature"], payload, where)
        return msgspec.convert(document["signed"], Have)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidDocument(f"{where}: neither a receipt nor what 'have' writes") from error
