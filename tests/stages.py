"""Where the blocks of the documents are run, and which are not, and why.

A stage is some blocks of a document, run in one bash in the home of a person who has a mirror,
``w`` (tests/world.py). Blocks and lines are named by how they begin. ``$CLONE`` is this work tree,
``$PYTHON`` the Python of the tests.
"""

from __future__ import annotations

from tests.blocks import ROOT
from tests.stage import Stage

# Documents all of whose blocks one test runs.
WHOLE = {
    "docs/clients.md": "tests/interop/test_clients_page.py",
    "docs/python.md": "tests/test_python_api.py",
    "docs/tutorial.md": "tests/interop/test_tutorial.py",
}
# What else tests/interop/test_clients_page.py runs.
OF_CLIENTS = (("README.md", "curl http://HOST"), ("README.md", "helm repo add charts"))

# How a block begins, if no stage has it; how a line of a stage begins that is left out.
NOT_RUN = {
    ("README.md", "podman build --format docker -f cnrmirror/docs/recipes/container/Containerfile"):
    "needs an image builder; tests/interop/test_recipes.py runs the file's steps",
    ("README.md", "make demo"): "writes into the clone; .ci/run runs both",
    ("CONTRIBUTING.md", "git clone URL cnrmirror && cd cnrmirror"): "writes into the clone; "
    ".ci/run runs what these goals run",
    ("docs/automation.md", "sudo useradd --system"): "needs root",
    ("docs/automation.md", "sudo systemctl daemon-reload"): "needs root, and systemd that runs; "
    "tests/test_recipes.py runs the units' commands",
    ("docs/automation.md", "sudo systemctl enable"): "the same",
    ("docs/automation.md", "podman build --format docker -f docs/recipes/container/Containerfile"):
    "needs an image builder; tests/interop/test_recipes.py runs the file's steps",
    ("docs/automation.md", "kubectl create namespace cnrmirror"): "needs a cluster; "
    "tests/interop/test_recipes_cluster.py checks the manifests",
    ("docs/automation.md", "podman build --format docker --build-arg WITH=cluster"):
    "needs an image builder; tests/interop/test_recipes_workers.py installs the same",
    ("docs/automation.md", "gh secret set CNRMIRROR_KEYS"): "needs an account at GitHub",
    ("docs/clients.md", "oras pull mirror.example.com/charts/nginx/kpm:1.2.0"): "the command line "
    "of oras is in no index of packages from which .ci/run installs",
}  # fmt: skip


_OFFLINE = "mkdir -p ~/media/usb && cp -r ~/w/usb/keys ~/media/usb/keys"
_THREE = "mkdir -p ~/media/{a,b,c,d} && cnrmirror init . " + " ".join(
    f"--offline-keys ~/media/{medium}" for medium in "abc"
)

