"""The answers recorded from the real servers, and what may differ from them."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from cnrmirror.archive.identify import Override
from cnrmirror.mirror import change
from cnrmirror.mirror.project import Project
from cnrmirror.mirror.push import push
from cnrmirror.mirror.releases import What
from cnrmirror.model.canonical import normalise_metadata
from tests.mirrors import make

CONFORMANCE = Path(__file__).parent / "data" / "recorded"
FILES = {"appr": "appr-0.7.4.jsonl", "cnr": "cnr-0.2.7.jsonl"}
NOW = "2026-01-02T03:04:05"
PACKAGES = "/api/v1/packages"


class Recorded:
    """The recording of one server: its answers, and the mirror of the same pushes."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        with (CONFORMANCE / FILES[dialect]).open() as lines:
            self.answers = [json.loads(line) for line in lines]
        # cnr-server lacks the media type "-"; a mirror answers it as appr does.
        with (CONFORMANCE / FILES["appr"]).open() as lines:
            appr = {a["path"]: a for a in map(json.loads, lines)}
        if dialect == "cnr":
            text = json.dumps([appr[a["path"]] if "/-" in a["path"] else a for a in self.answers])
            self.answers = json.loads(text.replace("vnd.appr.", "vnd.cnr."))

    def mirror(self, folder: Path) -> Project:
        """A mirror into which everything was pushed that was pushed to the server."""
        settings = {"id": "conformance", "views": {"dialect": self.dialect}}
        folder.mkdir(parents=True)
        (folder / "mirror.yaml").write_text(yaml.safe_dump(settings))
        project = make(folder, "conformance")
        pushes = json.loads((CONFORMANCE / "pushes.json").read_text())
        for entry in pushes["packages"]:
            wish = Override(entry["package"], None, entry["release"], entry["media_type"])
            raw = normalise_metadata(entry["metadata"])
            report = push(project, [CONFORMANCE / entry["file"]], wish, NOW, What(metadata=raw))
            assert report.pushed[0].digest == entry["digest"]
        for entry in pushes["channels"]:
            change.set_channel(project, entry["package"], entry["channel"], entry["release"], NOW)
        return project


def differs_on_purpose(path: str) -> bool:
    """The rows of tests/data/recorded/README.md that concern one answer as a whole."""
    package, _, rest = path.partition("charts/redis_cluster")
    exact = package == f"{PACKAGES}/" and re.match(r"/?(\?.*)?$|/3\.0\.0(/|$)", rest)
    overwritten = f"{PACKAGES}/team-b/shared/1.0.0/" in path and "pull" in path
    return bool(exact) or overwritten


def is_dynamic(answer: dict[str, Any]) -> bool:
    """What a static host cannot answer: free text, semver ranges, 400 and 422."""
    url = urlsplit(answer["path"])
    words = unquote(url.path).split("/")
    is_range = len(words) > 6 and any(c in words[6] for c in "<>=^~")
    return (
        answer["status"] in (400, 422)
        or is_range
        or any(q.startswith(("q=", "query=")) for q in url.query.split("&"))
    )


def comparable(value: Any) -> Any:
    """A JSON answer without the time of the push, and lists in one order."""
    if isinstance(value, dict):
        result = {k: comparable(v) for k, v in value.items() if k != "created_at"}
        if result.get("name") == "charts/redis_cluster":
            result["manifests"] = sorted(result["manifests"])
        if result.get("code") == "invalid-usage":
            result["message"] = sorted(result["message"])
        return result
    if isinstance(value, list):
        return sorted((comparable(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True))
    return value


def problems(answer: dict[str, Any], status: int, headers: Any, body: bytes, static: bool) -> str:
    """Why an answer is not the recorded one; "" if it is."""
    if status != answer["status"]:
        return f"status {status}, not {answer['status']}"
    content_type = headers.get("Content-Type", "")
    if content_type.partition(";")[0] != answer["content_type"]:
        return f"type {content_type}, not {answer['content_type']}"
    if "sha256" in answer:
        if hashlib.sha256(body).hexdigest() != answer["sha256"]:
            return "other bytes"
        wanted = answer["content_disposition"]
        exact = "/default/" not in answer["path"] or not static
        if exact and headers.get("Content-Disposition") != wanted:
            return f"Content-Disposition {headers.get('Content-Disposition')}, not {wanted}"
        return ""
    got = json.loads(body)
    if static and status == 404:
        return "" if set(got) == {"code", "details", "message"} else f"no error document: {got}"
    expected = answer["json"]
    if "blob" in expected and "media_type" not in expected:
        got.pop("media_type", None)  # cnr-server's pull has none
    if "/blobs/" in answer["path"] and "blob" in expected:
        # It is the answer of a release with that digest.
        expected = {k: expected[k] for k in ("blob", "package")}
        got = {k: got[k] for k in got if k not in ("filename", "release")}
    if comparable(got) != comparable(expected):
        return f"{comparable(got)} is not {comparable(expected)}"
    return ""
