"""Types are worked out by one thread alone, before anybody decodes them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "cnrmirror"
_AT_ONCE = """
import sys, threading
sys.setswitchinterval(1e-6)
from cnrmirror.model import documents as d, typed
start = threading.Barrier(16)
def run(kinds):
    start.wait()
    for kind in kinds:
        try:
            typed.decode(b'{"kind": "package", "package": "a/b", "releases": []}', kind)
        except Exception:
            pass
one = [d.PackageDocument, d.Facts, d.CatalogRoot, d.Leaf, d.Branch]
threads = [threading.Thread(target=run, args=(one[:: 1 - n % 2 * 2],)) for n in range(16)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def test_threads_that_decode_a_type_first_at_once_do_no_harm() -> None:
    """Without ``typed``, a third of these processes ended with a fault in memory."""
    for _ in range(12):
        done = subprocess.run([sys.executable, "-c", _AT_ONCE], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_nothing_else_decodes_or_converts_to_a_type() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and path.name != "typed.py":
                name = ast.unparse(node.func)
                typed = any(word.arg == "type" for word in node.keywords) or len(node.args) > 1
                assert name not in ("msgspec.convert", "msgspec.json.Decoder"), path
                assert name != "msgspec.json.decode" or not typed, path