STAGES = [
    Stage(
        "README.md", ("cnrmirror init my-mirror",), ".",
        {"cnrmirror push --as": "cp -r ~/w/nginx ~/w/elasticsearch.tar.gz ~/archives ."},
    ),
    Stage("README.md", ("cnrmirror pull charts/nginx:stable",), ".", {"": "cp w/root.json ."}),
    Stage(
        "README.md", ("cnrmirror sync",),
        before={
            "cnrmirror export": "cnrmirror init ../other --follow root.json && "
            "cnrmirror export ../first && cnrmirror -C ../other import ../first && "
            "cnrmirror -C ../other have > have.json && mkdir -p ~/media/usb && "
            "cnrmirror channel set charts/nginx edge 1.1.0",
            "cnrmirror import": "cd ../other",
        },
        after="cnrmirror show charts/nginx | grep edge",
    ),
    Stage(
        "CONTRIBUTING.md", (".venv/bin/python -m pytest",), str(ROOT),
        meant={
            ".venv/bin/python -m pytest": "$PYTHON -m pytest -qp no:cacheprovider "
            "--collect-only",
            "-k drip": "-k drip tests/test_http.py", "-k killed": "-k killed tests/test_publish.py",
        },
    ),
    Stage(
        "docs/airgap.md",
        ("cnrmirror -C mirror refresh\ncnrmirror -C mirror export bundle", "cnrmirror init copy",
         "cnrmirror -C mirror refresh\ncnrmirror -C mirror export difference",
         "cnrmirror -C copy import difference", "cnrmirror init own",
         "cnrmirror -C mirror export volumes", "cnrmirror pull charts/nginx",
         "bash bundle/recover.sh", "sha256sum -c"),
        ".",
        {"": "mv w mirror && cp -r mirror/nginx my-chart",
         "cnrmirror -C mirror export difference": "cnrmirror -C mirror push --namespace charts "
         "mirror/nginx",
         "cnrmirror -C mirror export volumes": "cnrmirror -C mirror push --namespace charts large",
         "sha256sum": "cd bundle"},
        after="cnrmirror -C ~/copy show charts/nginx@3.0.0 && cmp ~/volumes/*2.tar ~/again/*2.tar",
        needs=("jq", "openssl"),
    ),
    Stage("docs/audit.md", ("sha256sum root.json",)),
    Stage("docs/audit.md", ("cnrmirror check --from https://mirror.example.com --against last",),
          before={"": "cp day1.json last.json"}),
    Stage("docs/audit.md", ("cnrmirror check --from https://mirror.example.com --strict",),
          before={"": "mkdir reports && cp day1.json reports/2026-01-01.json"}),
    Stage("docs/audit.md", ("cnrmirror check --compare",)),
    Stage("docs/automation.md", ("cnrmirror init my-mirror --offline-keys",), ".",
          {"": "mkdir -p media/usb"}, {"/ID/": "/*-*-*-*-*/"}, "grep -c PRIVATE keys.pem"),
    Stage(
        "docs/automation.md", ("sudo useradd --system", "sudo install -m 644"), ".",
        {"": "cnrmirror init my-mirror; touch keys.pem; ln -s $CLONE/docs docs; "
         "mkdir -p var/lib/cnrmirror etc/systemd/system etc/cron.d"},
        {"sudo ": "", "chown -R cnrmirror:": "chown -R $(id -un):"},
        "cnrmirror -C var/lib/cnrmirror/mirror check && ls etc/systemd/system/*.timer etc/cron.d/*",
    ),
    Stage(
        "docs/automation.md", ("cnrmirror init mirror",), "new",
        {"": "git init -q --bare ../hub && git clone -q ../hub . && "
         "git config user.name somebody && git config user.email somebody@example.com"},
        {"PATH/TO/nginx-1.0.0.tgz": "~/archives/nginx-1.0.0.tgz", "PATH/TO/cnrmirror": "$CLONE"},
        "git -C ../hub ls-tree -r --name-only HEAD | grep -E 'registry.yml|1.root.json|tgz'",
    ),
    Stage("docs/cost.md", ("cnrmirror cost",)),
    Stage("docs/format.md", ("bash recover.sh verify",), "w/site",
          {"": "cp ../root.json ."}, {"FOLDER": ".", "DIR": "~/recovered"},
          "ls ~/recovered/charts/nginx", needs=("jq", "openssl")),
    Stage(
        "docs/format.md", ("openssl pkeyutl",),
        before={"": "$PYTHON -c '" + """
import json
document = json.load(open("root.json"))
one = document["signatures"][0]
key = document["signed"]["keys"][one["keyid"]]["keyval"]["public"]
open("key.der", "wb").write(bytes.fromhex("302a300506032b6570032100" + key))
open("sig", "wb").write(bytes.fromhex(one["sig"]))
' && jq -cSj .signed root.json > signed"""},
        needs=("jq", "openssl"),
    ),
    Stage("docs/images.md", ("cnrmirror images",),
          before={"": "cnrmirror push --namespace charts ~/redis"}, after="cat images.yaml"),
    Stage("docs/pages.md", ("cnrmirror check",)),
    Stage("docs/publish.md", ("cnrmirror publish s3://my-bucket/registry --dry-run",)),
    Stage(
        "docs/scale.md",
        ("cnrmirror init my-mirror --store", "cp my-mirror/root.json"),
        ".",
        {"": "cp -r w/nginx ."},
        after="cnrmirror -C second show charts/nginx",
    ),
    Stage("docs/scale.md", ("cnrmirror sync --workers 4",)),
    Stage(
        "docs/publish.md",
        ("cnrmirror publish production --plan", "cnrmirror publish production --audit"),
        before={"": "cnrmirror channel set charts/nginx edge 1.1.0"},
    ),
    Stage("docs/recovery.md", ("cnrmirror adopt m/site m",), ".",
          {"": "mv w m && rm m/mirror.yaml && cp m/root.json ."}, after="cnrmirror -C m check"),
    Stage("docs/recovery.md", ("cnrmirror adopt s3://my-bucket/registry my-mirror",), ".",
          {"": "cnrmirror -C w publish s3://my-bucket/registry && cp w/root.json . && rm -r w"}),
    Stage("docs/recovery.md", ("cnrmirror keys rotate publish",), before={"": _OFFLINE},
          after="cnrmirror check"),
    Stage("docs/recovery.md", ("cnrmirror keys list",),
          before={"": f"{_OFFLINE} && rm next.json; "
                  "id=$(ls usb/keys | sed -n 's/root-1-\\(.*\\).pem/\\1/p')"},
          meant={"3fa9c1d2": "$id"}, after="cnrmirror check"),
    Stage("docs/recovery.md", ("cnrmirror adopt https://mirror.example.com mine",
                               "cnrmirror pull charts/nginx --from https://new.example.com"), ".",
          {"": "cp w/root.json . && mkdir -p media/usb",
           "cnrmirror pull": "cp mine/site/catalog/metadata/1.root.json new-root.json"}),
    Stage("docs/recovery.md", ("cnrmirror publish --catch-up",),
          before={"": "cp -r . ../backup && cnrmirror channel set charts/nginx edge 1.1.0 && "
                  "cnrmirror publish && cd ../backup"},
          meant={"push …": "push --namespace charts ./nginx"},
          after="cnrmirror show charts/nginx | grep edge"),
    Stage("docs/references.md", ("cnrmirror show charts/nginx",),
          before={"cnrmirror pull": "cnrmirror list --from https://mirror.example.com --root "
                  "root.json"}),
    Stage("docs/serve.md", ("cnrmirror -C my-mirror serve --port 8080",), ".",
          {"": "ln -s w my-mirror && mkdir -p media/usb && "
           "cnrmirror -C w export media/usb/bundle && "
           "printf '[{name: a, sha256: \"%064d\", namespaces: [charts], may: [push]}]' 0 "
           "> tokens.yaml && chmod go-w tokens.yaml"}),
    Stage("docs/serve.md", ("(umask 077",), after="test $(wc -c < ci-bot.token) = 65",
          needs=("openssl",)),
    Stage("docs/sync.md", ("cnrmirror sync --dry-run",),
          meant={"--html FILE": "--html report.html"}, after="grep quay report.html"),
    Stage("docs/trust.md", ("cnrmirror init my-mirror  ",), ".", {"": "cp -r w/nginx nginx && "
          "mkdir -p media/usb", "cnrmirror init my-mirror --offline": "rm -r my-mirror"}),
    Stage("docs/trust.md",
          ("cnrmirror pull charts/nginx --from https://mirror.example.com --root",)),
    Stage("docs/trust.md", ("cat ~/.config",), meant={"/ID/": "/*/"}),
    Stage("docs/trust.md", ("cnrmirror init my-mirror --offline-keys /media/a",), ".",
          {"": "mkdir -p media/{a,b,c}"}),
    Stage("docs/trust.md", ("cnrmirror root propose --out next.json --replace root-2",), "three",
          # The next two are other wishes; the first one is signed.
          {"": _THREE, "cnrmirror root propose --out next.json --add": "mv next.json first.json",
           "cnrmirror root propose --out next.json --remove": "rm next.json",
           "cnrmirror root sign": "mv first.json next.json"},
          after="cnrmirror check"),
    Stage("docs/trust.md", ("cnrmirror root propose --out next.json --add /media/c --thresh",),
          before={"": "rm next.json; mkdir -p ~/media/{a,b,c} && cp usb/keys/root-1-* ~/media/a && "
                  "cp usb/keys/root-2-* ~/media/b"},
          after="cnrmirror check"),
    Stage("docs/watching.md", ("cnrmirror sync --metrics", "cnrmirror sync; cnrmirror report"),
          before={"": "mkdir -p ~/var/lib/node_exporter ~/var/www/private"}),
]  # fmt: skip

