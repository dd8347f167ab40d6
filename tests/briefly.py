"""``python -m tests.briefly cnrmirror … serve …``: a server that answers once and is ended."""

from __future__ import annotations

import subprocess
import sys
import urllib.request


def main(*words: str) -> int:
    """0 if the server says where it listens, answers there, and ends as it is asked to."""
    port = () if "--port" in words else ("--port", "0")
    with subprocess.Popen([*words, *port], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            line = ""
            while "serving on " not in line:
                line = server.stderr.readline()
                print(line, end="")
                if not line:
                    return 1
            address = line.split()[-1]
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{address}/cnr/api/v1/packages", timeout=30) as answer:
                print(answer.status)
        finally:
            server.terminate()
            server.stderr.read()
    return 0 if server.returncode == 143 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
