"""What uv, rclone, restic, helm and cnrmirror do and say: the evidence of docs/manners.md.

``python -m bench.manners [--only WORD] [--lines 12]`` runs the lines of ``bench/manners.yaml`` in a
folder of their own, without a configuration or credentials; a server on the loopback interface
answers 401 to all. It prints what the programs say, and their exit codes. At the end it names the
programs that are missing, and what no run can show.
"""

from __future__ import annotations

import argparse
import http.server
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.peers import peer
from tests.conftest import chart_bytes

PROGRAMS = ("uv", "rclone", "restic", "helm", "cnrmirror")
_COLUMNS = 300
_SAID = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
NOT_RUN = "the line that installs; the files of a release, their checksums and SBOM; web documents"


def probes() -> Iterator[tuple[str, str, str]]:
    """Each feature, program, and line that shows it."""
    for feature, lines in _SAID["features"].items():
        for program in PROGRAMS:
            if "each" in lines:
                yield feature, program, lines["each"].replace("P ", f"{program} ")
            elif "having" in lines:
                words = " ".join(f'"{command}"' for command in _SAID["commands"][program])
                yield feature, program, f"having {program} '{lines['having']}' {words}"
            elif program in lines:
                yield feature, program, lines[program]


class _Refuses(http.server.BaseHTTPRequestHandler):
    """Answers 401 to all."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="bench"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def environment(folder: Path, url: str) -> tuple[dict[str, str], list[str]]:
    """What the lines are run with, and the programs that are missing."""
    programs = folder / "programs"
    programs.mkdir()
    ours = Path(sys.executable).with_name("cnrmirror")
    found = {name: peer(name) for name in PROGRAMS if name != "cnrmirror"} | {
        "cnrmirror": str(ours)
    }
    for name, path in found.items():
        if path:
            (programs / name).symlink_to(path)
    env = {
        "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "URL": url,
        "TERM": "xterm", "COLUMNS": "100", "RESTIC_REPOSITORY": str(folder / "repo"),
        "RESTIC_PASSWORD": "p", "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_RETRIES": "0",
        "HELM_REPOSITORY_CACHE": str(folder / "h"), "OURS": str(ours.parent),
        "HELM_REPOSITORY_CONFIG": str(folder / "h/r.yaml"),
    }  # fmt: skip
    return env, [name for name, path in found.items() if not path]


def run(folder: Path, env: dict[str, str], line: str) -> Iterator[str]:
    """What a line prints, both streams, and its exit code."""
    command = ["bash", "-c", f"exec 2>&1\n{_SAID['prelude']}\n{line}"]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, stdin=subprocess.DEVNULL, check=False,
        timeout=120,
    )  # fmt: skip
    for said in done.stdout.decode(errors="replace").replace(str(folder), "~").splitlines():
        yield said if len(said) <= _COLUMNS else f"{said[:_COLUMNS]} [...]"
    yield f"[exit {done.returncode}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="features whose names have this word in them")
    parser.add_argument("--lines", type=int, default=12, help="of each output; 0: all")
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env, missing = environment(folder, f"http://127.0.0.1:{server.server_port}")
        (folder / "nginx-1.0.0.tgz").write_bytes(chart_bytes("nginx", "1.0.0"))
        (folder / "charts").mkdir()
        for number in range(1000):
            file = folder / f"charts/c{number}-1.0.0.tgz"
            file.write_bytes(chart_bytes(f"c{number}", "1.0.0"))
        list(run(folder, env, _SAID["set up"]))
        for feature, program, line in probes():
            if options.only not in feature or program in missing:
                continue
            said = list(run(folder, env, line))
            cut = len(said) - options.lines if options.lines else 0
            if cut > 1:
                said[options.lines - 1 : -1] = [f"[{cut} more lines]"]
            print(f"\n== {feature} | {program}\n$ {line}", *said, sep="\n", flush=True)
    server.shutdown()
    print(f"\nNot here, so not run: {', '.join(missing) or 'none'}.\nNo run shows: {NOT_RUN}.")


if __name__ == "__main__":
    main()
