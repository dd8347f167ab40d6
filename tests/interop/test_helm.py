"""A folder that is pushed, and what helm 3 and 4 make of it: as of their own package of it."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.model.errors import InputError
from tests.conftest import NOW
from tests.interop import charts
from tests.interop.helm import Result, helm, run
from tests.mirrors import make

pytestmark = pytest.mark.interop

CHARTS = dict(charts.charts())
REFUSED = dict(charts.refused())
_PULL = "cnr/api/v1/packages/helm/{name}/{release}/helm/pull"
_MARK = b"\xef\xbb\xbf"
# The folder into which lint unpacks, or that of the chart.
_TEMPORARY = re.compile(r"/\S*/(?=[\w.-]+: )")
# Written anew by helm, or taken into Chart.yaml.
_REWRITTEN = re.compile(r"(?:.*/)?(?:Chart\.yaml|Chart\.lock)")


class Compared:
    """All charts: as pushed, as packed by one helm, and what that helm says of both."""

    def __init__(self, program: Path, folder: Path, ours: Mapping[str, Path]) -> None:
        self._program, self._home = program, folder / "home"
        tops = {name: path.parents[1] / "charts" / name for name, path in ours.items()}
        done = self._run("package", "-d", folder / "packages", *tops.values())
        assert done.code == 0, done.err
        self.ours = ours
        self.theirs = {name: folder / "packages" / path.name for name, path in ours.items()}
        both = self.ours, self.theirs
        self.rendered = [self._all(some, "template", "x") for some in both]
        few = [{n: p for n, p in some.items() if not n.startswith("rule-")} for some in both]
        self.shown = [self._all(some, "show", "all") for some in few]
        self.linted = [self._linted(some) for some in (*both, tops)]

    def _run(self, *words: str | Path) -> Result:
        return run(self._program, self._home, *words)

    def _all(self, packages: Mapping[str, Path], *words: str) -> dict[str, tuple[int, str]]:
        """What helm gives for each, and its error if it fails; a warning is no part of that."""
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda path: self._run(*words, path), packages.values()))
        said = [(r.code, r.out + (r.err if r.code else "")) for r in results]
        return dict(zip(packages, said, strict=True))

    def _linted(self, packages: Mapping[str, Path]) -> dict[str, list[str]]:
        """What lint says of each: one run for all of them."""
        parts = self._run("lint", *packages.values()).out.split("==> Linting ")[1:]
        found = [part.partition("\n") for part in parts]
        by_path = {path: _lines(text.partition("\n\n")[0]) for path, _, text in found}
        return {name: by_path[str(path)] for name, path in packages.items()}


def _lines(text: str) -> list[str]:
    """What lint says, without paths; helm 4 lists missing dependencies in any order."""
    lines = _TEMPORARY.sub("", text).strip().splitlines()
    said = [line.partition("dependencies: ") for line in lines]
    return [f"{head}{word}{','.join(sorted(names.split(',')))}" for head, word, names in said]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The archives of the site of a mirror into which all folders were pushed at once."""
    base = tmp_path_factory.mktemp("helm")
    for name, tree in CHARTS.items():
        charts.write(base / "charts" / name, tree)
    project = make(base / "mirror", "helm")
    report = push(project, [base / "charts"], Override(namespace="helm"), NOW)
    (base / "ours").mkdir()
    found = {}
    for pushed in report.pushed:
        name, release = pushed.identity.package.partition("/")[2], pushed.identity.release
        archive = project.site / _PULL.format(name=name, release=release)
        found[name] = base / "ours" / f"{name}-{release}.tgz"
        found[name].write_bytes(archive.read_bytes())
    assert found.keys() == CHARTS.keys()
    return {name: found[name] for name in CHARTS}


@pytest.fixture(scope="module", params=["helm3", "helm4"])
def compared(
    request: pytest.FixtureRequest, ours: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Compared:
    return Compared(helm(request.param), tmp_path_factory.mktemp(request.param), ours)


def files_in(data: bytes) -> dict[str, bytes]:
    """The files of an archive without its top folder, and without marks of byte order."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            assert stream is not None and member.isreg(), member
            found[member.name.partition("/")[2]] = stream.read().removeprefix(_MARK)
    return found


def as_helm_packs(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What ``helm package`` makes of the files of a folder that was pushed: the known differences.

    - Subcharts that are archives are unpacked; each folder in charts/ has its chart's name.
    - What begins with _ or . in charts/ is left out; signatures there (.prov) stay.
    - In API v2, requirements.yaml goes into Chart.yaml, and requirements.lock is Chart.lock; in v1,
      Chart.lock is left out.
    """
    meta = yaml.safe_load(files["Chart.yaml"])
    first = meta["apiVersion"] == "v1"
    renamed = {} if first else {"requirements.lock": "Chart.lock"}
    gone = "Chart.lock" if first else "requirements.yaml"
    found = {}
    subcharts: dict[str, dict[str, bytes]] = {}
    for name, data in files.items():
        folder, _, below = name.removeprefix("charts/").partition("/")
        if not name.startswith("charts/") or name.endswith(".prov"):
            if name != gone:
                found[renamed.get(name, name)] = data
        elif folder[0] not in "_.":
            is_archive = folder.endswith(".tgz") and not below
            subcharts.setdefault(folder, {}).update(files_in(data) if is_archive else {below: data})
    for subchart in subcharts.values():
        name = yaml.safe_load(subchart["Chart.yaml"])["name"]
        found |= {f"charts/{name}/{k}": v for k, v in as_helm_packs(subchart).items()}
    return found


@pytest.mark.parametrize("name", CHARTS)
def test_helm_makes_of_a_pushed_folder_what_it_makes_of_its_own_package(
    compared: Compared, name: str
) -> None:
    ours, theirs = compared.rendered[0][name], compared.rendered[1][name]
    assert ours == theirs
    assert (ours[0] == 0) is not name.startswith(("wrong", "library-itself"))
    assert compared.shown[0].get(name) == compared.shown[1].get(name)
    # Lint looks at Chart.yaml as it is written: helm's package has another one than its folder.
    of_ours, of_theirs, of_folder = (some[name] for some in compared.linted)
    assert of_ours in (of_theirs, of_folder)


@pytest.mark.parametrize("name", CHARTS)
def test_a_pushed_folder_has_the_files_of_helms_own_package(compared: Compared, name: str) -> None:
    ours = as_helm_packs(files_in(compared.ours[name].read_bytes()))
    theirs = files_in(compared.theirs[name].read_bytes())
    assert sorted(ours) == sorted(theirs)
    assert {n for n in ours if ours[n] != theirs[n] and not _REWRITTEN.fullmatch(n)} == set()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make(tmp_path_factory.mktemp("refused") / "mirror", "refused")


@pytest.mark.parametrize("program", ["helm3", "helm4"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_helm_packs_no_chart_of_is_not_pushed(
    program: str, name: str, mirror: Project, tmp_path: Path
) -> None:
    charts.write(tmp_path / name, REFUSED[name])
    done = run(helm(program), tmp_path / "home", "package", "-d", tmp_path, tmp_path / name)
    assert done.code != 0
    with pytest.raises(InputError, match=name):
        push(mirror, [tmp_path / name], Override(namespace="helm"), NOW)
