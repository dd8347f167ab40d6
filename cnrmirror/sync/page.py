"""The report as a page for people: one file, without scripts, that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal

import msgspec
from markupsafe import Markup

from cnrmirror import __version__
from cnrmirror.mirror.project import Project
from cnrmirror.model.freshness import Freshness
from cnrmirror.model.instant import Instant
from cnrmirror.sync.plan import Kind
from cnrmirror.sync.report import FROZEN, PARTIAL, SHRUNK, SourceReport
from cnrmirror.views.pagetext import as_bytes
from cnrmirror.views.templates import TEMPLATES, environment

State = Literal["ok", "warn", "bad"]
_MOST_ROWS = 1000
_TITLES: dict[Kind, str] = {
    "frozen": "Changed upstream, ours kept",
    "drop": "Dropped",
    "replace": "Replaced",
    "fetch": "Fetched",
    "kept": "Kept, though gone upstream or left out by the filter",
}


class _Readers(msgspec.Struct, frozen=True):
    """Whether readers take the mirror: a class of the style sheet, a word, and a sentence."""

    state: State
    word: str
    text: str


class _Group(msgspec.Struct, frozen=True):
    """Rows of one kind; ``open``: they are shown without being asked for."""

    title: str
    count: int
    rows: list[tuple[str, str]]
    open: bool = False

    @property
    def more(self) -> int:
        return self.count - len(self.rows)


class _Source(msgspec.Struct, frozen=True):
    """One source as the page shows it."""

    name: str
    state: State
    word: str
    error: str
    numbers: list[tuple[str, str]]
    groups: list[_Group]


def report_page(project: Project, reports: Sequence[SourceReport], now: str) -> str:
    """The page: how long readers take the mirror, and what the last sync of each source came to.

    Whatever an upstream wrote is text in it, and no character of it is hidden.

    Args:
        reports: those of sources that were asked; the others are shown as never asked.
        now: the time at which the page is made.
    """
    root, freshness = project.root(), project.metadata.freshness()
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    by_name = {report.source: report for report in reports}
    return environment().get_template("report.html").render(
        name=_shown(project.config.url or project.config.id),
        made=_whole(now), made_shown=_moment(now), revision=root.revision,
        packages=root.packages, releases=root.releases,
        readers=_readers(freshness, Instant.parse(now)),
        roles=[
            {"role": one.role, "at": _whole(str(one.at)), "shown": _moment(str(one.at))}
            for one in sorted(freshness.roles)
        ],
        sources=[_source(name, by_name.get(name)) for name in project.config.sources],
        style=Markup(style), style_digest=_digest(style), version=__version__,
    )  # fmt: skip


def _digest(style: str) -> str:
    """The source of a style sheet in a Content Security Policy (CSP 3, 2.3.1)."""
    digest = hashlib.sha256(style.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _readers(freshness: Freshness, now: Instant) -> _Readers:
    first = freshness.first
    days = abs(first.left(now)) // timedelta(days=1)
    span = f"{days} day{'' if days == 1 else 's'}" if days else "less than a day"
    if freshness.is_refused(now):
        return _Readers(
            "bad", "refused", f"Readers refuse the mirror: its {first.role} expired {span} ago."
        )
    text = f"Readers accept the mirror for {span}, until its {first.role} expires."
    soon = freshness.soon(now)
    return _Readers("warn", "expires soon", text) if soon else _Readers("ok", "good", text)


def _source(name: str, report: SourceReport | None) -> _Source:
    if report is None:
        return _Source(name, "bad", "never asked", "", [], [])
    state, word = _state(report)
    return _Source(name, state, word, _shown(report.error), _numbers(report), _groups(report))


def _state(report: SourceReport) -> tuple[State, str]:
    code = report.exit_code
    match code:
        case 0:
            return "ok", "well"
        case _ if code == PARTIAL and not report.error:
            return "warn", "good, with holes"
        case _ if code == FROZEN and not report.error:
            return "warn", "changed upstream"
        case _ if code == SHRUNK and not report.error:
            return "bad", "too much is gone, nothing dropped"
    return "bad", f"failed (exit code {code})"


def _numbers(report: SourceReport) -> list[tuple[str, str]]:
    counts = report.counts
    found = [
        ("Last asked", _moment(report.time)),
        ("Last good", _moment(report.last_success) if report.last_success else "never"),
        ("Offered", str(report.offered) + ("" if report.complete else " or more")),
        ("Wanted", str(report.wanted)),
        ("There already", str(counts["same"])),
        ("Fetched", f"{report.fetched} ({as_bytes(report.bytes)})"),
        ("Holes", str(len(report.holes))),
        ("Holes that are acknowledged", str(len(report.acknowledged))),
        ("Requests", str(report.requests)),
        ("Took", f"{report.seconds:g} s"),
    ]
    signed = sorted(report.signed.items())
    return found + [(_shown(f"Signed: {kind}"), str(number)) for kind, number in signed]


def _groups(report: SourceReport) -> list[_Group]:
    holes = [(hole.what, hole.reason) for hole in report.holes]
    known = [(k.hole.what, _known(k.reason, k.until, k.hole.reason)) for k in report.acknowledged]
    found = [_group("Holes: what could not be had", holes, True)]
    for kind, title in _TITLES.items():
        found.append(_group(title, list(_rows(report, kind)), kind == "frozen"))
    found.append(_group("Holes that are acknowledged", known))
    found.append(_group("Notes", [(note, "") for note in report.notes], True))
    return [group for group in found if group.count]


def _known(reason: str, until: str, why: str) -> str:
    return f"{reason}{f', until {until}' if until else ''} ({why})"


def _rows(report: SourceReport, kind: Kind) -> Iterator[tuple[str, str]]:
    for action in report.actions:
        if action.kind == kind:
            yield f"{action.package}@{action.release} ({action.media_type})", action.reason


def _group(title: str, rows: Sequence[tuple[str, str]], shown: bool = False) -> _Group:
    some = [(_shown(what), _shown(why)) for what, why in rows[:_MOST_ROWS]]
    return _Group(title, len(rows), some, shown)


def _shown(text: str) -> str:
    """A text in which nothing is hidden: what is not printable, or turns the order, is escaped."""
    return text if text.isprintable() else "".join(_visible(text))


def _visible(text: str) -> Iterable[str]:
    return (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _whole(time: str) -> str:
    return time[:19]


def _moment(time: str) -> str:
    return time[:16].replace("T", " ")
