# Main targets: `make run` and `make test`. Both first build .venv from the hash-locked requirements.
# Another interpreter: `make clean`, then `make PYTHON=python3.12 run`. Other flags: `make run RUN="--study my.toml"`.
PYTHON ?= python3
RUN ?= --study mnist --trials 50

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv --no-config pip compile pyproject.toml --group build --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet

.PHONY: run test test-large lint format docs bench lock clean

run: .venv/run.stamp
	$(BIN)/python -m harness.run $(RUN)

# Several processes keep two cores busy while tests wait for browsers, databases and other processes. One thread each is
# enough.
test test-large: export TF_NUM_INTRAOP_THREADS = 1
test test-large: export TF_NUM_INTEROP_THREADS = 1
test test-large: export OMP_NUM_THREADS = 1
test test-large: export OPENBLAS_NUM_THREADS = 1
# In memory pages of 2 MiB they take half as long on a virtual machine for which a fault in one of 4 KiB is expensive. The
# large tests would keep too much: a process of them grew to 8 GB.
test: export GLIBC_TUNABLES = glibc.malloc.hugetlb=1
test: export PYTHONMALLOC = malloc
# Dozens of processes import the same modules: what one has compiled serves the others, whatever the user's setting.
test test-large: export PYTHONDONTWRITEBYTECODE =
test: .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses 3 -m "not large"

test-large: .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses 3 -m large

lint: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Material announces its successor at each build.
docs: .venv/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "the site is in build/site: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site"

bench: .venv/dev.stamp
	@for name in $(filter-out apart record table curves hypervolume photos plain_model prediction formats spaces,$(basename $(notdir $(wildcard benchmarks/[a-z]*.py)))) table; do \
		{ echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit; }; done

# Update the locks to the newest releases that pyproject.toml allows.
lock: .venv/bin/python
	$(PIP) uv
	$(COMPILE) --upgrade --output-file requirements.txt
	$(COMPILE) --upgrade --extra dev --constraint requirements.txt --output-file requirements-dev.txt

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps record what is installed; they are out of date when a lock or pyproject.toml changes.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/run.stamp: requirements.txt pyproject.toml | .venv/bin/python
	$(PIP) --require-hashes --requirement requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

.venv/dev.stamp: requirements-dev.txt .venv/run.stamp
	$(PIP) --require-hashes --requirement requirements-dev.txt
	touch $@
