"""publish."""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from cnrmirror.cli import freshness, words
from cnrmirror.cli.context import Context, counted, now, pass_context, plain, sized
from cnrmirror.cli.crews import Wish, crew_options
from cnrmirror.cli.keyring import repository, signing_project
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.settings import PublishTo
from cnrmirror.model import typed
from cnrmirror.model.errors import (
    CnrMirrorError,
    DamageError,
    InvalidDocument,
    NotTrusted,
    UsageError,
)
from cnrmirror.model.finding import Finding
from cnrmirror.objects.files import locked
from cnrmirror.objects.scheme import FOLDER, S3, scheme_of
from cnrmirror.publish.couriers import Couriers
from cnrmirror.publish.engine import Published
from cnrmirror.publish.open import find_destinations
from cnrmirror.publish.plan import GET_PRICE, PUT_PRICE, Plan, Sum, by_package, invalidations
from cnrmirror.publish.session import Session

if TYPE_CHECKING:
    from cnrmirror.crew import crew as crews


@click.command()
@click.argument("names", metavar="[TARGET]...", nargs=-1, shell_complete=words.targets)
@click.option(
    "--dry-run", is_flag=True, help="Only print the plan, by package; with --json every file."
)
@click.option("--plan", "save", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Save the plan; do nothing else.")  # fmt: skip
@click.option("--apply", "apply", metavar="FILE",
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Carry out a saved plan; fail if anything changed since.")  # fmt: skip
@click.option(
    "--audit", is_flag=True, help="Compare every file at the destination with this mirror."
)
@click.option("--repair", is_flag=True, help="With --audit: repair what is found.")
@click.option("--no-merge", is_flag=True,
              help="Fail if somebody else published there, even if it can be merged.")  # fmt: skip
@click.option("--catch-up", is_flag=True,
              help="Bring this mirror up, too, if the destination is ahead of it.")  # fmt: skip
@crew_options(
    "Send archives", "this command sends the rest",
    "the mirror and the destination must be in buckets, and nothing is signed",
)  # fmt: skip
@pass_context
def publish(
    context: Context,
    names: tuple[str, ...],
    dry_run: bool,
    save: Path | None,
    apply: Path | None,
    audit: bool,
    repair: bool,
    no_merge: bool,
    catch_up: bool,
    wish: Wish,
) -> None:
    """Publish to buckets and folders: only what changed, in a safe order.

    No reader ever sees a name whose bytes are not there yet.

    TARGET is a name in mirror.yaml, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX,
    az://ACCOUNT/CONTAINER/PREFIX, or a folder; all targets of mirror.yaml if none is given.
    Credentials come from where the cloud's own tools find them; AWS_ENDPOINT_URL names
    another service with S3's API. If somebody else published from a copy of this mirror, both
    are merged first.

    \b
    cnrmirror publish s3://my-bucket/registry --dry-run
    cnrmirror publish s3://my-bucket/registry
    cnrmirror publish production --plan plan.json; cnrmirror publish production --apply plan.json
    cnrmirror publish production --audit --repair
    cnrmirror publish production --workers 4
    """
    _check_together(audit, repair, catch_up, wish)
    # Whoever reads what workers say has no keys.
    project = context.project() if wish.address else signing_project(context)
    targets = find_destinations(project, names)
    wish.check_to(project, targets)
    if (save or apply) and len(targets) > 1:
        raise UsageError("--plan and --apply need exactly one TARGET")
    mode: _Mode = functools.partial(_publish, catch_up=catch_up)
    if not (catch_up or context.allow_past or project.config.follow or wish.address):
        repository(project).look_back()
    if audit:
        mode = functools.partial(_audit, repair=repair)
    elif dry_run or save:
        mode, wish = functools.partial(_plan, project, save), Wish()
    elif apply:
        mode = functools.partial(_apply, path=apply)
    with wish.crew() as crew:
        order = _Order(project, mode, not no_merge, len(targets) > 1, crew)
        outcomes = [_outcome(order, target) for target in targets]
    done = [outcome for outcome in outcomes if outcome.value is not None]
    value = done[0].value if len(targets) == 1 else [outcome.value for outcome in done]
    asked = dry_run or save or (audit and any(outcome.value for outcome in done))
    tell = context.result if asked else context.done
    tell(value, [line for outcome in done for line in outcome.lines])
    freshness.tell(project, context)
    sys.exit(next((outcome.code for outcome in outcomes if outcome.code), 0))


class _Outcome(msgspec.Struct, frozen=True):
    """What came of one destination: a value for --json, lines for people, an exit code."""

    value: Plan | Published | list[Finding] | None
    lines: list[str]
    code: int = 0


_Mode = Callable[[Session], _Outcome]


class _Order(NamedTuple):
    """What is to be done with each destination."""

    project: Project
    mode: _Mode
    merge: bool
    one_of_many: bool
    crew: crews.Crew | None


def _check_together(audit: bool, repair: bool, catch_up: bool, wish: Wish) -> None:
    """Raises UsageError for options that do not go together."""
    if repair and not audit:
        raise UsageError("--repair needs --audit")
    if audit and (wish.workers or wish.address):
        raise UsageError("--audit compares, and sends little: leave --workers and --cluster out")
    if catch_up and wish.address:
        raise UsageError("--catch-up signs, and with --cluster nothing is signed: leave one out")


def _outcome(order: _Order, target: PublishTo) -> _Outcome:
    """One destination; where there are others, they are not to wait for one that fails."""
    project = order.project
    try:
        session = Session.open(project, target, order.merge)
        if order.crew is not None:
            session.couriers = Couriers(order.crew, project, target)
        with locked(session.memory.lock, project.config.lock_wait_seconds), session:
            return order.mode(session)
    except CnrMirrorError as error:
        if order.crew is not None and order.crew.afar and isinstance(error, NotTrusted):
            error.add_note("with --cluster nothing is signed: publish without it once")
        if not order.one_of_many:
            raise
        click.echo(f"cnrmirror: {plain(error.message)}", err=True)
        return _Outcome(None, [], error.exit_code)


def _publish(session: Session, catch_up: bool) -> _Outcome:
    done = session.publish(now(), catch_up=catch_up)
    return _Outcome(done, _done_lines(done))


def _apply(session: Session, path: Path) -> _Outcome:
    try:
        saved = typed.decode(path.read_bytes(), Plan)
    except msgspec.DecodeError as error:
        raise InvalidDocument(f"{path}: not a plan: {error}") from error
    done = session.publish(now(), saved)
    return _Outcome(done, _done_lines(done))


def _plan(project: Project, save: Path | None, session: Session) -> _Outcome:
    plan = session.plan(now())
    if save:
        save.write_bytes(msgspec.json.encode(plan) + b"\n")
    return _Outcome(plan, _plan_lines(plan, by_package(plan, project.views.package_in)))


def _audit(session: Session, repair: bool) -> _Outcome:
    problems = session.audit(now(), repair)
    lines = [finding.line for finding in problems]
    name = session.destination.name
    verb = "repaired" if repair else "found; repair with --repair"
    told = f"{counted(len(problems), 'problem')} {verb}" if problems else "all well"
    lines.append(f"{name}: {told}")
    return _Outcome(problems, lines, DamageError.exit_code if problems and not repair else 0)


def _plan_lines(plan: Plan, sums: Mapping[str, Sum]) -> list[str]:
    """The plan by package; every single file is in --plan FILE and --json."""
    lines = [
        f"{name}\t{some.puts} written, {some.deletes} removed\t{sized(some.bytes)}"
        for name, some in sums.items()
    ]
    if plan.new_form:
        lines.append("sweep\twhat only its former form has: looked for after grace_minutes")
    lines += [f"left out\t{text}" for text in plan.left_out]
    lines += [f"too much\t{text}" for text in plan.too_much]
    if paths := invalidations(plan):
        lines.append(f"invalidate\t{counted(len(paths), 'path')} in a cache before it: see --json")
    before = "nothing" if plan.revision_from is None else f"revision {plan.revision_from}"
    counts = Counter(o.action for o in plan.operations)
    lines.append(
        f"{plan.place}: from {before} to revision {plan.revision_to}: {counts['put']} to write, "
        f"{counts['delete']} to remove now, {counts['delete later']} later, {sized(plan.bytes)}"
        f"{_price(plan, counts)}"
    )
    return lines


def _price(plan: Plan, counts: Counter[Any]) -> str:
    """What it costs at a place that counts requests; "" for a folder."""
    scheme = scheme_of(plan.place)
    if scheme is FOLDER:
        return ""
    requests = counts["put"] + 4 + (counts["delete"] + 999) // 1000 if plan.operations else 2
    dollars = counts["put"] * PUT_PRICE + 2 * GET_PRICE + 2 * PUT_PRICE * bool(plan.operations)
    price = f", ${dollars:.6f} at S3's list price" if scheme is S3 else ""
    return f", about {counted(requests, 'request')}{price}"


def _done_lines(done: Published) -> list[str]:
    lines = [f"note\t{note}" for note in done.notes]
    if not done.puts and not done.deletes:
        return [*lines, f"{done.place}: already at revision {done.revision_to}, "
                        f"{counted(done.requests, 'request')}"]  # fmt: skip
    before = "nothing" if done.revision_from is None else f"revision {done.revision_from}"
    return [
        *lines,
        f"{done.place}: from {before} to revision {done.revision_to}: {done.puts} written, "
        f"{done.deletes} removed, {sized(done.bytes)}, {counted(done.requests, 'request')}, "
        f"{done.seconds} s",
    ]


COMMAND = publish
