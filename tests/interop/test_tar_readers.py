"""What is accepted, five readers of tar read alike; what real programs write is accepted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.judge import judge
from tests.fuzz.readers import PROGRAMS, Reader, all_readers, build_go
from tests.fuzz.rules import RULES
from tests.fuzz.run import LEAST_SHARE, Outcome, all_combinations, mutations, run
from tests.fuzz.writers import CHART, LONG, OTHER, USTAR, WRITERS, folder
from tests.interop.servers import need

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    for program in (*PROGRAMS, "gzip", "git"):
        need(program)


@pytest.fixture(scope="module")
def readers(programs: None) -> Iterator[dict[str, Reader]]:
    with all_readers() as readers:
        yield readers


@pytest.fixture(scope="module")
def go(programs: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_go(tmp_path_factory.mktemp("go"))


def judged(data: bytes, readers: dict[str, Reader], folder: Path) -> None:
    verdict = judge(data, gzip.decompress(data), readers, folder / "judged.tgz")
    assert verdict.refused is None
    assert not verdict.problems


@pytest.mark.parametrize("name", RULES)
def test_all_read_the_twin_of_what_is_refused_alike(
    name: str, readers: dict[str, Reader], tmp_path: Path
) -> None:
    judged(RULES[name].good, readers, tmp_path)


def told(outcome: Outcome) -> str:
    return "\n".join(outcome.problems)


def test_all_read_alike_what_is_accepted_of_a_few_hundred_changed_archives() -> None:
    outcome = run(mutations(1, range(300)))
    assert not outcome.problems, told(outcome)
    assert outcome.share >= LEAST_SHARE


def test_all_read_alike_what_is_accepted_of_every_fiftieth_combination() -> None:
    outcome = run(all_combinations(step=50))
    assert not outcome.problems, told(outcome)


LINKS = {"link": "values.yaml", "templates/up": "../Chart.yaml"}
FOLDERS: dict[str, tuple[dict[str, bytes], dict[str, str]]] = {
    "plain": (CHART, {}),
    "letters and links": ({**CHART, **OTHER}, LINKS),
    "long names": ({**CHART, **OTHER, **LONG}, {**LINKS, "l": "n" * 110, "é-link": "é.txt"}),
}


@pytest.mark.parametrize("what", FOLDERS)
@pytest.mark.parametrize("name", WRITERS)
def test_what_a_program_writes_is_accepted_and_read_alike(
    name: str, what: str, readers: dict[str, Reader], go: Path, tmp_path: Path
) -> None:
    if "npm" in name:
        need("npm")
    files, links = FOLDERS[what]
    root = folder(tmp_path / "in", files, links)
    WRITERS[name](root, tmp_path / "out.tgz", go)
    judged((tmp_path / "out.tgz").read_bytes(), readers, tmp_path)


@pytest.mark.parametrize("what", ["plain", "letters and links"])
@pytest.mark.parametrize("name", USTAR)
def test_what_a_program_writes_as_ustar_is_accepted_and_read_alike(
    name: str, what: str, readers: dict[str, Reader], go: Path, tmp_path: Path
) -> None:
    root = folder(tmp_path / "in", *FOLDERS[what], owners=(0, 1000))
    USTAR[name](root, tmp_path / "out.tgz", go)
    judged((tmp_path / "out.tgz").read_bytes(), readers, tmp_path)
