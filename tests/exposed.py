"""Metrics as the library of Prometheus reads them."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Key = tuple[Any, ...]
"""A sample's name, and its labels sorted by name, as pairs."""


def samples_of(text: str) -> dict[Key, float]:
    """Every sample of a text of the form 0.0.4; each family is described, and no sample twice."""
    found: dict[Key, float] = {}
    names = []
    for family in text_string_to_metric_families(text):
        names.append(family.name)
        assert family.documentation and family.type in ("gauge", "counter"), family.name
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    assert len(names) == len(set(names))
    assert all(line and line == line.strip() for line in text.splitlines())
    return found
