"""What the sources of a run have: all of it, or what may not be as it was when they were settled.

A source is looked at in part only if nothing else can come of it than of a whole look. What one
source gives, another one cannot give in the same run; so all that are looked at in part are so at
the same packages: those that differ from what any of them, or the mirror, was; those that are open;
and those in which a source that is looked at whole has a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

import msgspec

from cnrmirror.crew.crew import Crew
from cnrmirror.mirror.project import Project
from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import CnrMirrorError, StorageError
from cnrmirror.objects.parallel import threads
from cnrmirror.sources.base import Ask, Listing, Source, Traced
from cnrmirror.sources.filters import Wanted, renamed, upstream_names
from cnrmirror.sources.listing import mapped, select
from cnrmirror.sync.ledger import Ledger
from cnrmirror.sync.memory import SourceMemory
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.plan import Key, Rest, Rules
from cnrmirror.sync.settled import MOST, Settled, terms_of

T = TypeVar("T")
V = TypeVar("V")


class Run(msgspec.Struct, frozen=True):
    """One run: the mirror, what was decided up to now, and how it was asked for."""

    project: Project
    ledger: Ledger
    now: str
    dry_run: bool
    keep: bool
    meter: Meter
    crew: Crew | None = None


class Looked(msgspec.Struct, frozen=True):
    """What a source has, under the names that its packages have here.

    ``packages``: of these only (None: of all); ``rest``: the others, in numbers.
    """

    listing: Listing
    packages: frozenset[str] | None = None
    rest: Rest = Rest()

    def parted(self, by_package: Mapping[str, V]) -> tuple[dict[str, V], dict[str, V]]:
        """What is said of packages that were looked at, and of the others."""
        mine: dict[str, V] = {}
        others: dict[str, V] = {}
        for package, value in by_package.items():
            is_mine = self.packages is None or package in self.packages
            (mine if is_mine else others)[package] = value
        return mine, others


class Asked(msgspec.Struct, frozen=True):
    """One source of a run, and what the last run has left of it.

    ``looked``: what it has, or what went wrong, if it was looked at already.
    """

    source: Source
    rules: Rules
    before: SourceMemory | None
    looked: Looked | Exception | None = None

    @property
    def had(self) -> dict[str, list[str]]:
        """The channels that it gave before."""
        return self.before.channels if self.before else {}

    @property
    def mark(self) -> Settled | None:
        """Where the last run left it."""
        return self.before.settled if self.before else None

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.rules.filter, self.rules.names)

    def terms(self, run: Run) -> str:
        """See ``settled.terms_of``."""
        return terms_of(self.rules, run.project.config.sources.get(self.source.name), run.keep)


def look(run: Run, asked: Asked, executor: Executor) -> Looked:
    """What a source has; it is looked at whole, unless ``looked_ahead`` did."""
    if isinstance(asked.looked, Exception):
        raise asked.looked
    return asked.looked or _whole(run, asked, executor)


def ours(run: Run, asked: Asked, looked: Looked) -> list[Key]:
    """The releases that the mirror has from a source, as far as it was looked at."""
    name = asked.source.name
    if looked.packages is None:
        return run.ledger.owned(name)
    return run.ledger.owned_in(name, sorted(looked.packages))


def _whole(run: Run, asked: Asked, executor: Executor) -> Looked:
    rules = asked.rules
    known: dict[str, set[tuple[str, str]]] = {}
    sure = rules.deletes == "follow"
    owned = run.ledger.owned(asked.source.name)
    for package, release, media_type in owned:
        names = upstream_names(package, rules.names)
        # Before it is called gone, it is asked for by all names that it may have there.
        for name in names if sure else names[:1]:
            known.setdefault(name, set()).add((release, media_type))
    ask = Ask(asked.wanted, known, sure, run.project.progress, executor)
    listing = mapped(asked.source.look(ask), asked.wanted)
    return Looked(_doubted(listing, rules, owned))


def _doubted(listing: Listing, rules: Rules, owned: Iterable[Key]) -> Listing:
    """The listing, which is not certain if nobody can say what the source calls a package."""
    unknown = {key[0] for key in owned if not upstream_names(key[0], rules.names)}
    if unknown - {offer.package for offer in listing.offers}:
        # So it could not be asked for.
        return msgspec.structs.replace(listing, certain=False)
    return listing


# -- in part --------------------------------------------------------------------------------------


def looked_ahead(run: Run, all_asked: Sequence[Asked]) -> list[Asked]:
    """The same, looked at already if any of them can be looked at in part.

    Raises:
        StorageError: the mirror's own disk refuses.
    """
    found: dict[str, Looked | Exception] = {}
    names: set[str] = set()
    again: list[Asked] = []
    for asked in _settled(run, all_asked):
        changed = _tried(run, asked, _changed)
        if isinstance(changed, Exception):
            found[asked.source.name] = changed
        elif changed is not None:
            again.append(asked)
            names |= changed
    for asked in all_asked if again else ():
        if len(names) <= MOST and asked not in again and asked.source.name not in found:
            found[asked.source.name] = whole = _tried(run, asked, _whole)
            names |= set() if isinstance(whole, Exception) else _concerned(run, asked, whole)
    if len(names) <= MOST:
        for asked in again:
            part = _tried(run, asked, partial(_part, names=frozenset(names)))
            if part is not None:
                found[asked.source.name] = part
    return [msgspec.structs.replace(a, looked=found.get(a.source.name)) for a in all_asked]


def _settled(run: Run, all_asked: Iterable[Asked]) -> list[Asked]:
    """Those that can be looked at in part, as far as it depends on what is remembered.

    Only marks of one run know which packages the sources share.
    """
    found = [
        asked
        for asked in all_asked
        if isinstance(asked.source, Traced) and asked.mark and asked.mark.terms == asked.terms(run)
    ]
    return found if len({asked.mark.run for asked in found if asked.mark}) == 1 else []


def _tried(run: Run, asked: Asked, work: Callable[[Run, Asked, Executor], T]) -> T | Exception:
    """What the work gives, or what went wrong at the source: that is no harm to the others."""
    try:
        with run.meter.timing(asked.source.name), threads(asked.rules.parallel) as executor:
            return work(run, asked, executor)
    except StorageError:
        raise
    except Exception as error:
        return error


def _changed(run: Run, asked: Asked, _: Executor) -> set[str] | None:
    """The packages, as they are called here, that may not be as they were; None: nobody can say."""
    source, mark = asked.source, asked.mark
    assert isinstance(source, Traced) and mark is not None
    theirs = source.changed(mark.theirs)
    if theirs is None:
        return None
    catalog = run.project.catalog
    try:
        before = catalog.root(mark.ours).tree
        changed = {difference.name for difference in catalog.diff(before, run.ledger.tree)}
    except StorageError:
        raise
    except CnrMirrorError:  # that revision is not kept any more
        return None
    return {*mark.open, *changed, *(renamed(name, asked.rules.names) for name in theirs)}


def _concerned(run: Run, asked: Asked, whole: Looked) -> set[str]:
    """The packages in which a source has a part."""
    offered = {offer.package for offer in whole.listing.offers}
    owned = {key[0] for key in ours(run, asked, whole)}
    return offered | owned | whole.listing.tombstones.keys() | asked.had.keys()


def _part(run: Run, asked: Asked, executor: Executor, names: frozenset[str]) -> Looked | None:
    """What a source has of some packages, and the rest in numbers; None: nobody can say."""
    source, mark, rules = asked.source, asked.mark, asked.rules
    assert isinstance(source, Traced) and mark is not None
    ask = Ask(asked.wanted, {}, False, run.project.progress, executor)
    closed = _upstream(names.difference(mark.open), rules)
    try:
        before = mapped(source.looked_at(mark.theirs, ask, closed), asked.wanted)
    except StorageError:
        raise
    except CnrMirrorError:  # the source does not keep that revision any more
        return None
    listing = mapped(source.look_at(ask, _upstream(names, rules)), asked.wanted)
    owned = run.ledger.owned_in(source.name, names)
    chosen = {offer.key for offer in select(rules.filter, before)}
    rest = Rest(
        mark.offered - len(before.offers),
        mark.wanted - len(chosen),
        run.ledger.count(source.name) - len(owned),
    )
    if before.holes or min(rest.offered, rest.wanted, rest.ours) < 0:
        return None
    return Looked(_doubted(listing, rules, owned), names, rest)


def _upstream(names: Iterable[str], rules: Rules) -> list[str]:
    """What a source calls packages, or may call them."""
    return sorted({name for here in names for name in upstream_names(here, rules.names)})


def forget_others(all_asked: Iterable[Asked], needed: Mapping[str, Descriptor]) -> None:
    """Keep of each source only the revision that the next run goes on from.

    Args:
        all_asked: the sources of a run.
        needed: those revisions, by source; where there is none, the newest stays.
    """
    for asked in all_asked:
        source, looked = asked.source, asked.looked
        if isinstance(looked, Looked) and looked.packages is not None:
            assert isinstance(source, Traced) and asked.mark is not None
            both = [at for at in (asked.mark.theirs, source.at) if at is not None]
            keeping = needed.get(source.name, both[-1])
            for at in both:
                source.forget(at, keeping)
