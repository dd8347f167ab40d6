"""Chart folders with the oddities of real ones, each alone and several at a time."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.conftest import tar_gz


class Link(NamedTuple):
    """A symlink; ``{top}`` in its target is the chart's folder."""

    target: str


class Program(NamedTuple):
    """A file that may be run."""

    text: str


class Folder(NamedTuple):
    """A folder with nothing in it."""


Content = str | bytes | Link | Program | Folder
Tree = dict[str, Content]

_HELPERS = '{{- define "it.name" -}}\n{{ .Release.Name }}-{{ .Chart.Name }}\n{{- end -}}\n'
_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n"
# Every file that templates can see, and what is in it.
_SEEN = _MAP % '{{ include "it.name" . }}-files' + (
    'data:\n{{- range $path, $_ := .Files.Glob "**" }}\n  {{ $path | quote }}: '
    "{{ $.Files.Get $path | sha256sum | quote }}\n{{- end }}\n"
)
_DATA = _MAP % "{{ .Chart.Name }}-values" + "data:\n  all: {{ .Values | toJson | quote }}\n"


def _chart(name: str, more: str = "", version: str = "1.0.0", api: str = "v2") -> str:
    return f"apiVersion: {api}\nname: {name}\nversion: {version}\n{more}"


BASE: Tree = {
    "values.yaml": "colour: green\nsize: 1\n",
    "templates/_helpers.tpl": _HELPERS,
    "templates/files.yaml": _SEEN,
    "templates/values.yaml": _DATA,
    "templates/NOTES.txt": "{{ .Chart.Name }} is {{ .Values.colour }}.\n",
}


def _sub(name: str, more: str = "") -> Tree:
    return {
        "Chart.yaml": _chart(name, more),
        "values.yaml": f"of: {name}\n",
        "templates/values.yaml": _DATA,
        "notes.txt": f"of {name}\n",
    }


def _below(folder: str, tree: Mapping[str, Content]) -> Tree:
    return {f"{folder}/{name}": content for name, content in tree.items()}


def _packed(name: str, tree: Mapping[str, Content]) -> bytes:
    return tar_gz({f"{name}/{n}": c.encode() for n, c in tree.items() if isinstance(c, str)})


_TWO: Tree = {"files/one.yaml": _MAP % "one", "files/more/two.yaml": _MAP % "two"}
_HOOK = _MAP % "test" + "  annotations:\n    helm.sh/hook: test\n"
_CRD = (
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n"
    "  name: things.example.com\n"
)
_LOCK = "dependencies: []\ndigest: sha256:0\ngenerated: 2020-01-01T00:00:00Z\n"
_SCHEMA = '{"type": "object", "properties": {"size": {"type": "integer"}}}\n'

