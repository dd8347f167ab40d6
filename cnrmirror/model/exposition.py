"""Metrics as Prometheus' text format 0.0.4 writes them.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(msgspec.Struct, frozen=True):
    """One value, and the labels that tell it from others of its family."""

    value: int | float
    labels: dict[str, str] = {}


class Family(msgspec.Struct, frozen=True):
    """All samples of one name. ``help`` says in one sentence what is measured, and its unit."""

    name: str
    help: str
    samples: list[Sample]
    kind: Literal["gauge", "counter"] = "gauge"


def exposition(families: Iterable[Family]) -> str:
    """The text that a scrape reads; a family without samples is left out.

    Example:
        >>> print(exposition([Family("up", "Is it?", [Sample(1, {"part": "a"})])]), end="")
        # HELP up Is it?
        # TYPE up gauge
        up{part="a"} 1
    """
    return "".join(_text(family) for family in families if family.samples)


def _text(family: Family) -> str:
    lines = [
        f"# HELP {family.name} {_escaped(family.help)}",
        f"# TYPE {family.name} {family.kind}",
        *(f"{family.name}{_labels(one.labels)} {one.value}" for one in family.samples),
    ]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: dict[str, str]) -> str:
    quoted = (f'{key}="{_escaped(value, quotes=True)}"' for key, value in labels.items())
    return f"{{{','.join(quoted)}}}" if labels else ""


def _escaped(text: str, quotes: bool = False) -> str:
    found = text.replace("\\", "\\\\").replace("\n", "\\n")
    return found.replace('"', '\\"') if quotes else found
