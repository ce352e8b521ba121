# make demo   the simulated street through the real node, about a minute; leaves demo/montage.png and demo/recording.mcap
# make test   lint and every test, two at a time; the longest ones in part
# make test-long   the same, with all of the longest ones (an hour)
# make soak   ten minutes of full load on the node, which must stay the same; leaves soak/soak.json and soak/soak.png
# make gpu    on a CUDA machine, ten minutes: its tests, half precision, times, memory, training; leaves gpu/gpu.json and gpu.txt
# make lint   ruff and mypy alone
# make docs   renews the tables of docs/parameters.md
# make model  renders the streets and trains models/street's successor into runs/lite0_stage7 (hours on a CPU, resumes)
# make overfit  learns eight frames by heart: PQ 95 and absRel 0.03 or better, or the losses are broken (half an hour)
# make setup  the environment alone (the others call it)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes of `make test`; each has a ROS domain of its own.
JOBS ?= 2

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.PHONY: help setup demo test test-long soak gpu lint docs model overfit
.DEFAULT_GOAL := help

help:
	sed -n 's/^# \(make .*\)/\1/p' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.packages $(VENV)/.system

demo: setup
	$(BIN)/dvps demo

test: lint
	$(BIN)/pytest -q -n $(JOBS) --dist loadfile

test-long: lint
	DVPS_SLOW_TESTS=1 $(BIN)/pytest -q

soak: setup
	$(BIN)/dvps soak

gpu: setup
	$(BIN)/python -m dvps_ros.benchmarks.gpu --out gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

docs: setup
	$(BIN)/python test/parameter_tables.py

# A shell function: trains into a folder, goes on with an interrupted run there, and does nothing after a finished one.
TRAIN := train() {
TRAIN += if [ -e "$$1/finished" ]; then return; fi;
TRAIN += $(BIN)/dvps train --out "$$@" $$(if [ -e "$$1/last.ckpt" ]; then echo --resume; fi) && touch "$$1/finished"; }

# Rendering skips the streets that are there. To train again, delete the folders of the stages.
model: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[imagenet]'
	$(BIN)/dvps render --config config/street.yaml --out data/street --split train --sequences 500 --frames 4
	$(BIN)/dvps render --config config/street.yaml --out data/street --split val --sequences 15 --frames 4 --seed 5000
	$(BIN)/dvps render --config config/street_heldout.yaml --out data/own --split train --sequences 820 --frames 2 --seed 20000
	$(BIN)/dvps render --config config/street_low.yaml --out data/low --split train --sequences 80 --frames 3 --seed 41000
	$(BIN)/dvps render --config config/street_wide.yaml --out data/wide --split train --sequences 130 --frames 3 --seed 42000
	$(BIN)/dvps render --config config/street_heldout.yaml --out data/heldout --split val --sequences 75 --frames 4
	$(TRAIN)
	train runs/resnet1 --config config/street_stage1.yaml
	train runs/resnet2 --config config/street_stage2.yaml --init runs/resnet1/model
	train runs/resnet3 --config config/street_stage3.yaml --init runs/resnet2/model
	lite0() { train runs/lite0_stage$$1 --config config/street_rigs.yaml config/lite0_stage$$1.yaml "$${@:2}"; }
	lite0 1 --init runs/resnet3/model --init-partial
	lite0 2 --init runs/lite0_stage1/model
	lite0 3 --init runs/lite0_stage2/model
	lite0 4 --init runs/lite0_stage3/model --init-partial
	lite0 5 --init runs/lite0_stage4/model
	lite0 6 --init runs/lite0_stage5/model
	lite0 7 --init runs/lite0_stage6/model
	$(BIN)/dvps evaluate --model runs/lite0_stage7/model --data data/heldout --json runs/lite0_stage7/heldout.json

# The same eight frames to learn from, to validate on and to measure.
overfit: setup
	$(BIN)/dvps render --config config/overfit_street.yaml --out data/overfit --split train --sequences 8 --frames 1
	ln -sfn train data/overfit/video_sequence/val
	$(TRAIN)
	train runs/overfit --config config/overfit.yaml
	$(BIN)/dvps evaluate --model runs/overfit/model --data data/overfit --json runs/overfit/overfit.json

# The stamp is written last: an interrupted installation is taken up again by the next make.
$(VENV)/.packages: constraints.txt setup.py setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
	    { echo "dvps_ros needs python3 3.10 or newer; choose one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null ||
	    { echo "python3 cannot make virtual environments; run: sudo apt-get install python3-venv" >&2; exit 1; }
	echo "Setting up .venv: PyTorch, ROS 2 Jazzy, MuJoCo. A few minutes and some GB, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ros,train,sim,test]'
	touch $@

# Headless rendering needs EGL and a driver: trying is the only test that fits Mesa and every vendor's.
OPEN_EGL := MUJOCO_GL=egl $(BIN)/python -c 'import mujoco; mujoco.GLContext(16, 16).free()' >/dev/null 2>&1
EGL_PACKAGES := libegl1 libgl1-mesa-dri

$(VENV)/.system: $(VENV)/.packages
	if ! $(OPEN_EGL); then
	    if [ "$$(id -u)" = 0 ]; then as_root=env; else as_root="sudo -n"; fi
	    if command -v apt-get >/dev/null && $$as_root true 2>/dev/null; then
	        echo "Installing $(EGL_PACKAGES) for headless rendering."
	        log=$$(mktemp)
	        { $$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive \
	            apt-get install -qq -y $(EGL_PACKAGES); } >$$log 2>&1 || tail -n 3 $$log >&2
	        rm -f $$log
	    fi
	    $(OPEN_EGL) || { echo "Headless rendering needs EGL; run: sudo apt-get install $(EGL_PACKAGES)" >&2; exit 1; }
	fi
	touch $@
