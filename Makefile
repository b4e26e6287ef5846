# `make run` tries Chronos on this machine; `make check` and `make test` are what CI calls.
PYTHON ?= $(shell for python in python3.12 python3.11 python3.13 python3; do \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null && echo "$$python" && break; done)
BIN := .venv/bin
# Each process that tests has Postgres, Redis and a data folder of its own.
PARALLEL := --numprocesses=auto --dist=worksteal

.PHONY: run install install-dev check test test-processes test-browser test-full test-next chaos bench format lock

run: install
	@exec $(BIN)/python manage.py up $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

install: .venv/installed

install-dev: .venv/installed-dev

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python with venv was found: install CPython 3.11 or 3.12." >&2; exit 1; }
	@$(PYTHON) chronos/embedded/platform_check.py
	@$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	@echo "Installing the pinned requirements …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/python -m compileall -q chronos videos
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

check: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	CHRONOS_ENV_FILE=/dev/null $(BIN)/python scripts/check_deployment.py

test: install-dev
	$(BIN)/pytest -m "not slow and not processes" $(PARALLEL)

# What starts services and workers as programs of their own: commands, brokers, the embedded services.
test-processes: install-dev
	$(BIN)/pytest -m processes $(PARALLEL)

# The pages, driven in Debian's Chromium.
test-browser: install-dev
	$(BIN)/pytest $(PARALLEL) tests/browser

test-full: install-dev
	$(BIN)/pytest $(PARALLEL)

# The app `videos` on a newer Django and Python than those that are pinned: what touches either.
NEXT_PYTHON ?= $(shell python3.12 -c 'import ensurepip, venv' 2>/dev/null && echo python3.12)
NEXT_DJANGO ?= 6.1
NEXT_TESTS := access admin admission checks commands control_room deletion engine events functions \
	pauses pipelines public_names retention runs search sending starting_many structure usage vectors

test-next:
ifeq ($(NEXT_PYTHON),)
	@echo "There is no Python 3.12 with venv: Django $(NEXT_DJANGO) is not tested. Name one by NEXT_PYTHON=."
else
	@$(NEXT_PYTHON) -m venv .venv-next
	@.venv-next/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@.venv-next/bin/pip install --quiet --disable-pip-version-check "django==$(NEXT_DJANGO).*"
	.venv-next/bin/pytest -m "not slow" $(PARALLEL) $(NEXT_TESTS:%=tests/test_%.py)
endif

chaos: install-dev
	$(BIN)/python -m tests.chaos $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed '$(SEED)')

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Ours beside what people would use instead. Nothing else should be at work; QUICK=1 only tries them, several at once.
BENCHMARKS = throughput connections recovery long_video histories idle_hops searching starting \
	decoding chunking vectors bulk
bench: .venv/installed-bench
	@printf '%s\n' $(BENCHMARKS) | xargs -P $(if $(QUICK),6,1) -I{} $(BIN)/python benchmarks/{}.py

.venv/installed-bench: requirements-bench.txt .venv/installed-dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

# Needs `uv`, which resolves for all supported Pythons at once.
lock:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header pyproject.toml requirements.in -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header -c requirements.txt pyproject.toml requirements-dev.in -o requirements-dev.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header -c requirements-dev.txt pyproject.toml requirements-bench.in -o requirements-bench.txt
