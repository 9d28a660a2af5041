# Everything a developer does, by name. `make setup` first; the other targets bring it along.

PYTHON ?= python3
BIN := .venv/bin
# One more than two cores have: many tests wait for a disk or for a process of their own.
TEST_PROCESSES := -n 3 --dist worksteal
STAMP := .venv/.setup-stamp
# One file a question; the others in the folder are what they share.
BENCHMARKS := $(patsubst benchmarks/%.py,%,$(shell grep -l '__main__' benchmarks/*.py 2>/dev/null))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup serve demo test test-slow check bench wheel clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed; name one, as in: make setup PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

serve: $(STAMP) ## run the service on 127.0.0.1:8300, or as RECOLLECT_* say
	$(BIN)/recollect serve

demo: $(STAMP) ## import this repository into a service of its own, and recall from it
	$(BIN)/python -m recollect.service.demo

# pytest ends with 5 when it finds no test at all, which is not a failure of any.
test: $(STAMP) ## run the tests, in random order
	$(BIN)/pytest $(TEST_PROCESSES) $(ARGUMENTS) || test $$? -eq 5

test-slow: $(STAMP) ## run the slow tests: faults, kills, soaks, and the suite on engines and servers
	$(BIN)/pytest --slow -m slow $(TEST_PROCESSES) $(ARGUMENTS) || test $$? -eq 5

check: $(STAMP) ## lint, check the format, the types and the layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy -p recollect.adapters -p recollect.embeddings -p recollect.service
	$(BIN)/mypy hatch_build.py tests benchmarks
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP) ## run the benchmarks, which write tables, JSON and plots to benchmarks/results
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done
	$(BIN)/python -m benchmarks.choosing README.md docs/backends.md

wheel: $(STAMP) ## build the wheel into dist
	$(BIN)/python -m build --wheel

clean: ## remove what was built, but not .venv
	rm -rf dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
