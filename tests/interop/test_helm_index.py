"""The Helm view's index, field by field, against ``helm repo index`` on the same archives.

``CNRMIRROR_CHARTS=2000`` compares more than CI does.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cnrmirror.archive.identify import Override
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from tests.conftest import NOW, tar_gz
from tests.interop.helm import helm, run
from tests.mirrors import make

pytestmark = pytest.mark.interop
COUNT = int(os.environ.get("CNRMIRROR_CHARTS", "300"))

ODD = [
    "description: >\n  folded text\n  of two lines\n\n  and a third\n",
    "description: |\n  literal\ttab\n  “quotes” — ünïcode \U0001f680\n",
    'description: "bell \\a null \\0 zero\\u200bwidth no\\u00a0break"\n',
    "appVersion: 1.10\n", "appVersion: '1.10'\n", "appVersion: 1.16.0-alpine\n", "appVersion: 6\n",
    "appVersion: 2021-01-02\n", "appVersion: 0x1F\n", "appVersion: 6.0\n", "appVersion: true\n",
    "deprecated: true\n", "deprecated: false\n", "type: library\n", "type: application\n",
    "kubeVersion: '>= 1.20.0-0'\n", "condition: web.enabled\n", "tags: front,back\n",
    "icon: https://example.com/i.png\n", "home: ''\n", "keywords: []\n", "unknown: [1, 2]\n",
    "engine: gotpl\n", "sources:\n- https://example.com/a\n- https://example.com/b\n",
    "maintainers:\n- name: A\n- name: B\n  email: b@example.com\n  url: https://example.com\n",
    "annotations:\n  category: Infrastructure\n  a/b: |\n    - kind: added\n      text: x\n",
    "dependencies:\n- name: lib\n  version: 1.x.x\n  repository: https://example.com/charts\n",
    "dependencies:\n- name: db\n  version: ~1.2\n  repository: ''\n  condition: db.enabled\n"
    "  tags: [data, back]\n  alias: store\n",
    "dependencies:\n- name: db\n  version: '1'\n  repository: oci://example.com/charts\n"
    "  enabled: true\n  import-values:\n  - data\n  - child: a.b\n    parent: c\n",
]  # fmt: skip
REQUIREMENTS = "dependencies:\n- name: old\n  version: 1.0.0\n  repository: https://example.com\n"


def archives(folder: Path) -> Iterator[Path]:
    """Charts of the most different Chart.yaml; of three releases each."""
    dice = random.Random(15)
    folder.mkdir()
    for number in range(COUNT):
        name, release = (
            f"chart-x{number // 3}",
            ("1.0.0", "1.1.0+build.5", "2.0.0-rc.1")[number % 3],
        )
        some = dice.sample(ODD, dice.randrange(5))
        keys = [text.partition(":")[0] for text in some]
        said = [text for n, text in enumerate(some) if keys[n] not in keys[:n]]
        api = "v1" if number % 4 == 0 else "v2"
        chart = f"apiVersion: {api}\nname: {name}\nversion: {release}\n{''.join(said)}"
        files = {f"{name}/Chart.yaml": chart.encode()}
        if api == "v1" and number % 3:
            files[f"{name}/requirements.yaml"] = REQUIREMENTS.encode()
        path = folder / f"{name}-{release}.tgz"
        path.write_bytes(tar_gz(files))
        yield path


def entries(index: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The entries by name and version, without what is each index's own affair."""
    return {
        (name, entry["version"]): {k: v for k, v in entry.items() if k not in ("created", "urls")}
        for name, found in index["entries"].items()
        for entry in found
    }


class Texts(yaml.CSafeLoader):
    """YAML without dates."""


Texts.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if not pair[0].endswith("timestamp")]
    for first, pairs in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@pytest.mark.parametrize("name", ["helm3", "helm4"])
def test_every_entry_is_as_helm_would_index_it(tmp_path: Path, name: str) -> None:
    program = helm(name)
    found = list(archives(tmp_path / "charts"))
    done = run(program, tmp_path / "home", "repo", "index", tmp_path / "charts")
    assert done.code == 0, done.err
    theirs = yaml.load((tmp_path / "charts/index.yaml").read_bytes(), Loader=Texts)
    project = make(tmp_path / "m", "00000000-0000-4000-8000-00000000000b", NOW)
    push(project, found, Override(namespace="ns"), NOW, What())
    ours = json.loads((project.site / "helm/ns/index.yaml").read_bytes())
    expected, got = entries(theirs), entries(ours)
    assert got.keys() == expected.keys()
    different = {
        (key, field): (expected[key].get(field), got[key].get(field))
        for key in expected
        for field in expected[key].keys() | got[key].keys()
        if expected[key].get(field) != got[key].get(field)
    }
    # Helm makes text of the number that it reads: 1.10 is "1.1". The view has what is written.
    for (_, field), (theirs_says, ours_says) in different.items():
        assert field == "appVersion" and theirs_says == helms_text(yaml.safe_load(str(ours_says)))
    assert len(different) < COUNT / 4


def helms_text(number: float) -> str:
    return f"{number:g}"