_ANSWERS = """answers() {
  for _ in $(seq 100); do curl -fsS "$@" && return; sleep 0.2; done; return 1
}"""
_BASE = "http://127.0.0.1:8080"

# Those that need programs of others, or an index of packages: tests/interop/test_blocks.py.
FOREIGN = [
    Stage(
        "README.md", ("pipx install ./cnrmirror",), ".",
        {"": "git clone -q $CLONE cnrmirror && python3 -m venv tool && "
         "tool/bin/pip install -q pipx && export PATH=$PWD/tool/bin:$PATH",
         "pipx install cnrmirror-0.1.0": "~/.local/bin/cnrmirror --version && "
         "pipx uninstall cnrmirror && pip wheel -q --no-deps -w . ./cnrmirror"},
        after="~/.local/bin/cnrmirror --version && ~/.local/cnrmirror/bin/cnrmirror --version",
    ),
    Stage(
        "README.md", ("curl -XPOST",), ".",
        {"": f"{_ANSWERS}\nexport TOKEN=word\nCNRMIRROR_TOKEN=word cnrmirror -C w "
         f"serve --accept-push --port 8080 &\nanswers {_BASE}/version"},
        {"<base64 of the archive>": "'\"$(base64 -w 0 w/elasticsearch.tar.gz)\"'"},
        "cnrmirror -C w show myname/elasticsearch@2.2.1", needs=("curl",),
    ),
    Stage("docs/automation.md", ("sudo docs/recipes/install",), "clone",
          {"": "git clone -q $CLONE ."}, {"sudo ": ""},
          "~/usr/local/lib/cnrmirror/bin/cnrmirror --version"),
    Stage("docs/automation.md", ("helm install cnrmirror",), str(ROOT),
          meant={"helm install": "helm install --dry-run=client"}, needs=("helm",)),
    Stage("docs/automation.md", ("cnrmirror cluster certificates",), ".",
          {"": "ln -s $CLONE/docs docs; for part in worker fetch sync; do "
           "echo AWS_REGION=us-east-1 > $part.env; done"},
          {"secret generic": "secret generic --dry-run=client -o name", "apply -k": "kustomize"},
          needs=("kubectl",)),
    Stage("docs/serve.md", ("gunicorn",), ".",
          {"": f"{_ANSWERS}\nln -s w my-mirror"},
          {"gunicorn": "PYTHONPATH=$CLONE $PYTHON -m gunicorn -b 127.0.0.1:8080",
           "mirror\")'": "mirror\")' &"},
          f"answers {_BASE}/api/v1/packages", needs=("curl",)),
    Stage("docs/watching.md", ("cnrmirror -C my-mirror serve --metrics",), ".",
          {"": f"{_ANSWERS}\nln -s w my-mirror"},
          {"serve --metrics": "serve --metrics --port 8080 &", "curl ": "answers "},
          needs=("curl",)),
]  # fmt: skip

