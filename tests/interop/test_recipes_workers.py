"""The recipes of a cluster: what each takes, and its commands with a scheduler and a bucket."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.interop.bucket import S3, s3_server
from tests.interop.ports import free_port
from tests.interop.programs import program, said
from tests.interop.test_recipes_cluster import (
    built,
    containers,
    documents,
    pods,
    require_restricted,
    validate,
)
from tests.machine import ROOT, Machine
from tests.recipes import RECIPES, online_keys, tools

pytestmark = pytest.mark.interop

CLUSTER = RECIPES / "cluster"
KUBERNETES = "cluster/kubernetes"


def policy(name: str) -> dict[str, Any]:
    """A policy for the bucket of the tests."""
    text = (CLUSTER / f"s3-{name}.json").read_text()
    found: dict[str, Any] = json.loads(text.replace("my-bucket", "site"))
    return found


# Kubernetes


def test_every_version_takes_the_manifests_and_they_are_restricted(tmp_path: Path) -> None:
    path = built(tmp_path, KUBERNETES)
    validate(path)
    require_restricted(path)
    names = sorted(f"{d['kind']} {d['metadata']['name']}" for d in documents(path))
    assert names == [
        "CronJob cnrmirror-cluster-sync", "CronJob cnrmirror-refresh",
        "Deployment cnrmirror-scheduler", "Deployment cnrmirror-worker",
        "NetworkPolicy cnrmirror-coordinator", "NetworkPolicy cnrmirror-job",
        "NetworkPolicy cnrmirror-scheduler", "NetworkPolicy cnrmirror-worker",
        "PersistentVolumeClaim cnrmirror", "Service cnrmirror-scheduler",
        "ServiceAccount cnrmirror-worker",
    ]  # fmt: skip
    images = {each["image"] for pod in pods(path) for each in containers(pod)}
    assert images == {"registry.example.com/cnrmirror:0.1.0-cluster"}


def test_only_what_signs_has_keys_and_only_what_talks_to_the_cluster_has_certificates(
    tmp_path: Path,
) -> None:
    secrets: dict[str, set[str]] = {}
    for pod in pods(built(tmp_path, KUBERNETES)):
        volumes = {v["name"]: v.get("secret", {}).get("secretName", "") for v in pod["volumes"]}
        for each in containers(pod):
            found = {volumes[mount["name"]] for mount in each["volumeMounts"]} - {""}
            found |= {source["secretRef"]["name"] for source in each.get("envFrom", [])}
            found |= {
                value["valueFrom"]["secretKeyRef"]["name"]
                for value in each.get("env", []) if "valueFrom" in value
            }  # fmt: skip
            secrets[each["name"]] = found
    assert secrets == {
        "scheduler": {"cnrmirror-scheduler"},
        "worker": {"cnrmirror-worker", "cnrmirror-bucket-worker"},
        "fetch": {"cnrmirror-coordinator", "cnrmirror-bucket-fetch"},
        "sync": {"cnrmirror-keys", "cnrmirror-bucket"},
        "refresh": {"cnrmirror-keys", "cnrmirror-bucket"},
    }
    guide = (ROOT / "docs/automation.md").read_text()
    for name in set().union(*secrets.values()):
        made = name.replace(name.rpartition("-")[2], "$part") if f"{name} " not in guide else name
        assert f"secret generic {made} " in guide, name


def test_what_fetches_can_write_nothing_of_the_mirror_but_its_state(tmp_path: Path) -> None:
    [pod] = [pod for pod in pods(built(tmp_path, KUBERNETES)) if "initContainers" in pod]
    [fetch], [sync] = pod["initContainers"], pod["containers"]
    writable = {m["mountPath"] for m in fetch["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"/data/mirror/.state", "/tmp"}
    own = {m["name"] for m in fetch["volumeMounts"]} & {m["name"] for m in sync["volumeMounts"]}
    assert own == {"data"}


def test_only_workers_and_the_coordinator_reach_the_scheduler(tmp_path: Path) -> None:
    policies = {
        d["metadata"]["name"].removeprefix("cnrmirror-"): d["spec"]
        for d in documents(built(tmp_path, KUBERNETES)) if d["kind"] == "NetworkPolicy"
    }  # fmt: skip

    def peers(rules: list[dict[str, Any]], side: str) -> dict[str, list[int]]:
        return {
            peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]:
            [port["port"] for port in rule["ports"]]
            for rule in rules for peer in rule.get(side, [])
        }  # fmt: skip

    assert peers(policies["scheduler"]["ingress"], "from") == {
        "worker": [8786], "coordinator": [8786]
    }  # fmt: skip
    assert peers(policies["scheduler"]["egress"], "to") == {"worker": [8788]}
    assert peers(policies["worker"]["ingress"], "from") == {"scheduler": [8788]}
    for name in ("worker", "coordinator"):
        assert peers(policies[name]["egress"], "to") == {"scheduler": [8786]}
    assert policies["coordinator"]["ingress"] == []
    for spec in policies.values():
        assert spec["policyTypes"] == ["Ingress", "Egress"]


# the commands


class Parts:
    """A scheduler, workers, a bucket that has the policies, and a mirror that syncs with them."""

    def __init__(self, folder: Path, s3: S3, source: str, manifests: Path) -> None:
        self.folder, self._s3 = folder, s3
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port, self._of_worker = free_port(), free_port()
        self._commands = {
            each["name"]: each.get("command", ["cnrmirror", "-C", "/data/mirror"])
            + each.get("args", [])
            for pod in pods(manifests) for each in containers(pod)
        }  # fmt: skip
        self.tools = tools(folder / "tools")
        (self.tools / "dask").symlink_to(program("dask", "pip install 'cnrmirror[cluster]'"))
        machine = Machine(folder / "machine")
        self.mirror = machine.folder / "mirror"
        done = machine.run("init", "mirror", "--store", "s3://site/registry", **s3.environment())
        assert done.returncode == 0, done.stderr
        with (self.mirror / "mirror.yaml").open("a") as file:
            file.write(f"sources: {{up: {{type: registry, url: '{source}', parallel: 8}}}}\n")
        machine("cluster", "certificates", "certificates")
        self.certificates = machine.folder / "certificates"
        self.machine, self.keys = machine, online_keys(machine)

    def words(self, name: str) -> list[str]:
        """The command of a container, for this machine."""
        return [self.here(word) for word in self._commands[name]]

    def here(self, word: str) -> str:
        """A word of a recipe, for this machine."""
        word = word.replace("/data/mirror", str(self.mirror))
        word = re.sub(r"/certificates|/run/secrets", str(self.certificates), word)
        word = re.sub(r"(?<==)/tmp\Z", str(self.folder), word)
        word = re.sub(r"tls://(cnrmirror-)?scheduler:8786", f"tls://127.0.0.1:{self.port}", word)
        word = word.replace("--port=8786", f"--port={self.port}")
        return word.replace("--worker-port=8788", f"--worker-port={self._of_worker}")

    def environment(self, access: str) -> dict[str, str]:
        """What a container has that has one set of credentials; no keys."""
        home = self.folder / f"home-of-{access or 'nobody'}"
        home.mkdir(exist_ok=True)
        own = {"PATH": f"{self.tools}:/usr/bin:/bin", "HOME": str(home)}
        return {**own, **(self._s3.environment(access) if access else {})}

    def start(self, words: list[str], access: str = "", **more: str) -> None:
        """Start a process, on this machine's own address."""
        loopback = ["--host", "127.0.0.1"] if words[0] == "dask" else []
        environment = {**self.environment(access), **more}
        with (self.folder / "log").open("ab") as log:
            self._processes.append(
                subprocess.Popen([*words, *loopback], env=environment, stdout=log, stderr=log,
                                 cwd=self.folder, start_new_session=True)
            )  # fmt: skip

    def run(self, words: list[str], access: str, **more: str) -> str:
        """Run a command to its end: what it says."""
        environment = {**self.environment(access), **more}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
        log = (self.folder / "log").read_text()
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{log[-5000:]}"
        return done.stdout + done.stderr

    def end(self, process: int | None = None) -> None:
        """Kill one, or all."""
        chosen = self._processes if process is None else [self._processes[process]]
        for each in chosen:
            if each.poll() is None:
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()

    def files(self) -> dict[str, bytes]:
        """What the project has, without its state."""
        return {
            str(path): path.read_bytes()
            for path in self.mirror.rglob("*") if path.is_file() and ".state" not in path.parts
        }  # fmt: skip


