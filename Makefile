# `make demo` and `make test` set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test quick lint check matrix coverage mutants fuzz bench sample lock screens hosts-table cloud-check docs documents tutorial dist clean

.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11.4 or newer is needed") if sys.version_info < (3, 11, 4) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $@

demo: .venv/ready
	$(BIN)/python -m tests.demo

# ARGS chooses what is run: the default is everything.
test: .venv/ready
	$(BIN)/python -m pytest -q $(ARGS)

# What needs no other program, on all processors.
quick: .venv/ready
	$(BIN)/python -m pytest -q -n auto -m "not interop"

# The last line: no white space at the end of a line or file, in all that git knows.
lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	git diff --check $$(git hash-object -t tree /dev/null)

check: lint test

matrix: .venv/ready
	.ci/matrix

# TESTS chooses what is run: the default is what `make quick` runs, and no other program is needed.
TESTS ?= -n auto -m "not interop"
coverage: .venv/ready
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -q --cov --cov-report= $(TESTS)
	$(BIN)/coverage html -q -d .coverage-html
	$(BIN)/coverage json -q -o .coverage.json
	$(BIN)/python -m tests.covered

.venv/mutants: .venv/ready
	$(BIN)/pip install --quiet -e '.[mutants]'
	touch $@

mutants: .venv/mutants
	$(BIN)/python -m tests.mutants

# What the scanner accepts, five readers of tar read alike. ARGS: --seed N, --count N.
fuzz: .venv/ready
	$(BIN)/python -m tests.fuzz.run $(ARGS)

bench: .venv/ready
	$(BIN)/python -m bench.build
	$(BIN)/python -m bench.reads
	$(BIN)/python -m bench.trust
	$(BIN)/python -m bench.sync
	$(BIN)/python -m bench.search
	$(BIN)/python -m bench.index
	$(BIN)/python -m bench.publish
	$(BIN)/python -m bench.table --write
	$(BIN)/python -m bench.startup --write
	$(BIN)/python -m bench.pages

sample: .venv/ready
	$(BIN)/python -m tests.sample

# The versions that the container and the GitHub action install: docs/recipes/container/lock.
lock:
	PYTHON=$(PYTHON) docs/recipes/container/lock $(ARGS)

# What every place must do, at a real one: PLACE=gs://bucket/prefix. Writes a few small objects there.
cloud-check: .venv/ready
	CNRMIRROR_PLACE=$(PLACE) .venv/bin/python -m pytest -q tests/cloud_check.py

# Pictures of the pages; docs/pages.png is one. Needs Chromium, and playwright in .venv.
screens: .venv/ready
	$(BIN)/python -m tests.screens .screens
	cp .screens/package-1440-light.png docs/pages.png

hosts-table: .venv/ready
	CNRMIRROR_HOSTS_TABLE=docs/hosts.md $(BIN)/python -m pytest -q tests/interop/test_hosts.py \
	  tests/interop/test_views.py tests/interop/test_pages.py tests/interop/test_today.py \
	  tests/interop/test_oci_clients.py

.venv/docs: .venv/ready
	$(BIN)/pip install --quiet -e '.[docs]'
	touch $@

# The site of the documents: open .docs/index.html.
docs: .venv/docs
	$(BIN)/sphinx-build -q -W --keep-going docs .docs

# What is made from the program: docs/api.md, configuration.md, json.md, schemas, manual pages.
documents: .venv/ready
	$(BIN)/python -m tests.openapi
	$(BIN)/python -m tests.documents

# Runs the tutorial's commands; writes docs/tutorial-transcript.txt and docs/terminal.svg.
tutorial: .venv/ready
	$(BIN)/python -m tests.tutorial
	$(BIN)/python -m tests.terminal

.venv/release: .venv/ready
	$(BIN)/pip install --quiet -e '.[release]'
	touch $@

# Wheel and source archive, the same bytes from the same commit; their components, their digests.
dist: .venv/release
	rm -rf dist .venv-dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --outdir dist . >/dev/null
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/pip install --quiet dist/*.whl
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
	  --output-file dist/cnrmirror.cdx.json .venv-dist
	cd dist && sha256sum * > SHA256SUMS

clean:
	rm -rf .venv .venv-* dist .demo .docs .fuzz .screens .coverage* mutants