# What goes well with anything else; lines of Chart.yaml, values.yaml and .helmignore add up.
ODDITIES: dict[str, Tree] = {
    "link-to-file": {**_TWO, "templates/linked.yaml": Link("../files/one.yaml")},
    "link-to-folder": {**_TWO, "templates/linked": Link("../files/more")},
    "link-of-links": {
        **_TWO,
        "a-link": Link("b-link"),
        "b-link": Link("files"),
        "templates/hop": Link("../a-link/more"),
    },
    "link-that-is-absolute": {**_TWO, "templates/abs.yaml": Link("{top}/files/one.yaml")},
    "link-to-notes": {"doc/notes.md": "# Notes\n", "README.md": Link("doc/notes.md")},
    "link-to-program": {"bin/run.sh": Program("#!/bin/sh\n"), "run": Link("bin/run.sh")},
    "link-left-out": {
        **_TWO,
        ".helmignore": "templates/out\nout.yaml\n",
        "templates/out": Link("../files"),
        "templates/out.yaml": Link("../files/one.yaml"),
    },
    "link-to-what-is-left-out": {
        "hidden/three.yaml": _MAP % "three",
        ".helmignore": "/hidden\n",
        "templates/three": Link("../hidden"),
    },
    "link-to-crd": {"files/crd.yaml": _CRD, "crds/crd.yaml": Link("../files/crd.yaml")},
    "crds": {"crds/a.yaml": _CRD, "crds/README.txt": "no manifest", "crds/in/b.yaml": _CRD},
    "dotfiles": {
        ".gitignore": "*.tmp\n",
        ".github/workflows/x.yml": "on: push\n",
        "templates/.swp": "{{ broken",
        "templates/.dir/x.yaml": "{{ broken",
        "templates/sub/.keep": "",
        "files/.env": "A=1\n",
    },
    "helpers": {
        "templates/lib/_more.tpl": '{{ define "more" }}more: {{ .Values.size }}{{ end }}',
        "templates/more.yaml": _MAP % "more" + 'data:\n  {{ include "more" . | quote }}: "x"\n',
        "templates/_partial.yaml": "{{/* nothing */}}",
        "templates/plain.txt": "key: {{ .Values.size }}\n",
    },
    "hooks": {"templates/tests/test.yaml": _HOOK, "templates/tests/_x.tpl": ""},
    "files": {
        "conf/a.conf": "a = 1\nb = 2\n",
        "conf/b.conf": "c = 3\n",
        "templates/conf.yaml": _MAP % "conf"
        + 'data:\n{{ (.Files.Glob "conf/*").AsConfig | indent 2 }}\n'
        + '{{- range .Files.Lines "conf/a.conf" }}\n  # {{ . }}\n{{- end }}\n',
    },
    "binary": {
        "logo.bin": bytes(range(256)) * 3,
        "templates/logo.yaml": _MAP % "logo"
        + 'binaryData:\n  logo: {{ .Files.Get "logo.bin" | b64enc }}\n',
    },
    "big": {"data/big.txt": "".join(f"line {n}\n" for n in range(60_000))},
    "empty": {"none": Folder(), "charts": Folder(), "zero.txt": "", "templates/zero.yaml": ""},
    "unicode": {
        "files/gr\u00fc\u00df.txt": "nfc",
        "files/cafe\u0301.txt": "nfd",
        "files/\u540d\u524d \U0001f600.txt": "emoji",
        "templates/\u00fc.yaml": _MAP % "u",
    },
    "names": {
        "files/with space.txt": "1",
        "files/-dash": "2",
        "files/#hash%20&'\"$(x)": "3",
        "files/a:b": "4",
        "files/trailing.": "5",
        "files/~": "6",
    },
    "long-paths": {
        "files/" + "n" * 120: "1",
        "files/" + "/".join(["folder" * 4] * 8) + "/x.txt": "2",
        "files/" + "m" * 255: "3",
        "templates/" + "d" * 99 + "/" + "e" * 60 + ".yaml": _MAP % "long",
    },
    "schema": {"values.schema.json": _SCHEMA},
    "readme": {"README.md": "# Chart\n", "LICENSE": "free\n", "ci/test-values.yaml": "a: 1\n"},
    "programs": {"hooks/run.sh": Program("#!/bin/sh\n"), "templates/x.yaml": Program(_MAP % "x")},
    "windows": {
        "files/crlf.txt": "a\r\nb\r\n",
        "templates/crlf.yaml": (_MAP % "crlf").replace("\n", "\r\n"),
    },
    "marks": {
        "files/bom.txt": b"\xef\xbb\xbfbom\n",
        "templates/bom.yaml": b"\xef\xbb\xbf" + (_MAP % "bom").encode(),
    },
    "chart-in-files": {"files/Chart.yaml": "name: other\nversion: 9.9.9\n", "x/values.yaml": "a"},
    "said": {
        "Chart.yaml": "appVersion: 1.10\nhome: https://example.com\nicon: https://example.com/i\n"
        "deprecated: true\nkeywords: [a, b]\nannotations: {a: 'b: c'}\nkubeVersion: '>=1.20.0-0'\n"
        "maintainers:\n- {name: somebody, email: s@example.com}\nunknown: field\n",
        "values.yaml": "list: &l [1, 2]\nsame: *l\nfloat: 1e3\nlong: 12345678901234\n",
    },
    "sub-folder": _below("charts/one", _sub("one", "appVersion: '2'\n")),
    "sub-archive": {"charts/two-1.0.0.tgz": _packed("two", _sub("two"))},
    "sub-of-sub": {
        **_below("charts/three", _sub("three")),
        **_below("charts/three/charts/four", _sub("four")),
        "charts/three/charts/five-1.0.0.tgz": _packed("five", _sub("five")),
        "charts/three/.helmignore": "notes.txt\n",
    },
    "sub-under-another-name": _below("charts/folder", _sub("six")),
    "sub-left-out": {
        **_below("charts/_old", _sub("seven")),
        **_below("charts/.hidden", _sub("eight")),
        "charts/_README.md": "not a chart\n",
    },
    "sub-signed": {
        "charts/nine-1.0.0.tgz": _packed("nine", _sub("nine")),
        "charts/nine-1.0.0.tgz.prov": "signed\n",
    },
    "sub-linked": {**_below("shared/ten", _sub("ten")), "charts/ten": Link("../shared/ten")},
    "sub-archive-linked": {
        "shared/eleven-1.0.0.tgz": _packed("eleven", _sub("eleven")),
        "charts/eleven-1.0.0.tgz": Link("../shared/eleven-1.0.0.tgz"),
    },
    "library": {
        **_below("charts/lib", {"Chart.yaml": _chart("lib", "type: library\n")}),
        "charts/lib/templates/_lib.tpl": '{{ define "lib.x" }}x{{ end }}',
        "templates/uses.yaml": _MAP % "uses" + 'data:\n  x: {{ include "lib.x" . }}\n',
    },
}  # fmt: skip

