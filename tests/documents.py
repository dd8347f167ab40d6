"""Documents that are made from the program: ``python -m tests.documents`` writes them anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cnrmirror.mirror.schema import schema, schema_as_text
from tests import shapes
from tests.manpages import pages

DOCS = Path(__file__).parents[1] / "docs"

_CONFIGURATION = """\
# mirror.yaml

mirror.yaml is the configuration of a mirror, and the only file of it that a person edits;
`cnrmirror init` writes it. This page lists every key. Unknown keys, duplicate keys and wrong values
are errors that name the line and the key. `cnrmirror config check` checks the file, `cnrmirror
config show --effective` prints it with all defaults, and [mirror.schema.json](mirror.schema.json)
tells editors what it may contain (`init` writes the line that names it).
[mirror.example.yaml](mirror.example.yaml) is a long example; this is a short one:

```yaml
id: 5a4d9c3e-0000-4000-8000-73616d706c65
url: https://packages.example.com
sources:
  quay:
    type: registry
    url: https://quay.example.com
publish:
  production:
    to: s3://my-bucket/registry
```

Relative paths start at the folder of mirror.yaml; `~` is the home of the user who runs the command.
An address has no query and no fragment, since paths are appended to it. Which credentials are sent
to which host, and which certificates are accepted:
[sync](sync.md#hosts-credentials-proxies-and-certificates). If you change `views` or `url`, the next
command that writes to the mirror brings the site up to date; `cnrmirror build` does so at once.
"""
_PARTS = {
    "Config": "The keys", "ViewSettings": "views", "ArtifactHub": "views.artifacthub",
    "Look": "views.look", "Hosts": "hosts", "Retention": "retention", "Limits": "limits",
    "Trust": "trust", "Registry": "sources: type registry, a live CNR registry",
    "Helm": "sources: type helm, a chart repository",
    "Oci": "sources: type oci, an OCI registry",
    "Mirror": "sources: type mirror, another cnrmirror",
    "Charts": "sources: type charts, a folder",
    "KeyValue": "sources: type keyvalue, a dead registry's datastore",
    "Backup": "sources: type backup, a registry's JSON dump", "Filter": "sources: filter",
    "Acknowledgement": "acknowledge", "Images": "images", "Hooks": "hooks", "PublishTo": "publish",
}  # fmt: skip
_EVERY_SOURCE = "sources: what every type has"
_EVERY_HOST = "sources: what every type has that asks a host"


def configuration() -> str:
    """docs/configuration.md."""
    return _CONFIGURATION + "".join(_sections())


def _sections() -> Iterator[str]:
    parts = schema()["$defs"]
    every = _common(parts, ["Charts", "Backup", "Registry"])
    hosted = _common(parts, ["Registry", "Helm", "Oci", "Mirror", "KeyValue"])
    for name, title in _PARTS.items():
        keys = parts[name]["properties"]
        if title.startswith("sources: type"):
            if name == "Registry":
                yield _section(_EVERY_SOURCE, {k: keys[k] for k in every if k != "type"}, [])
                own = {k: keys[k] for k in hosted if k not in every}
                yield _section(_EVERY_HOST, own, [])
            left_out = {*every, *(hosted if "rate" in keys else ())}
            keys = {k: v for k, v in keys.items() if k not in left_out}
        yield _section(title, keys, parts[name].get("required", []))


def _common(parts: dict[str, Any], names: list[str]) -> list[str]:
    first, *rest = (parts[name]["properties"] for name in names)
    return [key for key in first if all(key in other for other in rest)]


def _section(title: str, keys: dict[str, Any], required: list[str]) -> str:
    lines = [f"\n## {title}\n", "| key | default | example | meaning |", "|---|---|---|---|"]
    for key, value in keys.items():
        default = "must be said" if key in required else _shown(value.get("default", ""), True)
        meaning = value["description"].replace("|", "\\|")
        if words := [repr(word)[1:-1] for word in value.get("enum", ()) if word]:
            meaning += f" One of {', '.join(f'`{word}`' for word in words)}."
        lines.append(f"| `{key}` | {default} | {_shown(value['examples'][0])} | {meaning} |")
    return "\n".join(lines) + "\n"


def _shown(value: Any, default: bool = False) -> str:
    """A value as YAML's flow style has it; nothing for what is empty."""
    if value in ("", [], {}, None):
        return ""
    if isinstance(value, dict) and default:
        return "see below"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`".replace("|", "\\|")


MADE: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "json.md": shapes.page,
    "json.schema.json": lambda: shapes.schema() + "\n",
    "mirror.schema.json": lambda: schema_as_text() + "\n",
}


def made() -> dict[str, str]:
    """Every document that is made, by its path below docs/."""
    texts = {name: make() for name, make in MADE.items()}
    return texts | {f"man/{name}": text for name, text in pages().items()}


if __name__ == "__main__":
    shutil.rmtree(DOCS / "man", ignore_errors=True)
    for name, text in made().items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8")
