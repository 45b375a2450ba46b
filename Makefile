# Each target sets up .venv in the checkout first, if need be. PYTHON chooses the interpreter (3.10 or newer).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo dev test screenshots lint docs bench clean
.DEFAULT_GOAL := demo

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv --upgrade-deps .venv || { echo "The venv module is missing: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# A realistic warehouse to a local Customer.io: sync, change the warehouse by a day, sync again, and say what happened.
demo: setup
	$(BIN)/python -m demo

# The same under the Dagster UI, at http://127.0.0.1:3000.
dev: setup
	$(BIN)/python -m demo.dev

test: .venv/test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(TESTS)

# The tests' warehouses are large; nothing else needs them.
.venv/test: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,warehouses,deployment,docs]'
	@touch $@

# The pictures of the documentation, taken anew by the browser tests.
screenshots: .venv/test
	CIO_BROWSER=required CIO_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The documentation as a site, in site/. A warning (a lost link, a name that does not exist) is an error.
docs: .venv/docs
	$(BIN)/mkdocs build --strict --quiet

.venv/docs: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

# What syncs take, beside peers and limits in the same run; BENCH="--rows 100000 --runs 2 --only people" for less, "--help" for the rest.
bench: .venv/bench
	$(BIN)/python -m benchmarks $(BENCH)

.venv/bench: .venv/ready
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

clean:
	rm -rf .venv .demo .bench site