# What stands in Chart.yaml or values.yaml of these leaves no room for others.
ALONE: dict[str, Tree] = {
    "chart-linked": {
        "doc/meta.yaml": _chart("chart-linked"),
        "Chart.yaml": Link("doc/meta.yaml"),
    },
    "values-linked": {"v.yaml": "colour: red\nsize: 2\n", "values.yaml": Link("v.yaml")},
    "schema-linked": {"s.json": _SCHEMA, "values.schema.json": Link("s.json")},
    "rules-linked": {"doc/rules": "*.bak\n/doc\n", ".helmignore": Link("doc/rules"), "x.bak": "x"},
    "templates-linked": {
        "src/a.yaml": _MAP % "a",
        "src/.swp": "{{ broken",
        "templates": Link("src"),
    },
    "windows-too": {"Chart.yaml": _chart("windows-too").replace("\n", "\r\n"),
                    "values.yaml": "colour: red\r\nsize: 2\r\n",
                    ".helmignore": "*.bak\r\n\r\n# none\r\n", "x.bak": "x"},
    "marked": {"Chart.yaml": b"\xef\xbb\xbf" + _chart("marked").encode(),
               "values.yaml": b"\xef\xbb\xbfcolour: red\nsize: 2\n",
               ".helmignore": b"\xef\xbb\xbf*.bak\n", "x.bak": "x"},
    "pre-release": {"Chart.yaml": _chart("pre-release", "", "1.2.3-rc.1")},
    "build": {"Chart.yaml": _chart("build", "", "1.2.3+build.5")},
    "library-itself": {"Chart.yaml": _chart("library-itself", "type: library\n")},
    "first-api": {
        "Chart.yaml": _chart("first-api", "engine: gotpl\ntillerVersion: '>=2.0.0'\n", api="v1"),
        "requirements.yaml": "dependencies:\n- {name: sub, version: 1.0.0, repository: '',"
        " condition: sub.on, alias: other}\n",
        "requirements.lock": _LOCK,
        **_below("charts/sub", _sub("sub")),
    },
    "first-api-with-a-lock-of-the-second": {
        "Chart.yaml": _chart("first-api-with-a-lock-of-the-second", api="v1"),
        "Chart.lock": _LOCK,
    },
    "second-api-with-requirements": {
        "requirements.yaml": "dependencies:\n- {name: sub, version: 1.0.0, repository: ''}\n",
        "requirements.lock": _LOCK,
        **_below("charts/sub", _sub("sub")),
    },
    "needs": {
        "Chart.yaml": _chart("needs", "dependencies:\n"
        "- {name: sub, version: 1.x.x, repository: '', alias: other, tags: [front]}\n"
        "- {name: lib, version: 1.0.0, repository: '', import-values: [{child: of, parent: up}]}\n"
        "- {name: sub, version: 1.0.0, repository: '', condition: off.on}\n"),
        "Chart.lock": _LOCK,
        "values.yaml": "colour: red\noff: {on: false}\ntags: {front: true}\nglobal: {g: 1}\n",
        **_below("charts/sub", _sub("sub")),
        "charts/lib-1.0.0.tgz": _packed("lib", _sub("lib")),
    },
    "wrong-values": {"values.yaml": "colour: red\nsize: large\n", "values.schema.json": _SCHEMA},
    "wrong-template": {"templates/wrong.yaml": "a: {{ .Values.no.such.thing }}\n"},
    "wrong-yaml": {"templates/wrong.yaml": "a: b: c\n"},
    "bare": {"Chart.yaml": _chart("bare"), "values.yaml": "", "templates/NOTES.txt": ""},
}  # fmt: skip

