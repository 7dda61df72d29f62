# recmesh: `make help` lists what there is.

DATASET ?= ta_feng
MODE ?= compact
BACKEND ?= $(or $(RECMESH_RANK_BACKEND),onnx)
SERVICE ?=
FOLLOW ?=
TLS ?=
WHAT ?= certificates
TESTS ?= tests/unit tests/packaging tests/component tests/contract tests/clients tests/train tests/mesh tests/explorer tests/observe tests/paddle_serving tests/local tests/chart
# Half of the time, a worker waits for a server to start or for a deadline.
WORKERS ?= 3
MUTANTS ?= 200
SEED ?= 1
MODULES ?=
IMAGES ?=
PROVENANCE ?=
INTO ?=
CHECK ?=
SECURITY_DB ?=
SBOMS ?=
KEY ?=
UPGRADE ?=

# The first interpreter that runs and is of a version that all requirements have wheels for.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& { command -v $$python; break; }; done)

# A value as one word of the shell. $(value NAME) keeps a $ in what the user gave.
quoted = '$(subst ','\'',$(1))'

BIN := .venv/bin
ENVIRONMENTS = python=$(call quoted,$(PYTHON)); test -n "$$python" || { echo $(NO_PYTHON) >&2; exit 2; }; exec "$$python" -m local.environments
NO_PYTHON := 'recmesh: no Python 3.10 to 3.12 found: install python3.11, or set PYTHON=/path/to/it'
LOCAL := test -x $(BIN)/python || { echo 'nothing was ever started here; make up does'; exit 0; }; exec $(BIN)/python -m local
CODE := recmesh services jobs local benchmarks tests docker charts examples client.py
CLUSTER_TESTS = PATH="$$PWD/$(BIN):$$PATH" $(BIN)/python -m pytest -s

.DEFAULT_GOAL := help
.PHONY: help up retrain rotate down status logs clean test test-long check protos bench bench-faults lock environments \
	environments-dev helm images sbom sign pins digests check-security values telemetry cluster-smoke cluster-test mutants dashboards \
	prometheus observe
.SILENT:

help: ## List the targets
	echo 'Usage: make TARGET [NAME=value]'
	awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: environments ## Bring the mesh up and show recommendations. DATASET= folder or name (docs/datasets.md); MODE= compact, services; BACKEND= onnx, paddle-serving; TLS=1 with certificates
	exec $(BIN)/python -m local up --dataset $(call quoted,$(value DATASET)) --mode $(call quoted,$(MODE)) --backend $(call quoted,$(BACKEND)) $(if $(TLS),--tls)

retrain: environments ## Train on the data set and what feed has recorded since, and serve the new release. DATASET=, MODE=, BACKEND=, TLS= as for up
	exec $(BIN)/python -m local up --retrain --dataset $(call quoted,$(value DATASET)) --mode $(call quoted,$(MODE)) --backend $(call quoted,$(BACKEND)) $(if $(TLS),--tls)

rotate: ## Rotate certificates of `make up TLS=1` (docs/certificates.md). WHAT= certificates, ca, redis, milvus
	$(LOCAL) rotate $(call quoted,$(WHAT))

observe: ## Run Prometheus beside `make up`, with the alerts of the chart, and print its address
	$(LOCAL) observe

down: ## Stop everything that `make up` started; data and releases stay
	$(LOCAL) down

status: ## Show every process: address, state, uptime, memory. JSON=1 for machines
	$(LOCAL) status $(if $(JSON),--json)

logs: ## Show the end of a log. SERVICE= um, cm, recall, rank, as, feed, redis, milvus, prometheus; FOLLOW=1 goes on
	$(LOCAL) logs --service $(call quoted,$(value SERVICE)) $(if $(FOLLOW),--follow)

clean: ## Stop everything and delete .recmesh: downloads, data sets, releases, stores, logs
	$(LOCAL) clean

