# `make run` does the main job and `make test` runs the tests. Each makes or reuses .venv and installs only what pyproject.toml
# changed. Another interpreter: `make test PYTHON=python3.12 VENV=.venv-3.12`.
VENV := .venv
BIN := $(VENV)/bin
PYTHON :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test lint format clean

run: $(VENV)/core.stamp
	$(BIN)/semsim demo --out runs/demo

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest -n auto --dist loadfile --durations=15

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(VENV)/test.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# An interpreter counts when it runs, is 3.11 or newer and can make virtual environments (Debian splits that part off).
$(BIN)/python:
	@for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; \
	        exec "$$python" -m venv $(VENV); \
	    fi; \
	done; \
	echo "semsim needs Python 3.11 or newer with its venv module; install it, or name it: make PYTHON=/path/to/python" >&2; \
	exit 1

$(VENV)/core.stamp: pyproject.toml | $(BIN)/python
	@echo "installing semsim-jax into $(VENV)"
	@$(PIP) -e .
	@touch $@

$(VENV)/test.stamp: pyproject.toml | $(BIN)/python
	@echo "installing semsim-jax[test] into $(VENV)"
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/core.stamp
