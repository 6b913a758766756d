# Everything goes through cargo; these are the commands worth remembering.

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := reference policy review
WORKSPACES := Cargo.toml tests/issuers/Cargo.toml $(wildcard benches/Cargo.toml) tests/fuzz/Cargo.toml

.DEFAULT_GOAL := help
.PHONY: help run test test-matrix lint bench soak soak-tokens scale-pushes bench-copy fuzz image cluster-up cluster-down

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Serves on this machine, pulling through registry.cern.ch; prints what to try
	cargo run --locked -- serve --preset cern-pull-through --log-format text

test: ## Runs every test; needs Go beside Rust, for a Kubernetes of its own; as root, with a node
	@tests/run

test-matrix: ## Tests against the API server of the oldest supported Kubernetes as well
	@tests/matrix $(K8S_MINORS)

lint: ## Format, clippy, documentation, and that the core compiles alone
	for manifest in $(WORKSPACES); do cargo fmt --check --manifest-path "$$manifest" || exit 1; done
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --lib --no-default-features -- -D warnings
	cargo check --locked --lib --no-default-features
	cargo check --locked --lib --no-default-features --features server
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps

bench: ## Measures; see docs/performance.md
	cargo run --release --manifest-path benches/Cargo.toml

bench-copy: ## Measures copies of images beside crane and skopeo; see docs/performance.md
	cargo run --release --manifest-path benches/Cargo.toml -- --copies

soak: ## Creates Pods while Waypost and the API server are restarted, killed, changed; as root; see docs/cluster.md
	cargo run --release --manifest-path benches/Cargo.toml -- --soak

soak-tokens: ## Creates Pods while their credentials live for a minute, and the token service fails; as root; see docs/cluster.md
	cargo run --release --manifest-path benches/Cargo.toml -- --soak-tokens $(if $(SECONDS),--seconds $(SECONDS))

scale-pushes: ## Measures a replica with 20,000 push records in a real API server; see docs/cluster.md
	cargo run --release --manifest-path benches/Cargo.toml -- --objects

fuzz: ## Fuzzes each target for FUZZ_SECONDS (60); needs nightly Rust and cargo-fuzz
	@cargo +nightly --version >/dev/null 2>&1 || { echo 'fuzzing needs nightly Rust: rustup toolchain install nightly' >&2; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo 'fuzzing needs cargo-fuzz: cargo install cargo-fuzz' >&2; exit 1; }
	for target in $(FUZZ_TARGETS); do \
		cargo +nightly fuzz run --fuzz-dir tests/fuzz "$$target" -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

image: ## Makes the image, without Docker; PUSH=1 IMAGE=HOST/NAME:TAG pushes it (image/README.md)
	@TARGET="$(TARGET)" IMAGE="$(IMAGE)" PUSH="$(PUSH)" image/build

cluster-up: ## Starts a real Kubernetes to try things on; prints what to export (tests/cluster/README.md)
	@tests/cluster/cluster up $(if $(filter 0,$(shell id -u)),--in-cluster-registry open) $(CLUSTER_FLAGS)

cluster-down: ## Ends it, and leaves nothing behind
	@tests/cluster/cluster down
