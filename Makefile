# make demo    set up .venv and draw the demo picture
# make test    set up .venv and run the tests
# make lint    ruff and mypy
# make fuzz    feed every reader damaged and hostile files for TIME seconds (300)
# make bench   measure speed beside MMEngine and MMYOLO, for an idle machine

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint fuzz bench clean

demo: $(INSTALLED)
	$(PYTHON) demo/featmap_vis_demo.py demo/demo.jpg configs/demo/yolov5_n_demo.py demo/yolov5_n_demo.pth --target-layers neck --channel-reduction squeeze_mean

test: $(INSTALLED)
	$(PYTHON) -m pytest

TIME := 300
fuzz: $(INSTALLED)
	$(PYTHON) -m pytest tests/test_fuzz.py --fuzz-seconds $(TIME) -rP

lint: $(INSTALLED)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

bench: $(INSTALLED)
	$(PYTHON) tools/benchmark.py

# Once set up, only a change of what is required installs again.
$(INSTALLED): pyproject.toml setup.py requirements/constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint requirements/constraints.txt --editable '.[tests,lint]'
	touch $@

clean:
	rm -rf $(VENV) build output .mypy_cache .ruff_cache *.egg-info
