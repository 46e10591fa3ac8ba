# Everything runs in a virtual environment of its own; repeats only do what changed.
#   make run      check the example image (IMAGE=path for one's own)
#   make test     the test suite            make test-full   with the slow, exhaustive cases
#   make lint     style, types, layers      make format      let ruff rewrite the style
#   make bench    a few minutes, 64 GiB     make bench-full  2 TiB, docs/performance.md
PYTHON ?=
VENV ?= .venv
IMAGE ?= examples/damaged-l2.qcow2
BENCH ?=
PYTEST ?= -n 2

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
CODE := src tests benchmarks scripts examples

.PHONY: help setup run test test-full lint format bench bench-full clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(DEV_STAMP)

$(VENV)/bin/python:
	@scripts/make-venv.sh "$(VENV)" "$(PYTHON)"

$(RUN_STAMP): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEV_STAMP): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(RUN_STAMP)

# A verdict on the image (0 to 8) is an answer, so the run succeeded; anything else is a failure.
# Help comes first because an interpreter that cannot load the program exits with 1 as well.
run: $(RUN_STAMP)
	@$(BIN)/qcow2-dump --help >/dev/null
	@$(BIN)/qcow2-dump check "$(IMAGE)"; status=$$?; \
	if [ $$status -gt 8 ]; then echo "make run: qcow2-dump failed with $$status" >&2; exit 1; fi; \
	echo "make run: the check ran, exit status $$status"

test: $(DEV_STAMP)
	@scripts/ensure-tools.sh --all
	$(BIN)/python -m pytest $(PYTEST)

test-full: export QCOW2_DUMP_FULL = 1
test-full: test

lint: $(DEV_STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(RUN_STAMP)
	@scripts/ensure-tools.sh
	$(BIN)/python -m benchmarks.run --size 64G $(BENCH)

bench-full: $(RUN_STAMP)
	@scripts/ensure-tools.sh
	$(BIN)/python -m benchmarks.run --size 2T --document docs/performance.md $(BENCH)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -prune -exec rm -rf {} +
