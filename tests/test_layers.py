"""A room imports only from rooms in rows above its own, and no room is part of a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "cnrmirror"
ROWS = (
    ("model",),
    ("objects", "crew"),
    ("archive", "catalog", "trust", "bundle"),
    ("views", "client"),
    ("sources", "audit"),
    ("mirror",),
    ("sync", "publish"),
    ("server", "airgap"),
    ("cli",),
)
ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
# Its version may be imported by all; its __main__ imports the command line.
FILES = sorted(p for p in PACKAGE.glob("*/**/*.py") if "templates" not in p.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


LATE = ("import_module", "later")
MODULES = {module_name(path) for path in FILES}


def imported(source: str, here: str, is_package: bool = False) -> Iterator[str]:
    """Every module of the program that a source text imports, in whatever form, early or late."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here.split(".")[: None if is_package else -1]
            base = base[: len(base) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from cnrmirror.views import layout" imports a module, too.
            found = [f"{module}.{alias.name}" for alias in node.names] + [module]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(LATE):
            text = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
            found = [str(text)]
        else:
            continue
        yield from (name for name in found if name in MODULES)


def room(module: str) -> str:
    return module.split(".")[1]


IMPORTS = {
    module_name(path): set(
        imported(path.read_text(), module_name(path), path.name == "__init__.py")
    )
    for path in FILES
}


def test_every_room_stands_in_one_row() -> None:
    there = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name[0] not in "._"}
    assert there - {"templates"} == set(ROW)


def test_no_room_imports_from_a_row_below_or_from_its_own_row() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in sorted(others)
        if room(other) != room(module) and ROW[room(other)] >= ROW[room(module)]
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(IMPORTS[module] - {module}):
                visit(other, (*way, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())


def test_imports_stand_at_the_top() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                late = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
                assert not late, f"{module_name(path)}: {node.name} imports late"


def types_and_later(path: Path) -> Iterator[tuple[set[tuple[str, str]], set[tuple[str, str]]]]:
    """What ``if TYPE_CHECKING:`` imports, and what its ``else:`` has: names and modules."""
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.If) or ast.unparse(node.test) != "TYPE_CHECKING":
            continue
        seen = {
            (alias.asname or alias.name, ".".join(filter(None, (base, alias.name))))
            for each in node.body
            if isinstance(each, ast.Import | ast.ImportFrom)
            for base in [getattr(each, "module", "")]
            for alias in each.names
        }
        late = {
            (ast.unparse(each.targets[0]), ast.literal_eval(each.value.args[0]))
            for each in node.orelse
            if isinstance(each, ast.Assign)
            and isinstance(each.value, ast.Call)
            and ast.unparse(each.value.func) == "later"
        }
        if late:
            yield seen, late


def test_what_comes_later_is_what_type_checkers_see() -> None:
    found = [pair for path in FILES for pair in types_and_later(path)]
    assert found and all(seen == late for seen, late in found)


def test_every_room_says_what_it_is_for() -> None:
    for name in ROW:
        text = ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())) or ""
        assert "Entry point" in text or name == "model" or name == "cli", name
        assert "ay import" in text or name == "cli", name


@pytest.mark.parametrize(
    "source",
    [
        "import cnrmirror.cli.init",
        "from cnrmirror.cli import init",
        "from cnrmirror.cli.init import init",
        "from ..cli import init",
        "from ..cli.init import init",
        "def f():\n    from ..cli import init",
        "import importlib\nimportlib.import_module('cnrmirror.cli.init')",
        "from cnrmirror.model.later import later\ninit = later('cnrmirror.cli.init')",
    ],
)
def test_an_import_is_seen_in_every_form(source: str) -> None:
    assert "cnrmirror.cli.init" in set(imported(source, "cnrmirror.model.names"))


def test_no_file_is_longer_than_one_can_hold_in_the_head() -> None:
    long = {module_name(p): n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}
