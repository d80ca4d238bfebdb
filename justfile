# `just verify` reads and judges, never writes; `just fix` writes. CI runs the same recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

# what there is
default:
    @just --list

# everything that CI checks, but for the long runs
verify: format-check lint test docs

# format, and let the linter mend what it can
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# is the tree formatted
format-check:
    cargo fmt --all --check

# warnings are errors
lint:
    cargo clippy --locked --workspace --all-targets -- -D warnings

# every test of the workspace
test:
    cargo test --locked --workspace

# the API documentation, with warnings as errors
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

# licences, bans, advisories and sources of the dependencies (needs cargo-deny and a network)
deny:
    cargo deny check

# one fuzz target for so many seconds: just fuzz decode_batch 60
fuzz TARGET SECONDS="60":
    ./fuzz/run {{ TARGET }} {{ SECONDS }}

# damaged requests over Kafka's protocol against a server, at length
fuzz-kafka SECONDS="3600":
    HIGHWATER_FUZZ_SECONDS={{ SECONDS }} cargo test --locked --workspace --test kafka mutations -- --nocapture

# the storage model test at length: random operations, a crash at every disk operation
crash POINTS="1000000":
    HIGHWATER_CRASH_POINTS={{ POINTS }} cargo test --locked --release -p highwater-storage --lib log::tests::model -- --nocapture

# real processes, a workload, faults by the seed, and the history checked: just chaos 3600 42
chaos SECONDS="300" SEED="7":
    HIGHWATER_CHAOS_SECONDS={{ SECONDS }} HIGHWATER_CHAOS_SEED={{ SEED }} cargo test --locked -p highwater-tests --test chaos -- --ignored --exact three_nodes_at_length --nocapture

# the simulation at length: just simulate 1000, or just simulate 1000 5000 to begin at seed 5000
simulate SEEDS FIRST="1":
    HIGHWATER_SEEDS={{ SEEDS }} HIGHWATER_FIRST_SEED={{ FIRST }} cargo test --locked -p highwater-broker --test simulation three_nodes -- --nocapture

# one seed of the simulation again, with its trace
resimulate SEED:
    HIGHWATER_SEED={{ SEED }} cargo test --locked -p highwater-broker --test simulation three_nodes -- --nocapture

# a dev server on ./highwater-data
dev:
    cargo run --locked --release -- dev

# the image "highwater" from a static binary that cargo builds here: needs Docker and no registry
image TAG="highwater":
    deploy/image {{ TAG }}

# three containers under faults, and the README's commands; needs Docker and docker-compose
compose-test:
    cargo test --locked -p highwater-tests --test compose --test readme -- --nocapture

# the figures of docs/performance.md, against a server that is already running
bench SERVER="127.0.0.1:7400":
    cargo run --locked --release -- bench produce --server {{ SERVER }} --size 1024 --count 2000000 --in-flight 1000
    cargo run --locked --release -- bench consume --server {{ SERVER }} --size 1024 --count 2000000
    cargo run --locked --release -- bench latency --server {{ SERVER }} --rate 1000 --seconds 20

# the same with every record on three nodes; server: any node of a running cluster, such as `highwater dev --nodes 3`
bench-cluster SERVER="127.0.0.1:7400":
    cargo run --locked --release -- bench produce --server {{ SERVER }} --replicas 3 --size 1024 --count 1000000 --in-flight 1000
    cargo run --locked --release -- bench consume --server {{ SERVER }} --replicas 3 --size 1024 --count 1000000
    cargo run --locked --release -- bench latency --server {{ SERVER }} --replicas 3 --rate 1000 --seconds 20
