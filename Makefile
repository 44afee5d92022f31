PYTHON ?= python

.PHONY: format format-check lint type test commit-checks

format:  ## rewrite the code in the project's style
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

format-check:
	$(PYTHON) -m ruff format --check .

lint:
	$(PYTHON) -m ruff check .

type:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -q -n 2

commit-checks: format-check lint type test  ## everything a commit must pass
