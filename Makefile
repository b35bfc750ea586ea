# Two commands do everything: `make start` (set up, then the demo line) and `make test` (set up, then every check).
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Where there is no GPU: TORCH_INDEX=<index of CPU wheels> installs PyTorch's CPU build, several GB smaller.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
WORKERS ?= 2

.PHONY: install install-dev start test check browser lint format label-studio lock clean

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "adline needs Python 3.11-3.13, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: constraints.txt | $(VENV)/bin/python
	@echo "installing PyTorch (large; see TORCH_INDEX in the README)"
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch torchvision
	@touch $@

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/.torch
	@echo "installing adline with its demo images"
	$(PIP) install -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what the checks need"
	$(PIP) install -c constraints.txt -e '.[demo,dev]'
	@touch $@

start: install
	$(BIN)/adline start

test: check

check: install-dev browser lint label-studio
	$(BIN)/python -m pytest -n $(WORKERS)

# The operator's pages are tested in a real Chromium; installed here where we may.
browser:
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing Chromium"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	else \
		echo "the tests need Chromium: sudo apt-get install chromium" >&2; exit 1; \
	fi

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The export for Label Studio, read by its own converter, which cannot be installed beside adline: 5 seconds, and the first
# time what its download takes. From then on without a network.
LABEL_STUDIO := run --no-project --isolated --with label-studio-sdk==2.1.2 python

label-studio: install-dev
	rm -rf build/label-studio && mkdir -p build/label-studio
	$(BIN)/python -m tests.peers.write_labels build/label-studio
	@$(BIN)/uv --offline --quiet $(LABEL_STUDIO) -c "" 2>/dev/null || $(BIN)/uv $(LABEL_STUDIO) -c ""
	$(BIN)/uv --offline $(LABEL_STUDIO) tests/peers/label_studio.py build/label-studio

# The versions that are really installed; universal: one file for every supported Python and platform.
lock: install-dev
	$(BIN)/uv pip compile --universal --no-header --python-version 3.11 --extra demo --extra dev pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
