# Everything a contributor runs. Each target sets up the virtual environment it needs.

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
WORKERS = 2

# One thread a process: the tests' models are tiny, and the workers share the cores.
ONE_THREAD = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: demo test test-console nightly lint wheel

demo: $(INSTALLED)
	$(BIN)/revisor demo

test: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope

# Needs a browser: apt-get install chromium, or one named in CHROMIUM. SCREENSHOTS=folder keeps pictures.
test-console: $(INSTALLED)
	$(PIP) playwright==1.65.2
	$(ONE_THREAD) $(BIN)/python -m pytest tests_console

nightly: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest -m nightly --timeout 3600

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

wheel: $(INSTALLED)
	$(BIN)/python -m build

# torch first, alone and exact: what comes after would otherwise choose another build of it.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $(INSTALLED)
