# make run    sets up and runs the daemon on an example folder
# make test   sets up and passes the tests
# make training  adds what twinwatch-train needs
# make bench  times search and scan side by side with what one would use instead
# make lint   style, types and the direction of imports
# sudo make install, sudo make uninstall: see systemd/install.mk

PYTHON ?= python3.11
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: run test training bench lint clean

run: $(VENV)/.run
	@examples/start.sh $(BIN) $(CURDIR)/example

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

training: $(VENV)/.training

bench: $(VENV)/.run
	PYTHONPATH=examples $(BIN)/python benchmarks/search.py
	PYTHONPATH=examples $(BIN)/python benchmarks/scan.py

clean:
	rm -rf $(VENV) example

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[training,dev]'
	touch $@ $(VENV)/.run $(VENV)/.training

$(VENV)/.training: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) -e '.[training]'
	touch $@ $(VENV)/.run

include systemd/install.mk
