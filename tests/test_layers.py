"""A file imports only from rows above it; adapters never import each other (docs/design.md)."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "cnrmirror"
ROWS = [
    {"errors", "descriptor", "names", "documents", "resource", "roles", "receipt", "interfaces"},
    {
        "files",
        "tarball",
        "archive",
        "ignore",
        "store",
        "catalog",
        "tree",
        "metadata",
        "fetcher",
        "web",
        "marks",
        "verify",
        "extract",
        "keys",
        "bucket",
        "client",
    },
    {"site", "sources", "publish", "signing", "bundle"},
    {"config", "workflow", "serve"},
    {"cli", "__main__", "__init__"},
]


def row(name: str) -> int:
    (found,) = [number for number, names in enumerate(ROWS) if name in names]
    return found


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cnrmirror"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {a.name for a in node.names}
    return found - {"__version__"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_no_import_points_upwards() -> None:
    wrong = []
    for path in sorted(p for p in PACKAGE.rglob("*.py") if "templates" not in p.parts):
        for other in imports(path):
            if row(other) > row(room(path)):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []


def test_adapters_do_not_know_each_other() -> None:
    for path in (PACKAGE / "sources").rglob("*.py"):
        assert "site" not in imports(path)
    for path in (PACKAGE / "site").rglob("*.py"):
        assert not imports(path) & {"sources", "publish"}
    for path in (PACKAGE / "publish").rglob("*.py"):
        assert not imports(path) & {"sources", "site"}


def test_imports_stand_at_the_top() -> None:
    for path in sorted(p for p in PACKAGE.rglob("*.py") if "templates" not in p.parts):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                late = [n for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)]
                assert not late, f"{path.name}: {node.name} imports late"
