# `make` lists the targets. Everything runs from .venv, which is made when it is needed.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# PYTHON=/path/to/python3 chooses one; else the first of these that runs and is Python 3.11 or 3.12.
PYTHON ?= python3.12 python3.11 python3 python
REQUIREMENTS := $(if $(GPU),requirements-gpu.txt,requirements.txt)
BIN := .venv/bin

# Variables that people set: DATA=path/to/VOC2012 INIT=weights STEPS=30 LIMIT=20 RUN_DIR=runs/mine SET="k=v k=v"
REPRODUCE := $(if $(DATA),--data "$(DATA)") $(if $(INIT),--init "$(INIT)") $(if $(STEPS),--steps "$(STEPS)") \
	$(if $(LIMIT),--limit "$(LIMIT)") $(if $(RUN_DIR),--run-dir "$(RUN_DIR)") $(if $(SET),--set $(SET))

REPRODUCTIONS := v1 v2 v3 v3plus v3plus-simplified

.PHONY: demo weights data check models compare report help setup setup-dev test test-full lint format results eval-all bench clean \
	$(addprefix reproduce-,$(REPRODUCTIONS))

help:  ## list the targets
	@grep -hE '^[a-z0-9%$$()_-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 30
	@echo
	@echo 'variables of the reproduce targets: DATA=folder INIT=weights STEPS=n LIMIT=n RUN_DIR=folder SET="key=value ..."'
	@echo 'without DATA the drawn sample set is used; GPU=1 before the first `make` installs the CUDA build'

setup: .venv/.installed  ## make .venv and install the pinned requirements

setup-dev: .venv/.installed-dev

.venv/bin/python:
	@for python in $(PYTHON); do \
		$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || continue; \
		$$python -m venv .venv && exit 0; rm -rf .venv; \
		echo "error: $$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; \
	done; echo 'error: none of "$(PYTHON)" is Python 3.11 or 3.12; set PYTHON=/path/to/python3.12'; exit 2

.venv/.installed: $(REQUIREMENTS) | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@

.venv/.installed-dev: requirements-dev.txt requirements-oracles.txt .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@grep -v '^#' requirements-oracles.txt | \
		xargs -n 1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 2>/dev/null || \
		echo 'note: not every oracle of requirements-oracles.txt could be installed; its tests will skip'
	@touch $@

reproduce-v1: setup  ## DeepLab-LargeFOV, VGG-16: train, evaluate with and without CRF, record, draw
reproduce-v2: setup  ## DeepLab v2, ResNet-101: train, evaluate, record, draw
reproduce-v3: setup  ## DeepLab v3, ResNet-50 with ASPP: train, evaluate at two output strides and many scales, record, draw
reproduce-v3plus: setup  ## DeepLab v3+, Xception-41 and -65 without and with decoder: four runs
reproduce-v3plus-simplified: setup  ## the simplified v3+, Keras' Xception and MobileNetV2 with ASPP from JSON: two runs
$(addprefix reproduce-,$(REPRODUCTIONS)): reproduce-%: setup
	$(BIN)/python -m reproductions.$(subst -,_,$*) reproduce $(REPRODUCE)

demo: setup  ## fetch MobileNetV2's VOC weights, segment two photographs or IMAGES="a.jpg folder/*.png", draw a sheet
	$(BIN)/python -m reproductions.v3plus.demo $(IMAGES) $(if $(OUT),--out "$(OUT)")

eval-all: setup  ## evaluate every known checkpoint by every protocol of its paper (trains missing sample runs); DATA=folder
	$(BIN)/python -m common.eval_all $(if $(DATA),--data "$(DATA)") $(if $(JOBS),--jobs "$(JOBS)")

results: setup  ## write results/RESULTS.md and the README's table from the records
	$(BIN)/python -m common.results

weights: setup  ## fetch, check and convert weights: NAME=deeplab_largefov (without NAME: the list)
	$(BIN)/python -m converters.fetch $(if $(NAME),"$(NAME)",--list) $(if $(OUT),--out "$(OUT)")

data: setup  ## fetch, check and prepare a data set: NAME=voc-aug (without NAME: the list; PARTIAL=1 takes a part)
	$(BIN)/python -m common.data.prepare $(if $(NAME),"$(NAME)",--list) $(if $(OUT),--out "$(OUT)") $(if $(FROM),--from "$(FROM)") \
		$(if $(PARTIAL),--allow-partial)

check: $(if $(DATA),setup)  ## look a data set over: DATA=folder or dataset.yaml
	@test -n "$(DATA)" || { echo 'error: say which: make check DATA=folder or dataset.yaml'; exit 2; }
	$(BIN)/python -m common.data.check "$(DATA)"

models: setup  ## write results/models.md: parameters, multiply-adds, receptive field of every network
	$(BIN)/python -m common.model_table --write

compare: setup  ## compare two evaluations: A=record B=record (DATA=folder OUT=folder draw the pictures)
	$(BIN)/python -m common.compare "$(A)" "$(B)" $(if $(OUT),--out "$(OUT)" --data "$(DATA)")

report: setup  ## write results/report/index.html: tables, curves, maps and pictures of all records; DATA=folder for photographs
	$(BIN)/python -m common.report $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)")

test: setup-dev  ## the tests (under 20 minutes on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-full: setup-dev  ## the long ones too
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "full or not full"

lint: setup-dev  ## ruff, check and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup-dev  ## measure speed, into results/bench.json
	$(BIN)/python -m tests.bench

clean:  ## remove .venv and caches; runs and data stay
	rm -rf .venv .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
