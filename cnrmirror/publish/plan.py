"""The plan of a publish as a value: shown, saved, and held against what is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from cnrmirror.model.errors import ConflictError
from cnrmirror.model.resource import Resource
from cnrmirror.model.signed import TIMESTAMP
from cnrmirror.views.cnr_paths import PACKAGES, package_in

# Amazon's list price in us-east-1, in dollars, of one PUT, COPY or LIST and of one GET
# (https://aws.amazon.com/s3/pricing/).
PUT_PRICE, GET_PRICE = 5e-6, 4e-7


class Operation(msgspec.Struct, frozen=True):
    """One thing that is done at the destination."""

    action: Literal["put", "delete", "delete later"]
    key: str
    size: int = 0


class Plan(msgspec.Struct, frozen=True):
    """What a publish does, exactly; a saved one is carried out only if it is still the plan.

    ``basis``: the digest of all that the operations follow from. ``left_out``: what clients cannot
    do there, by the forms that were chosen. ``too_much``: what its host does not take.
    ``new_form``: what only the former form has goes, too; it is looked for in the end.
    """

    place: str
    revision_from: int | None
    revision_to: int
    catalog_from: str
    catalog_to: str
    form: str
    operations: list[Operation]
    basis: str = ""
    left_out: list[str] = []
    too_much: list[str] = []
    new_form: bool = False

    @property
    def puts(self) -> int:
        return sum(o.action == "put" for o in self.operations)

    @property
    def bytes(self) -> int:
        return sum(o.size for o in self.operations)


def size_of(resource: Resource) -> int:
    """How many bytes are sent for it; none for a link."""
    return resource.size


def check_plan(saved: Plan, outline: Plan) -> None:
    """Make sure that mirror and destination are as they were when the plan was made.

    Args:
        saved: the plan.
        outline: the plan of now, without its operations.

    Raises:
        ConflictError: they are not.
    """
    if msgspec.structs.replace(saved, operations=[], too_much=[]) != outline:
        what = (
            "the mirror" if saved.catalog_to != outline.catalog_to else f"what is at {saved.place}"
        )
        raise ConflictError(f"{what} is not as it was when the plan was made: make a new plan")


def invalidations(plan: Plan) -> list[str]:
    """What a cache in front of it should forget: one path a package, one for the lists."""
    found: set[str] = set()
    for operation in plan.operations:
        package = package_in(operation.key)
        if operation.key.startswith("catalog/"):
            continue
        found.add(f"/{PACKAGES}/{package}*" if package else f"/{operation.key}")
    if plan.operations:
        found.add(f"/{TIMESTAMP}")
    return sorted(found)


class Sum(msgspec.Struct):
    """How many files are written and removed, now or later, and how many bytes that are."""

    puts: int = 0
    deletes: int = 0
    bytes: int = 0


ARCHIVES, CATALOG, LISTS = "archives", "catalog", "lists and pages"
"""What of a plan is of no single package: blobs, signed files and nodes, and the rest."""


def by_package(plan: Plan, package_in: Callable[[str], str | None]) -> dict[str, Sum]:
    """The operations of a plan in sums: of the catalog, of lists, and of each package by name.

    Args:
        package_in: tells of a file of the site to which package it belongs.
    """
    found: dict[str, Sum] = {}
    for operation in plan.operations:
        some = found.setdefault(_belongs_to(operation.key, package_in), Sum())
        some.puts += operation.action == "put"
        some.deletes += operation.action != "put"
        some.bytes += operation.size
    return dict(sorted(found.items(), key=lambda item: ("/" not in item[0], item[0])))


def _belongs_to(key: str, package_in: Callable[[str], str | None]) -> str:
    if key.startswith("catalog/"):
        return ARCHIVES if key.startswith("catalog/blobs/") else CATALOG
    return package_in(key) or LISTS
