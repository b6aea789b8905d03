# An index: each target is one line, and the work is in the script or chore that it names.
.DEFAULT_GOAL := help
.PHONY: demo test alert-test e2e-compose check tools local stack up down logs health doctor backup restore maintenance s3-ls fmt proto dashboards docs bench bench-peers bench-telemetry audit proof help

demo: ## Train a model on the digits with the whole house in one process
	@cargo run --release -p pangea -- demo

local: ## Run the three services as separate processes, with three workers
	@scripts/local.sh

test: ## Run every test, and name those skipped for want of a tool
	@scripts/test.sh

alert-test: ## Hold alerts and their routes against promtool and amtool
	@scripts/alert-test.sh

e2e-compose: ## Try docker-compose.yml with a real Docker engine, one of its own where none answers
	@scripts/e2e-compose.sh

check: ## Formatting, lints, generated code, dashboards, arrows, sizes, licences
	@scripts/check.sh

tools: ## Set up the pinned tools that check and test use
	@scripts/tools.sh

stack: ## Run the whole stack as plain processes, from the files of docker-compose.yml
	@scripts/stack.sh

up: ## Start the whole stack in containers, and wait until it is well
	@scripts/up.sh

down: ## End the containers; what they keep stays
	@scripts/compose.sh --profile '*' down

logs: ## Follow what the containers print
	@scripts/compose.sh logs --follow --tail 100

health: ## Ask every part of the running stack how it is
	@scripts/health.sh

doctor: ## Look whether the stack can start here, and say what to do where it cannot
	@scripts/doctor.sh

backup: ## Copy runs, artifacts, series and dashboards to backups/DATE, or to TO
	@scripts/backup.sh $(TO)

restore: ## Put the backup FROM in the place of what the running stack has
	@scripts/restore.sh --yes "$(FROM)"

maintenance: ## Reload, vacuum, free what was deleted, back up, and look that all is well
	@scripts/maintenance.sh

s3-ls: ## List the buckets of the running stack, and what ours has
	@scripts/s3-ls.sh

fmt: ## Format the code
	@cargo fmt --all

proto: ## Generate the code of the wire from proto/pangea/v1
	@cargo xtask proto

dashboards: ## Write grafana/dashboards from grafana/panels
	@cargo xtask dashboards

docs: ## Write docs/metrics.md from what the services register
	@PANGEA_WRITE_DOCS=1 cargo test --quiet -p pangea --test it catalogue

bench: ## Measure Pangea beside the machine's limits, and write docs/benchmarks.md
	@cargo build --release
	@python3 bench/run.py

bench-peers: ## The same, and PyTorch and Flower beside it, which are gigabytes
	@scripts/bench-peers-setup.sh
	@cargo build --release
	@python3 bench/run.py --peers

bench-telemetry: ## Measure what telemetry costs
	@cargo bench -p telemetry --bench cost --bench calls

audit: ## Ask the advisory database about the dependencies (needs the network)
	@PATH="$${PANGEA_TOOLS:-$$HOME/.cache/pangea/tools}/bin:$$PATH" cargo deny check advisories

proof: ## Run the tests in their long form, and prove the stack
	@PANGEA_PROOF=1 scripts/test.sh
	@scripts/prove-sentry.sh
	@scripts/prove-stack.sh
	@scripts/e2e-compose.sh

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
