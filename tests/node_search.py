"""search.js in node, with as much of a page as it needs: what is appended is evaluated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cnrmirror
from tests.scripts import need_node

SCRIPT = Path(cnrmirror.__file__).parent / "templates" / "assets" / "search.js"
_HARNESS = """
const vm = require("vm"), fs = require("fs");
const [script, files, queries, missing] = JSON.parse(fs.readFileSync(0));
const loaded = [];
const head = {append(element) {
  const name = element.src.replace("../../search/", "");
  loaded.push(name);
  setImmediate(() => {
    if (!(name in files) || missing.includes(name)) return element.onerror();
    vm.runInContext(files[name], context);
    element.onload();
  });
}};
const document = {head, documentElement: {dataset: {root: "../../"}}, createElement: () => ({})};
const context = vm.createContext({document});
vm.runInContext(script, context);
(async () => {
  const out = [];
  for (const query of queries) {
    loaded.length = 0;
    try {
      context.query = query;
      const rows = await vm.runInContext("cnrmirror.search.find(query)", context);
      const failed = vm.runInContext("cnrmirror.search.failed", context);
      out.push({rows, failed, loaded: [...loaded]});
    } catch (error) { out.push({error: error.message, loaded: [...loaded]}); }
  }
  out.push(vm.runInContext("globalThis.pwned ?? null", context));
  console.log(JSON.stringify(out));
})();
"""


def searched(
    files: Mapping[str, bytes], queries: Sequence[str], missing: Sequence[str] = ()
) -> list[Any]:
    """What each query finds, one page for all of them: rows, what was loaded, whether some failed.

    The last value is what a script of these files left in ``globalThis.pwned``: None.
    """
    texts = {name: data.decode() for name, data in files.items()}
    given = json.dumps([SCRIPT.read_text(), texts, list(queries), list(missing)])
    done = subprocess.run(
        [need_node(), "-e", _HARNESS], input=given, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found