# It needs a real server's bucket, and a program of others: tests/interop/test_cluster_page.py.
CLUSTER = Stage(
    "docs/scale.md",
    ("cnrmirror cluster certificates", "echo 'sources:", "env -u", "cnrmirror check --from s3://",
     "cnrmirror -C my-mirror publish"),
    ".",
    {"": "cnrmirror init my-mirror --store s3://site/registry"},
    {"s3://my-bucket": "s3://site", "--root root.json": "--root my-mirror/root.json",
     "s3://my-public-bucket/registry": "s3://site/public"},
    after="cnrmirror -C my-mirror show charts/nginx@1.2.0"
    " && cnrmirror -C my-mirror publish s3://site/public --audit",
)  # fmt: skip

# Its packages are signed by their maker: tests/interop/test_blocks.py has such ones.
SIGNED = Stage(
    "docs/trust.md", ("gpg --export",), "mirror",
    {"": "cnrmirror list --from https://mirror.example.com --root ../root.json",
     "cnrmirror pull charts/nginx --from https://mirror.example.com --cosign-key": "rm -r ns_a*"},
    {"maker@example.com": "tests@example.test", "charts/nginx": "ns/a"},
    "cnrmirror show ns/a --verify-provenance keyring.gpg 2>&1 | grep 'provenance: .* good'",
)  # fmt: skip
