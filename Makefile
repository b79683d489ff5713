# Every target works from a fresh clone with nothing but Python 3.11 or newer. `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench bench-gpu bench-phases verify clean

BIN := .venv/bin
export PYTHON TORCH_FLAGS

help: ## list the targets
	@echo "Targets (each sets up its own .venv):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Settings: PYTHON=python3.12 picks the interpreter; TORCH_FLAGS='--index-url …' picks another build of torch;"
	@echo "          BROWSER=none leaves out the tests that need Chromium or Chrome."

demo: ## train a small network until it groks, and show its phases (about 2 minutes)
	@.ci/venv demo
	@$(BIN)/lightning-interp demo

test: ## run the tests: one of each check (about 12 minutes with installation)
	@.ci/venv test
ifeq ($(BROWSER),none)
	@echo "running the tests but those of pages, which need a browser; the slowest ones are listed at the end"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --durations=8 -m "not verify and not gpu and not browser"
else
	@.ci/browser
	@echo "running the tests; the slowest ones are listed at the end"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --durations=8
endif

check: ## lint, formatting, types and spelling
	@.ci/venv test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

docs: ## build the documentation into site/, warnings are errors
	@.ci/venv docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "documentation is in site/index.html"

bench: ## run every benchmark, one script per claim (about half an hour)
	@.ci/venv bench
	@set -e; for script in $(filter-out benchmarks/gpu.py,$(sort $(wildcard benchmarks/*.py))); do echo "== $$script"; $(BIN)/python $$script; done

bench-gpu: ## measure what needs a GPU, one table (under 10 minutes; VENV=none: with what PYTHON has installed)
ifeq ($(VENV),none)
	@PYTHONPATH=.$${PYTHONPATH:+:$$PYTHONPATH} $${PYTHON:-python3} benchmarks/gpu.py
else
	@.ci/venv bench
	@$(BIN)/python benchmarks/gpu.py
endif

bench-phases: ## score phase detection on the recorded pools of runs (a few minutes)
	@.ci/venv demo
	@mkdir -p site
	@$(BIN)/python benchmarks/phases/score.py --figure site/phase-scores.html

verify: ## run the full counts; goes on where it stopped (about 45 minutes)
	@.ci/venv test
	@$(BIN)/python -m pytest -v -n 2 -m verify --resume-file=verify-results/passed.json --durations=8

clean: ## remove .venv and everything built
	rm -rf .venv .venv.lock site build verify-results .pytest_cache .mypy_cache .ruff_cache .hypothesis
