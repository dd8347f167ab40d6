"""What a service of S3's kind says in the document of an error."""

from __future__ import annotations

import re
from html import unescape

import msgspec

MAX_BYTES = 4096
_FIELD = re.compile(r"<(Code|Message|Region)>([^<]{0,500})</")


class Said(msgspec.Struct, frozen=True):
    """Code, message and the bucket's region, as the service gives them; "" for what it does not.

    Example:
        >>> Said.parse("<Error><Code>NoSuchKey</Code><Message>a &lt;b&gt;</Message></Error>").words
        'NoSuchKey: a <b>'
    """

    code: str = ""
    message: str = ""
    region: str = ""

    @classmethod
    def parse(cls, text: str) -> Said:
        """What is said in an XML document, or in a text that holds one."""
        found = {
            name.lower(): " ".join(unescape(value).split()) for name, value in _FIELD.findall(text)
        }
        return cls(**found)

    @property
    def words(self) -> str:
        """Code and message, for people."""
        return ": ".join(filter(None, (self.code, self.message)))
