# The one test command is `make test`; the main job on real input is `make demo`.

SHELL := /bin/bash
CACHE := .cache
MODELS := $(CACHE)/models
CORPUS := $(CACHE)/corpus
VENV := $(CACHE)/venv
KUBERNETES := $(CACHE)/kubernetes
OUT := $(CACHE)/demo
TARGET := $(or $(CARGO_TARGET_DIR),target)
REALSYN := $(TARGET)/debug/realsyn

.PHONY: test kernels cluster demo lint build models corpus python tools soak soak-faults e2e soak-e2e e2e-oldest kubernetes images charts bench-quality bench-pipeline bench-store bench-shuffle bench-placement bench-agent bench-operator test-gpu clean-demo

# Everything is built with one selection of packages, so that features are resolved once and nothing is built twice.
build: tools
	cargo build --workspace --bins

demo: models corpus build
	$(REALSYN) build -f manifests/examples/demo/build.yaml -f manifests/examples/demo/release.yaml \
	    --source $(CORPUS)/pages --models $(MODELS) --out $(OUT)

# Its last line says how many tests the machine was too small for.
test: export REALSYN_SKIPPED := $(abspath $(CACHE))/skipped
test: tools models corpus python build kernels cluster
	: >$(REALSYN_SKIPPED)
	REALSYN_MODELS=$(abspath $(MODELS)) REALSYN_CORPUS=$(abspath $(CORPUS)) REALSYN_PYTHON=$(abspath $(VENV)/bin/python) \
	    REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) cargo test --workspace --no-fail-fast
	REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) QUIET=1 e2e/charts/check.sh
	@e2e/skip/count.sh $(REALSYN_SKIPPED)

# The CUDA kernels that are checked in are what NVRTC makes of their source, and ptxas assembles them without a spill.
kernels: python
	$(VENV)/bin/python scripts/compile-kernels.py --check

# A real Kubernetes for the operator's tests, built once: its API server, and for root a whole node. Tests of what cannot be built
# here are skipped, and say so.
cluster:
	e2e/cluster/build-binaries.sh $(KUBERNETES) control-plane helm kubeconform \
	    || echo "SKIPPED every test of the operator on an API server: it could not be built here"
	[ "$$(id -u)" != 0 ] || $(MAKE) kubernetes \
	    || echo "SKIPPED every test of the operator on a node: it could not be built here"

lint:
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

# Fifty kills instead of the ten of `make test`.
soak: models corpus build
	REALSYN_MODELS=$(abspath $(MODELS)) REALSYN_CORPUS=$(abspath $(CORPUS)) REALSYN_KILLS=50 cargo test --workspace --test whole_build -- --nocapture killed

# The operator on a real Kubernetes node, as root on Debian. The binaries are built once, in 10 to 15 minutes. For root all of it
# is part of `make test` but `server`, which takes eleven minutes.
e2e: models build kubernetes
	REALSYN_MODELS=$(abspath $(MODELS)) REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) REALSYN_REQUIRE_CLUSTER=1 \
	    cargo test --workspace --test server -- --ignored --nocapture
	REALSYN_MODELS=$(abspath $(MODELS)) REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) REALSYN_REQUIRE_CLUSTER=1 \
	    cargo test --workspace --test operator --test mistakes --test gpus --test control_plane --test faults --test fields --test release_fields --test queue --test foreign --test deletion --test reactions --test rules --test quarantine --test rights --test unstarted --test cli --test gpu_node --test node --test images \
	    -- --nocapture

# The operator's builds on that node under fifty injuries instead of fifteen.
soak-e2e: models build kubernetes
	REALSYN_MODELS=$(abspath $(MODELS)) REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) REALSYN_REQUIRE_CLUSTER=1 \
	    REALSYN_INJURIES=50 cargo test --workspace --test operator -- --nocapture

