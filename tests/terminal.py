"""The picture of a terminal, docs/terminal.svg: what real commands print (``make tutorial``)."""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.blocks import ROOT, Block, Step, blocks, run

PICTURE = ROOT / "docs/terminal.svg"
_COLUMNS = 102
_CHART = """```sh
mkdir hello
printf 'apiVersion: v2\\nname: hello\\nversion: 1.0.0\\n' > hello/Chart.yaml
```
"""
_SHOWN = """
```sh
cnrmirror init my-mirror
```
```sh
cnrmirror -C my-mirror push --namespace charts --channel stable ./hello
```
```sh
cnrmirror -C my-mirror check
```
```sh
cp my-mirror/site/catalog/metadata/1.root.json root.json
```
```sh
cnrmirror pull charts/hello:stable --from my-mirror/site --root root.json
```
```sh
cp -RL my-mirror/site lying; for a in lying/catalog/blobs/*/*/*; do printf x >> $a; done
```
```sh
cnrmirror pull charts/hello --from lying --root root.json --dest lied || echo "exit code $?"
```
"""


def drawn(steps: list[Step], home: Path) -> str:
    """The SVG of a terminal in which these steps were typed; it asks for nothing from a network."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True)
    for step in steps:
        console.print(Text("$ ", "bold green") + Text(step.block.commands.rstrip(), "bold white"))
        lines = [_short(line, home) for line in step.output.splitlines()]
        told = lines if len(lines) <= 4 else [*lines[:3], "…"]
        for line in told:
            wrong = line.startswith(("cnrmirror:", "exit code"))
            console.print(Text(line, "red" if wrong else "white"))
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.S)
    sized = without_fonts.replace("<svg ", '<svg width="{width}" height="{height}" ', 1)
    svg = console.export_svg(title="cnrmirror", code_format=sized, unique_id="terminal")
    return "".join(f"{line.rstrip()}\n" for line in svg.splitlines())


def _short(line: str, home: Path) -> str:
    line = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", line.expandtabs(2))
    return line.replace(str(home), "~")


def main() -> None:
    """Run the commands in an empty home, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        wanted: list[Block] = blocks(_CHART + _SHOWN)
        steps = run(home, wanted, programs=str(Path(sys.executable).parent))
        PICTURE.write_text(drawn(steps[1:], home))
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
