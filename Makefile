# Pnyx: `make demo` and `make test` each do all their own set-up on a fresh machine.
# CPU-only torch where your default index serves CUDA builds:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RAY_STAMP := $(VENV)/.ray-installed

.PHONY: demo test test-full check format bench evaluation clean lock setup

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Pnyx needs Python 3.11 or newer; run: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $$(grep '^torch==' requirements.lock)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# For one test, which is skipped where this fails: not every platform has a wheel of Ray.
$(RAY_STAMP): requirements-ray.lock $(STAMP)
	@if $(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps -r $<; \
	then touch $@; else echo "Ray cannot be installed here: the test of 'pnyx simulate --ray' is skipped."; fi

demo: setup
	$(BIN)/pnyx demo

# One thread for numpy: the tests are the parallelism, and a pool that one of them starts outlives it.
test: export OPENBLAS_NUM_THREADS := 1
test: setup $(RAY_STAMP)
	$(BIN)/python -m pytest -n auto -m "not full" --ignore tests/simulation --cov --cov-report=term:skip-covered
	$(BIN)/python -m pytest -n auto -m "not full" tests/simulation  # thousands of runs: not traced

test-full: setup $(RAY_STAMP)
	$(BIN)/python -m pytest -n auto

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_docs.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Every figure of docs/evaluation.md: scenarios, with pages, then the benchmarks that it has tables of,
# one by one since they are timed, then the tables. Interrupted, it goes on where it was.
SCENARIOS := $(sort $(wildcard scenarios/*.toml))
QUOTED := population cohort learning
evaluation: setup
	@number=0; for scenario in $(SCENARIOS); do \
		name=$$(basename $$scenario .toml); number=$$((number + 1)); \
		echo "Scenario $$number of $(words $(SCENARIOS)): $$name"; \
		$(BIN)/pnyx simulate $$scenario --out evaluation/$$name || exit 1; \
	done
	@echo "Benchmarks: $(QUOTED)"
	@$(MAKE) --no-print-directory -j1 $(QUOTED:%=bench-out/%.json)
	@echo "Tables: docs/evaluation.md"
	@$(BIN)/python -m benchmarks.evaluation

# A result is of the code as it was then: whatever is newer asks for another.
bench-out/%.json: $(shell find src benchmarks -name '*.py') | setup
	@$(BIN)/python -m benchmarks $* > /dev/null

# LONG=1: with the large sizes and the growth curves too.
bench: setup
	$(BIN)/python -m benchmarks $(if $(LONG),--long)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage*
