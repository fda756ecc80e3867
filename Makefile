# Everything that a person or CI does with this repository. `make` alone lists it.
# Needs: Linux, make, Python 3.11 with venv; root and Debian's packages for the embedded cluster (demo, test, cluster, bench).

PYTHON := .venv/bin/python
UV := .tools/uv/bin/uv
UV_VERSION := 0.13.9
export PYTHONPATH := operator:serving:dev
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help demo test check fast cluster cluster-down cluster-cycle faults training images bench crds venv

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.synced ## The whole story on real flights, on a real cluster (first time: about 20 minutes on two cores; then about five)
	@$(PYTHON) -m demo

test: .venv/.synced ## All suites: first those that need no cluster, then those that do (cluster-cycle: in CI only; faults whole, by its own name)
	@$(PYTHON) -m suites test

check: .venv/.synced ## Lint, format, types, layers, generated files, guards
	@$(PYTHON) -m suites check

fast: .venv/.synced ## check, and the suites that need no cluster
	@$(PYTHON) -m suites test --fast

cluster: .venv/.synced ## Start the embedded cluster, or mend it
	@$(PYTHON) -m cluster up

cluster-down: .venv/.synced ## Remove the embedded cluster without a trace (its build cache stays)
	@$(PYTHON) -m cluster down

cluster-cycle: .venv/.synced ## Prove that the cluster goes down cleanly and comes up again, killed on the way (3 minutes; empties it)
	@$(PYTHON) -m pytest tests/cluster/cycle_provisioner.py -q -s

faults: .venv/.synced ## Kill the operator before and after each write of a rollout (2 hours, goes on where it was cut short; FAULTS_PART=2/4: a quarter; FAULTS_SEED=7: a seed's eight)
	@$(PYTHON) -m cluster up
	@FAULTS_POINTS=$(if $(FAULTS_SEED),drawn,all) FAULTS_SEED=$(FAULTS_SEED) $(PYTHON) -m suites test --only faults

training: .venv/.synced ## Triggers, sources, gates, nodes, lineage and smoke runs on the cluster (a quarter of an hour)
	@$(PYTHON) -m cluster up
	@$(PYTHON) -m cluster push
	@$(PYTHON) -m suites test --only training

images: .venv/.synced ## Build the project's images and push them to the cluster's registry
	@$(PYTHON) -m cluster push

bench: .venv/.synced ## Benchmarks on the embedded cluster; the figures go to docs/ (ONLY=detection: that one; ONLY=simulation and ONLY=data: no cluster)
	@$(if $(filter-out simulation data,$(or $(strip $(ONLY)),all)),$(PYTHON) -m cluster up,true)
	@PYTHONPATH=$(PYTHONPATH):tests $(PYTHON) -m benchmarks $(ONLY)

crds: .venv/.synced ## Write crds/, the CRD chart, the dashboard, the ConfigMap for Argo CD, docs/api.md and docs/cli.md from the code
	@$(PYTHON) -m perennial.api.crd
	@$(PYTHON) -m perennial.cli.reference
	@$(PYTHON) -m dashboard
	@$(PYTHON) -m argocd

venv: .venv/.synced ## The virtual environment, from uv.lock

.venv/.synced: pyproject.toml uv.lock | $(UV)
	@echo "virtual environment: installing from uv.lock"
	@$(UV) sync --quiet --frozen --all-extras
	@touch $@

$(UV):
	@echo "uv: installing $(UV_VERSION) into .tools"
	@python3 -m venv .tools/uv || { \
	  echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || exit 1; \
	  apt-get install --yes --no-install-recommends python3-venv && rm -rf .tools/uv && python3 -m venv .tools/uv; }
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
