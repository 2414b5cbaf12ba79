# PROFILE is a name in asteroid/profiles/: smoke, laptop, md17 or paper.
PROFILE ?= laptop
PYTHON ?= python3

# Another environment that happens to be active, conda's or a venv, must not leak into .venv.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX
export PYTHONNOUSERSITE = 1
export ASTEROID_PROFILE = $(PROFILE)

BIN = .venv/bin
INSTALLED = .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help venv book check-pages test results paper-plan lint bench clean

help: ## this list (at once)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile
	@echo 'PROFILE=smoke|laptop|md17|paper says how much "book" and "results" compute; laptop is the default.'

venv: $(INSTALLED) ## .venv with everything that the other targets need (2 to 10 minutes, once)

book: $(INSTALLED) ## run the stale notebooks, render book/_build/html (3 to 5 minutes with the committed records)
	$(BIN)/jupyter-book build -W -n --keep-going book/

check-pages: $(INSTALLED) ## the built book: links, no network, and every page in Chromium, if installed (1 minute)
	$(BIN)/python tests/pages.py

test: $(INSTALLED) ## all tests, by two processes (4 to 5 minutes, installation apart)
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

results: $(INSTALLED) ## make the run records that are missing, resumable (laptop: nothing to do, or 5 to 6 hours if deleted)
	$(BIN)/python -m asteroid sweep --profile $(PROFILE)

paper-plan: $(INSTALLED) ## the runs of the paper profile and the hours they would take; makes none (seconds)
	$(BIN)/python -m asteroid plan --profile paper

lint: $(INSTALLED) ## ruff, notebooks without outputs, spelling (seconds)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	find notebooks -name '*.ipynb' -exec $(BIN)/nbstripout --verify --keep-id {} +
	$(BIN)/codespell asteroid/*.py asteroid/*/*.py benchmarks/*.py book/*.md book/_ext notebooks tests/*.py *.md

bench: $(INSTALLED) ## time of one training step, eager, traced and compiled (most of an hour, compiling)
	$(BIN)/python benchmarks/training_step.py

clean: ## remove what was built: pages, book, caches; keeps .venv and all records (at once)
	rm -rf book/_build book/pages .pytest_cache .ruff_cache build *.egg-info
	find asteroid tests book benchmarks notebooks -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'asteroid needs Python 3.11 or newer, and "$(PYTHON)" is' \
	       "$$($(PYTHON) --version 2>&1 || true). Try: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[baselines,cluster,dev,exports,labels]'
	@touch $@