test: check helm prometheus ## Check the code, then run all tests that need no Kubernetes, on servers of their own. TESTS= some; WORKERS= at a time
	exec $(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(TESTS)

test-long: environments-dev helm prometheus ## Run the tests that take minutes each
	exec $(BIN)/python -m pytest -n 2 --no-loadscope-reorder -m long $(TESTS)

check: environments-dev ## Lint, formatting, types, spelling, prose, protos
	$(BIN)/ruff check --quiet $(CODE)
	$(BIN)/ruff format --quiet --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/proselint --config .proselintrc.json check --output-format compact $$(git ls-files '*.md')
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/baseline.txtpb
	$(BIN)/hadolint docker/*.Dockerfile tests/cluster/images/*.Dockerfile

mutants: environments-dev ## Change the code at random places, and show the changes that no test notices. MUTANTS= how many; SEED=; MODULES= some
	exec $(BIN)/python -m tests.mutants --mutants $(MUTANTS) --seed $(SEED) $(call quoted,$(value MODULES))

protos: environments-dev ## Generate recmesh/pb and docs/openapi from protos/, unless a change breaks existing clients
	$(BIN)/python -m local.protos

bench: environments ## Measure the running mesh: each service, the chain, their raw parts
	exec $(BIN)/python -m benchmarks.run

bench-faults: environments ## Break each process, link and disk of a mesh in turn under load, and count what callers notice (docs/reliability.md)
	exec $(BIN)/python -m benchmarks.faults

images: ## Build the images and bring them to the cluster: docker and kind, unless RECMESH_IMAGE_* say otherwise. IMAGES= some; PROVENANCE= folder
	python3 docker/images.py build $(IMAGES) $(if $(PROVENANCE),--provenance $(call quoted,$(PROVENANCE)))

sbom: ## Print what is in the images, as CycloneDX. IMAGES= some, also redis and milvus; INTO= folder
	python3 docker/images.py sbom $(IMAGES) $(if $(INTO),--into $(call quoted,$(INTO)))

sign: ## Sign pushed images, their SBOMs and their provenance with cosign. KEY= private key; PROVENANCE=, SBOMS= folders
	python3 docker/sign.py --key $(call quoted,$(KEY)) --provenance $(call quoted,$(PROVENANCE)) --sboms $(call quoted,$(SBOMS))

pins: ## Print values of the chart that name the pushed images by digest. IMAGES= some
	python3 docker/images.py pins $(IMAGES)

digests: environments-dev ## Pin the public images of Dockerfiles and chart to the digests that their tags have now. CHECK=1 only looks whether they are pinned
	python3 docker/digests.py $(if $(CHECK),--check)
	$(BIN)/python charts/values.py

check-security: ## Look for known vulnerabilities of what is installed. SECURITY_DB= folder with OSV's exports; SBOMS= folder that make sbom INTO= wrote
	python3 docker/vulnerabilities.py --database $(call quoted,$(SECURITY_DB)) --sboms $(call quoted,$(SBOMS))

values: environments-dev ## Write what follows from the chart's values.schema.yaml: schema, values.yaml, README.md, docs/values.md
	$(BIN)/python charts/values.py

dashboards: environments-dev ## Write the dashboards and alerts of the chart from charts/observability
	$(BIN)/python -m charts.observability

telemetry: environments-dev ## Write docs/telemetry.md from telemetry.yaml
	$(BIN)/python charts/telemetry_page.py > docs/telemetry.md

cluster-smoke: helm ## Install on the cluster of the current context, ask everything, renew it under load
	$(CLUSTER_TESTS) tests/cluster/test_smoke.py

cluster-test: helm ## The same, and everything that can go away or change under load
	$(CLUSTER_TESTS) tests/cluster

lock: environments-dev ## Make requirements/*.txt from pyproject.toml. UPGRADE=--upgrade, or '--upgrade-package NAME', moves pins
	$(BIN)/python -m local.locks $(UPGRADE)

helm: environments-dev ## Fetch helm and kubectl into .venv/bin, unless they are there
	$(BIN)/python -m local.helm

prometheus: environments ## Fetch Prometheus and Alertmanager into .venv, unless they are installed
	$(BIN)/python -m local.prometheus

environments: ## Make the Python environments, unless they are current; with BACKEND=paddle-serving that one, too
	$(ENVIRONMENTS) serving train $(filter paddle-serving,$(BACKEND))

environments-dev: ## The same with the tools of `make check` and `make test`
	$(ENVIRONMENTS) serving train dev kubernetes paddle-serving