# The same without a node, on the oldest supported Kubernetes.
e2e-oldest: models build kubernetes
	e2e/cluster/build-binaries.sh $(KUBERNETES) oldest
	REALSYN_KUBERNETES=$(abspath $(KUBERNETES))/oldest REALSYN_REQUIRE_CLUSTER=1 \
	    cargo test --workspace --test control_plane --test fields --test release_fields --test queue --test foreign --test deletion --test reactions --test rules --test quarantine --test rights --test unstarted --test cli --test gpu_node -- --nocapture
	REALSYN_KUBERNETES=$(abspath $(KUBERNETES))/oldest REALSYN_REQUIRE_CLUSTER=1 QUIET=1 e2e/charts/check.sh

# Every write of the controller gone wrong in every way, on a real API server: about an hour.
soak-faults: build kubernetes
	REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) REALSYN_REQUIRE_CLUSTER=1 REALSYN_FAULTS=all \
	    cargo test --workspace --test faults -- --nocapture

kubernetes:
	e2e/cluster/install-packages.sh
	e2e/cluster/build-binaries.sh $(KUBERNETES)

IMAGES ?= realsyn.dev
TAG ?= 0.1.0
images:
	cargo build --release --workspace --bin realsyn --bin realsyn-controller --bin realsyn-gpu-agent
	stage-images/containers/build.sh $(IMAGES) $(TAG) $(TARGET)/release

# After every change of the CRDs or of the chart.
charts:
	charts/generate.sh

# What docs/benchmarks.md describes. Both need the OpenStax sample: REALSYN_OPENSTAX, or ../shared/data/openstax.
bench-quality: models python build
	$(VENV)/bin/python e2e/bench/quality.py $(REALSYN) $(MODELS) $(CACHE)/bench/quality

bench-pipeline: models python build
	$(VENV)/bin/python e2e/bench/pipeline.py $(REALSYN) $(MODELS) $(CACHE)/bench/pipeline

# Reading many objects of a distant bucket, beside reading them one after the other.
bench-store:
	cargo test --workspace --test store_s3 -- --ignored --nocapture many_objects_at_once

# Writes 1.5 GB below TMPDIR, and removes it.
bench-shuffle:
	cargo test --workspace --test shuffle -- --ignored --nocapture

# Needs nothing else.
bench-placement:
	cargo run --release --quiet -p realsyn-plan --example bench_placement

# What the GPU agent costs on a node with eight devices, as its image has it: resident memory, share of a core, requests.
bench-agent: kubernetes
	cargo build --release --workspace --bin realsyn-gpu-agent
	REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) REALSYN_REQUIRE_CLUSTER=1 \
	    REALSYN_GPU_AGENT=$(abspath $(TARGET))/release/realsyn-gpu-agent \
	    cargo test --workspace --test gpu_node -- --ignored --nocapture cost

# How the controller bears size: its status, its memory, its writes, its start. Twelve minutes, most of them to make
# the 100,000 pods; REALSYN_SCALE_PODS says how many.
bench-operator: kubernetes
	REALSYN_KUBERNETES=$(abspath $(KUBERNETES)) REALSYN_REQUIRE_CLUSTER=1 \
	    cargo test --workspace --test scale -- --ignored --nocapture --test-threads 1

# What this machine's own GPUs and driver show the agent, do with the kernels' tests, and how fast, beside the processor.
test-gpu: build
	$(TARGET)/debug/realsyn-gpu-agent --once --log-format text
	REALSYN_TEST_GPU=1 cargo test --workspace --test cuda
	cargo run --release --quiet -p realsyn-vectors --example throughput 200000 1024

models:
	python3 scripts/fetch-models.py $(MODELS)

corpus:
	python3 scripts/fetch-corpus.py $(CORPUS)

python: $(VENV)/.complete

$(VENV)/.complete: scripts/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r scripts/requirements.txt
	touch $@

# A linker and a C compiler are all that Cargo does not bring itself; tests of CUDA kernels compile them as C++.
tools:
	@command -v g++ >/dev/null || (apt-get update -qq && apt-get install -y -qq g++)

clean-demo:
	rm -rf $(OUT)
