# make demo: simulate, train, draw and look, in a fresh virtual environment. make tour: execute the
# notebook docs/tour.ipynb and store what it shows. make test: the tests.
PYTHON ?= python3
VENV ?= .venv
MAIN = $(VENV)/bin/python -m sgm_jax.main
RUN = $(MAIN) --config=configs/demo_sarm.py
DEMO = runs/demo

# Python 3.11 has one set of versions that were tested together; later ones take what pip finds.
CONSTRAINTS = $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info < (3, 12) else "")')

.PHONY: demo tour test lint clean

# The demo needs neither browsers nor linters.
$(VENV)/demo: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[sim,evaluation]'
	touch $@

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[dev]'
	touch $@

demo: $(VENV)/demo
	$(MAIN) --mode=sample --pretrained=lar64_sarm --num_samples=128 --samples_dir=$(DEMO)/lar64_sarm \
	    --config.sampling.rejection=lar64_sarm_discriminator:8
	@echo "Drawn with the weights of the package: $(DEMO)/lar64_sarm/grid.png. Now a training of five minutes."
	$(RUN) --mode=simulate
	$(RUN) --workdir=$(DEMO)
	$(RUN) --workdir=$(DEMO) --mode=sample --num_samples=128 --samples_dir=$(DEMO)/five_minutes
	$(VENV)/bin/python -m evaluation --out=$(DEMO)/report --overwrite --metrics=physics,ssnet \
	    --real=data/demo/test/larcv_png_64 --train=data/demo/train/larcv_png_64 \
	    --generated=$(DEMO)/lar64_sarm/samples.npz --name=lar64_sarm \
	    --generated_2=$(DEMO)/five_minutes/samples.npz --name_2=five_minutes
	@echo "Look at $(DEMO)/report/report.html, $(DEMO)/five_minutes/grid.png and $(DEMO)/metrics.jsonl"

tour: $(VENV)/installed
	$(VENV)/bin/python -m tests.tour

# Two processes: most of the time goes into compiling, which uses one core.
test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) build *.egg-info
