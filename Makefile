# Every target sets up what it needs. `make` alone lists them.
PYTHON ?= python3
OUT ?= out
SEED ?= 0
BUNDLE ?= $(OUT)/bundle
ENGINES ?=
DATA ?=
TEACHER ?=
DEVICE ?=
MAX_LATENCY_MS ?= 5
MIN_RELATIVE_ACCURACY ?=
TIME ?= 1h
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
# Where pip puts the program of a package that it installs for one user.
export PATH := $(PATH):$(shell $(PYTHON) -m site --user-base)/bin
# Compiled modules are kept, whatever the shell says: a target starts many processes, and each would compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup uv demo demo-segmentation demo-depth distill export bench report ship app app-check app-test test check format perf gpu-check lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv from requirements.lock

uv:
	@command -v uv >/dev/null || $(PYTHON) -m pip install --quiet --user uv || $(PYTHON) -m pip install --quiet --user --break-system-packages uv

$(READY): requirements.lock | uv
	@echo "installing the locked packages into $(VENV) (several GB the first time)"; \
	uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
	uv pip sync --quiet --require-hashes --python $(RUN) requirements.lock && touch $(READY)

demo: distill export bench report ## teacher, student, all formats, benchmark and report page on the embedded data

demo-segmentation demo-depth: $(READY) ## the same walk for masks (echo chambers) and for depth (rooms), on embedded data
	$(RUN) -m distill run $@ --resume --set seed=$(SEED) --out $(OUT)/runs/$@
	$(RUN) -m export $(OUT)/runs/$@ --allow-loss --out $(OUT)/artifacts/$@
	$(RUN) -m export $(OUT)/runs/$@/teacher --format eager,onnx --precision fp32 --out $(OUT)/artifacts/$@-teacher
	$(RUN) -m bench $(OUT)/artifacts/$@ $(OUT)/artifacts/$@-teacher --device cpu --out $(OUT)/$@.measurements.jsonl
	$(RUN) -m bench report --measurements $(OUT)/$@.measurements.jsonl --out $(OUT)/$@.html

distill: $(READY) ## train the demo's teacher and student
	$(RUN) -m distill run demo --resume --set seed=$(SEED) --out $(OUT)/runs/demo

export: distill ## convert the student to every format and the teacher to its base formats
	$(RUN) -m export $(OUT)/runs/demo --parity-images 2400 --out $(OUT)/artifacts/demo
	$(RUN) -m export $(OUT)/runs/demo/teacher --format eager,onnx --precision fp32 --parity-images 2400 --out $(OUT)/artifacts/demo-teacher

bench: export ## measure every artifact on this machine's CPU
	$(RUN) -m bench $(OUT)/artifacts --device cpu --out $(OUT)/measurements.jsonl

report: $(READY) ## turn the measurements into one HTML page
	$(RUN) -m bench report --measurements $(OUT)/measurements.jsonl --out $(OUT)/report.html

ship: $(READY) ## the whole loop: DATA= TEACHER= DEVICE= MAX_LATENCY_MS= MIN_RELATIVE_ACCURACY= TIME= SHIP="more options"
	$(RUN) -m android_demo ship --seed $(SEED) --max-latency-ms $(MAX_LATENCY_MS) --time $(TIME) --out $(OUT)/ship \
		$(if $(DATA),--data "$(DATA)") $(if $(TEACHER),--teacher "$(TEACHER)") $(if $(DEVICE),--device $(DEVICE)) \
		$(if $(MIN_RELATIVE_ACCURACY),--min-relative-accuracy $(MIN_RELATIVE_ACCURACY)) $(SHIP)

app: $(READY) ## the demo app with the runtimes its models need (needs Gradle and an Android SDK)
	PYTHON=$(abspath $(RUN)) android_demo/app.sh $(BUNDLE) $(ENGINES)

app-check: $(READY) ## build the demo app with Debian's tools alone, verify it, and look at it as a store does
	PYTHON=$(abspath $(RUN)) android_demo/check.sh

app-test: $(READY) ## the demo app's tests on the JVM
	PYTHON=$(abspath $(RUN)) android_demo/test.sh

test: $(READY) uv ## run the tests, in two processes side by side
	$(RUN) -m pytest --numprocesses 2 --dist worksteal

check: $(READY) ## lint, formatting and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright

format: $(READY) ## format the code
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

perf: $(READY) ## benchmarks, as ratios measured side by side
	$(RUN) -m tests.performance

lock: uv ## resolve pyproject.toml into requirements.lock again
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --all-extras \
		pyproject.toml --output-file requirements.lock

clean: ## remove everything that was made, but not the environment
	rm -rf $(OUT)
