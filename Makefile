# The commands for people and for CI. Everything is installed into .venv, and nothing elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FRAME := $(VENV)/.made setup.cfg pyproject.toml
# The tests start Python hundreds of times, so its modules must be kept compiled.
export PYTHONDONTWRITEBYTECODE :=
# One more than the machine has cores, because many tests wait for a socket.
WORKERS ?= $(shell expr 1 + $$(getconf _NPROCESSORS_ONLN))
PARALLEL = --numprocesses $(WORKERS) --dist worksteal
SECONDS ?= 10
SEED ?= 7
FILES ?=
SAMPLE ?= 30
# The authorization servers from npm for the tests. They are installed only if there is npm.
SERVERS := $(if $(shell command -v npm 2>/dev/null),$(patsubst %/package-lock.json,%/node_modules/.installed,\
	$(wildcard tests/servers/*/package-lock.json)))

.PHONY: help demo test ready soak fuzz lint format types docs examples build bench mutants clean

help:
	@echo 'make demo      show how a token is fetched, used again, revoked and renewed'
	@echo 'make test      run the tests with branch coverage; ARGS="-k name" selects some of them'
	@echo 'make soak      send requests from many threads and forks while servers fail, for SECONDS=10'
	@echo 'make fuzz      search for inputs that leak a secret or break a promise, for SECONDS=10'
	@echo 'make lint      check the rules and the format with ruff; make format corrects both'
	@echo 'make types     check the types with mypy and pyright'
	@echo 'make docs      build the documentation as a site, check its links and run its Python blocks'
	@echo 'make examples  run every example'
	@echo 'make build     build sdist and wheel, and try them in empty environments'
	@echo 'make bench     compare the cost of requests, imports and sessions; ARGS=--quick for a minute'
	@echo 'make mutants   change the code in SAMPLE=30 places of each of FILES, and see if a test fails'
	@echo 'make clean     remove all files that these commands create'

demo: $(VENV)/.demo
	@$(BIN)/python -m oauthcc demo

# "coverage run" is used instead of a pytest plugin, which would start after oauthcc is imported.
# With ARGS the tests run in one process, so that "--pdb" and "-s" work.
test:
	@$(MAKE) --no-print-directory -j2 ready
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(if $(ARGS),$(ARGS),$(PARALLEL))
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report $(if $(ARGS),--fail-under=0)

ready: $(VENV)/.test $(SERVERS)

soak: $(VENV)/.test
	$(BIN)/python benchmarks/soak.py --seconds $(SECONDS) --seed $(SEED)

fuzz: $(VENV)/.test
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.dev
	$(BIN)/mypy
	PYTHONPATH=. PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python \
		--verifytypes oauthcc --ignoreexternal

docs: $(VENV)/.docs
	rm -rf build/site
	$(BIN)/python -m sphinx --quiet --fail-on-warning --nitpicky docs build/site
	$(BIN)/python -m docs.links build/site
	$(BIN)/python -m pytest tests/test_docs.py tests/test_documentation.py

examples: $(VENV)/.test
	$(BIN)/python -m pytest tests/test_examples.py

# Both must work in empty environments, without the source tree: alone, with each extra, under the
# type checkers, and as a plugin of pytest.
build: $(VENV)/.dev
	rm -rf dist build/lib
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/try_packages.py dist

# With ARGS=--publish it writes benchmarks/README.md and the charts of the documentation.
bench: $(VENV)/.bench
	$(BIN)/python benchmarks/compare.py $(ARGS)

# It takes minutes for each file. A sample of 0 is every change.
mutants: $(VENV)/.dev
	$(BIN)/python tests/mutants.py --sample $(SAMPLE) --seed $(SEED) $(FILES)

clean:
	rm -rf $(VENV) build dist mutants *.egg-info .coverage .coverage.* .hypothesis \
		.mypy_cache .pytest_cache .ruff_cache tests/servers/*/node_modules

# Each of these files is created when an installation is complete. So a complete installation is
# not repeated, and an incomplete one is.
$(VENV)/.made:
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo: $(FRAME)
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	@touch $@

$(VENV)/.test: $(FRAME)
	$(BIN)/python -m pip install --quiet --editable '.[test,integrations]'
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: $(FRAME)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.dev: $(FRAME)
	$(BIN)/python -m pip install --quiet --editable '.[test,integrations,docs,dev]'
	@touch $@ $(VENV)/.test $(VENV)/.docs $(VENV)/.demo

$(VENV)/.docs: $(FRAME)
	$(BIN)/python -m pip install --quiet --editable '.[test,integrations,docs]'
	@touch $@ $(VENV)/.test $(VENV)/.demo

tests/servers/%/node_modules/.installed: tests/servers/%/package-lock.json
	cd tests/servers/$* && npm ci --no-audit --no-fund
	@touch $@