@pytest.fixture
def parts(url: str, tmp_path: Path) -> Iterator[Parts]:
    worker, fetch = policy("worker"), policy("fetch")
    # What workers could not do, the coordinator would: here it may not.
    fetch["Statement"] = [s for s in fetch["Statement"] if s["Sid"] != "KeepArchives"]
    policies = {"worker": worker, "only-reads": fetch, "fetch": policy("fetch")}
    texts = {name: json.dumps(text) for name, text in policies.items()}
    with s3_server(tmp_path / "s3", texts) as s3:
        found = Parts(tmp_path, s3, url, built(tmp_path, KUBERNETES))
        try:
            yield found
        finally:
            found.end()


def as_kubernetes(parts: Parts) -> None:
    parts.start(parts.words("worker"), "worker")


def as_compose(parts: Parts) -> None:
    service = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]["worker"]
    parts.start([parts.here(word) for word in service["entrypoint"]], "worker")


def as_slurm(parts: Parts) -> None:
    """The script, with a program that stands for SLURM's: it runs one of the tasks."""
    srun = parts.tools / "srun"
    srun.write_text('#!/bin/sh\nshift\nexec "$@" --host 127.0.0.1 --no-nanny\n')
    srun.chmod(0o755)
    credentials = parts.folder / "worker.env"
    of_bucket = parts.environment("worker")
    lines = [f"{n}={shlex.quote(v)}\n" for n, v in of_bucket.items() if n.startswith("AWS_")]
    credentials.write_text("".join(lines))
    script = ["bash", str(CLUSTER / "workers.sbatch"), f"tls://127.0.0.1:{parts.port}",
              str(parts.certificates)]  # fmt: skip
    parts.start(script, CNRMIRROR_WORKER_ENV=str(credentials), TMPDIR=str(parts.folder))