RULES = (
    "*.txt", "docs/", "docs", "/docs", "/docs/", "docs/*", "a/docs", "a/*/x.txt", "*/x.txt", "?",
    "[a-c]", "[^a-c]*.md", "[z-a]", "[\\]]", "\\#x", "#x", "  *.md  ", "!*.yaml", "/",
    "./docs", ".*", ".helmignore", "docs/\r", "x.txt\x0b*.md", "{a,b}", "a b", "*a*o*",
    "[\u00e9]", "templates/", "charts", "values.yaml", "templates/*\n",
)  # fmt: skip
_TO_IGNORE: Tree = {
    "docs/r.md": "1", "a/docs/x.txt": "2", "a/x.txt": "3", "x.txt": "4", "b": "5", "]": "6",
    "\u00e9": "7", "#x": "8", "a b": "9", "c.md": "10", ".env": "11", "docs/deep/x.txt": "12",
    "templates/docs/_x.tpl": "", **_below("charts/docs", _sub("docs")),
}  # fmt: skip


# What helm packs no chart of: neither do we.
_DEAD_RULES = ("!", "!/", "!docs/", "*.md\n!r.md", "Chart.yaml", "*", "a/**/b", "[", "[a-]", "\\")
REFUSED: dict[str, Tree] = {
    **{f"dead-rule-{n}": {".helmignore": rule} for n, rule in enumerate(_DEAD_RULES)},
    "nowhere": {"templates/x.yaml": Link("nowhere.yaml")},
    "itself": {"templates/x.yaml": Link("x.yaml")},
    "circle": {"templates/x": Link("..")},
    "mutual": {"x/y": Link("../y"), "y/x": Link("../x")},
    "device": {"templates/x": Link("/dev/null")},
}


def _joined(*trees: Mapping[str, Content]) -> Tree:
    result: Tree = {}
    for tree in trees:
        for name, content in tree.items():
            other = result.get(name)
            if isinstance(content, str) and isinstance(other, str):
                content = other + content
            result[name] = content
    return result


def charts() -> Iterator[tuple[str, Tree]]:
    """Every chart, by its name."""
    for name, tree in ALONE.items():
        links = tuple(f"{n}/" for n, content in tree.items() if isinstance(content, Link))
        base = {n: content for n, content in BASE.items() if not n.startswith(links)}
        yield name, {"Chart.yaml": _chart(name), **base, **tree}
    for name, tree in ODDITIES.items():
        yield name, _joined({"Chart.yaml": _chart(name)}, BASE, tree)
    for number, rule in enumerate(RULES):
        name = f"rule-{number}"
        rules: Tree = {".helmignore": f"{rule}\n"}
        yield name, _joined({"Chart.yaml": _chart(name)}, BASE, _TO_IGNORE, rules)
    chance = random.Random(1)  # any number: the charts are to be the same each time
    for number in range(15):
        name = f"mixed-{number}"
        some = chance.sample(sorted(ODDITIES), 5)
        yield name, _joined({"Chart.yaml": _chart(name)}, BASE, *(ODDITIES[key] for key in some))


def refused() -> Iterator[tuple[str, Tree]]:
    """What is no chart, by its name."""
    for name, tree in REFUSED.items():
        yield name, {"Chart.yaml": _chart(name), **BASE, **_TO_IGNORE, **tree}


def write(top: Path, tree: Mapping[str, Content]) -> None:
    """Make the folder of a chart."""
    for name, content in tree.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            path.symlink_to(content.target.format(top=top))
        elif isinstance(content, Folder):
            path.mkdir(exist_ok=True)
        else:
            text = content.text if isinstance(content, Program) else content
            path.write_bytes(text.encode() if isinstance(text, str) else text)
            path.chmod(0o755 if isinstance(content, Program) else 0o644)
