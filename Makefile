# make demo    set up .venv and draw the demo picture
# make test    set up .venv and run the tests
# make lint    ruff and mypy
# make test-oldest, make test-newest
#              run the tests on the oldest versions that are claimed, and on the newest of everything;
#              PYTHON_OLDEST and PYTHON_NEWEST name their interpreters
# make test-peers
#              run real models of timm, torchvision, transformers and OpenMMLab; installs 6 GB
# make fuzz    feed every reader damaged and hostile files for TIME seconds (300)
# make bench   measure speed beside MMEngine and MMYOLO, for an idle machine

VENV := .venv
JOBS := 2
PYTHON_OLDEST := python3.9
PYTHON_NEWEST := python3.13
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-oldest test-newest test-peers lint fuzz bench clean

demo: $(INSTALLED)
	$(PYTHON) demo/featmap_vis_demo.py demo/demo.jpg configs/demo/yolov5_n_demo.py demo/yolov5_n_demo.pth --target-layers neck --channel-reduction squeeze_mean

# One thread a worker: more would wait for one another.
test test-oldest test-newest test-peers: export OMP_NUM_THREADS = 1

test: $(INSTALLED)
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile

test-oldest:
	$(PYTHON_OLDEST) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint requirements/oldest.txt --editable '.[tests]'
	$(VENV)-oldest/bin/python -m pytest -n $(JOBS) --dist loadfile

test-newest:
	$(PYTHON_NEWEST) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[tests]'
	$(VENV)-newest/bin/python -m pytest -n $(JOBS) --dist loadfile

test-peers:
	python3 -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --editable '.[peers]'
	$(VENV)-peers/bin/python -m pytest -n $(JOBS) --dist loadfile -m peers tests/peers

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
$(INSTALLED): pyproject.toml requirements/constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --constraint requirements/constraints.txt --editable '.[tests,lint]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-peers build output .mypy_cache .ruff_cache *.egg-info