@pytest.mark.parametrize("worker", [as_kubernetes, as_compose, as_slurm])
def test_workers_fetch_with_their_narrow_rights_and_what_has_the_keys_signs(
    parts: Parts, worker: Any
) -> None:
    parts.start(parts.words("scheduler"))
    worker(parts)
    before = parts.files()
    said = parts.run(parts.words("fetch"), "only-reads")
    assert re.search(r"^[1-9]\d* archives in the store", said), said
    assert parts.files() == before, "only .state has changed"
    parts.end()
    access = parts._s3.environment()["AWS_ACCESS_KEY_ID"]
    said = parts.run(parts.words("sync"), access, CNRMIRROR_KEYS=parts.keys)
    assert "charts/nginx@1.2.0" in said and "revision 1" in said
    done = parts.machine.run("-C", "mirror", "check", **parts._s3.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    # Another run of both: what is noted, and there, is not fetched again.
    assert "fetch\t" not in parts.run(parts.words("sync"), access, CNRMIRROR_KEYS=parts.keys)


def test_what_fetches_goes_on_with_its_own_rights_where_it_was(parts: Parts) -> None:
    parts.start(parts.words("scheduler"))
    as_kubernetes(parts)
    first = parts.run(parts.words("fetch"), "fetch")
    parts.end(1)
    words = [w for w in parts.words("fetch") if not w.startswith(("--cluster", "--cert"))]
    assert parts.run(words, "fetch") == first


def test_a_worker_ends_with_its_scheduler(parts: Parts) -> None:
    parts.start(parts.words("scheduler"))
    as_kubernetes(parts)
    parts.run(parts.words("fetch"), "fetch")
    parts.end(0)
    worker = parts._processes[1]
    deadline = time.monotonic() + 60
    while worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert worker.returncode is not None


# what others say of the files


def test_compose_knows_every_word_of_its_file() -> None:
    checker = program("check-jsonschema", "pip install check-jsonschema")
    said(checker, "--builtin-schema", "vendor.compose-spec", CLUSTER / "compose.yaml")
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert {s for s in service["secrets"] if s != "ca.pem"} == {
            f"{name}.pem",
            f"{name}-key.pem",
        }
    assert services["scheduler"]["ports"] == ["127.0.0.1:8786:8786"]


def test_the_script_for_slurm_passes_shellcheck_and_its_options_are_known() -> None:
    script = CLUSTER / "workers.sbatch"
    said("bash", "-n", script)
    said(program("shellcheck", "apt install shellcheck"), script)
    options = re.findall(r"^#SBATCH --([a-z-]+)=", script.read_text(), re.M)
    assert options == ["job-name", "ntasks", "cpus-per-task", "mem-per-cpu", "time", "output"]


def test_what_is_installed_for_a_cluster_is_what_its_lock_file_says(tmp_path: Path) -> None:
    home = tmp_path / "cnrmirror"
    environment = {**os.environ, "PYTHON": str(Path(sys.base_prefix) / "bin/python3")}
    subprocess.run([RECIPES / "install", home, "cluster"], env=environment, check=True)
    assert "version" in said(home / "bin/dask", "--version")
    frozen = said(home / "bin/python", "-m", "pip", "list", "--format=freeze")
    lock = (RECIPES / "container/cluster.txt").read_text()
    allowed = set(re.findall(r"^([a-z0-9-]+==[^ ]+)", lock, re.M))
    found = {line.lower().replace("_", "-") for line in frozen.splitlines()} - allowed
    assert {line.partition("==")[0] for line in found} - {"pip", "setuptools"} == {"cnrmirror"}
