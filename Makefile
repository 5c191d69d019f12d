# make run    sets up and runs the daemon on an example folder
# make test   sets up and passes the tests, three at a time
# make training  adds what twinwatch-train needs
# make prove  injects every fault in full counts, for two hours or so; writes the table to proofs.md, soak.svg beside it
# make bench  sets every figure of speed beside its goal, for an hour or so; writes them to bench.json too
# make lint   style, types and the direction of imports
# sudo make install, sudo make uninstall: see systemd/install.mk

PYTHON ?= python3.11
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

# A folder that only looks like a virtual environment must not lead pip into the system's Python.
export PIP_REQUIRE_VIRTUALENV := 1

.PHONY: run test prove training bench lint clean

run: $(VENV)/.run
	@examples/start.sh $(BIN) $(CURDIR)/example

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 3 --dist worksteal

prove: $(VENV)/.test
	TWINWATCH_PROVE=1 $(BIN)/python -m pytest tests/faults --proofs proofs.md

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

training: $(VENV)/.training

bench: $(VENV)/.run
	PYTHONPATH=examples $(BIN)/python benchmarks/unit_cost.py
	PYTHONPATH=examples $(BIN)/python benchmarks/run_all.py --json bench.json

clean:
	@# Renamed first: what a deletion that is cut short leaves is not taken for a virtual environment.
	rm -rf $(VENV).old
	if test -e $(VENV); then mv $(VENV) $(VENV).old; fi
	rm -rf $(VENV).old example

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	$(PIP) -e .
	touch $@

$(VENV)/.test: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	$(PIP) -e '.[training,dev]'
	touch $@ $(VENV)/.run $(VENV)/.training

$(VENV)/.training: pyproject.toml constraints.txt $(VENV)/pyvenv.cfg
	$(PIP) -e '.[training]'
	touch $@ $(VENV)/.run

include systemd/install.mk
