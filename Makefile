# make demo: simulate, train, draw and look, in a fresh virtual environment. make test: the tests.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python -m sgm_jax.main --config=configs/demo.py

# Python 3.11 has one set of versions that were tested together; later ones take what pip finds.
CONSTRAINTS = $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info < (3, 12) else "")')

.PHONY: demo test lint clean

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	touch $@

demo: $(VENV)/installed
	$(RUN) --mode=simulate
	$(RUN)
	$(RUN) --mode=sample
	@echo "Look at runs/demo/samples/step_*/grid.png and at runs/demo/metrics.jsonl"

# Two processes: most of the time goes into compiling, which uses one core.
test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info
