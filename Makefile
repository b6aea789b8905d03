# An index: each target is one line, and the work is in the script or chore that it names.
.DEFAULT_GOAL := help
.PHONY: demo test alert-test check tools local fmt proto dashboards docs bench audit proof help

demo: ## Train a model on the digits with the whole house in one process
	@cargo run --release -p pangea -- demo

local: ## Run the three services as separate processes, with three workers
	@scripts/local.sh

test: ## Run every test, and name those skipped for want of a tool
	@scripts/test.sh

alert-test: ## Hold alerts and their routes against promtool and amtool
	@scripts/alert-test.sh

check: ## Formatting, lints, generated code, dashboards, arrows, sizes, licences
	@scripts/check.sh

tools: ## Set up the pinned tools that check and test use
	@scripts/tools.sh

fmt: ## Format the code
	@cargo fmt --all

proto: ## Generate the code of the wire from proto/pangea/v1
	@cargo xtask proto

dashboards: ## Write grafana/dashboards from grafana/panels
	@cargo xtask dashboards

docs: ## Write docs/metrics.md from what the services register
	@PANGEA_WRITE_DOCS=1 cargo test --quiet -p pangea --test it catalogue

bench: ## Measure the engine, and what telemetry costs
	@cargo bench -p compute-core
	@cargo bench -p telemetry --bench cost --bench calls

audit: ## Ask the advisory database about the dependencies (needs the network)
	@PATH="$${PANGEA_TOOLS:-$$HOME/.cache/pangea/tools}/bin:$$PATH" cargo deny check advisories

proof: ## Run the tests in their long form
	@PANGEA_PROOF=1 scripts/test.sh
	@scripts/prove-sentry.sh

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
