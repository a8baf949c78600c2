# Pelton. `make run` starts the platform with its examples, `make test` proves it; `make help` lists the rest.
SHELL := /bin/sh
PELTON_HOME ?= $(CURDIR)/.pelton
export PATH := $(CURDIR)/build/tools/node/bin:$(PATH)
GOLANGCI := v2.12.0
VERSION := $(shell git describe --tags --always 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/pelton-run/pelton/platform/server.Version=$(VERSION) -X github.com/pelton-run/pelton/platform/cli/version.Version=$(VERSION)
UI_SOURCES := $(shell find platform/webui/src platform/webui/public platform/webui/package-lock.json platform/webui/vite.config.ts platform/webui/index.html -type f 2>/dev/null)

.PHONY: help preflight core build ui run demo test e2e-split e2e-mixed test-race chaos chaos-bus unit ui-test lint verify bench clean cluster-up cluster-down cluster-status cluster-smoke cluster-check test-cluster

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

preflight:
	@sh platform/tools/preflight.sh "$(PELTON_HOME)"

ui: build/ui.stamp ## the web page (left out with one line where Node.js is missing)
build/ui.stamp: $(UI_SOURCES)
	@mkdir -p build
	@if command -v npm >/dev/null 2>&1; then \
	  cd platform/webui && { [ -d node_modules ] && [ node_modules -nt package-lock.json ] || npm install --no-save --no-audit --no-fund --loglevel=error; } && \
	  npm run --silent build -- --logLevel warn && touch ../../build/ui.stamp; \
	else echo "  Node.js is missing: the web page is left out (the command line and the interfaces are whole)"; fi

core: preflight ui # what the platform and its command line are, without the administrator's
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./platform/cmd/peltond ./platform/cmd/pelton ./wrapper/cmd/wrapper

build: core ## bin/peltond, bin/pelton, bin/pelton-adm, bin/wrapper
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./platform/cmd/pelton-adm

run: core ## the platform on http://127.0.0.1:8080 with the examples; Ctrl-C stops it
	@./bin/pelton dev functions/examples --home "$(PELTON_HOME)" --showcase

demo: core ## the whole loop in a temporary home, with a SIGKILL in the middle
	@PELTON_BIN="$(CURDIR)/bin" go run ./platform/tools/demo

test: ## everything: unit, end to end, page, lint, verify
	@sh platform/tools/test.sh

e2e-split: build ## the end-to-end tests with a process for each service; with KILLS=1 while these are killed at random
	@PELTON_E2E=split PELTON_E2E_KILLS=$(KILLS) PELTON_E2E_FILES=s3 PELTON_BIN="$(CURDIR)/bin" go run ./platform/tools/testpg -- go run ./platform/tools/gotest -count=1 -timeout 60m ./platform/e2e

e2e-mixed: build ## split services of this tree beside those of another commit: make e2e-mixed OLD=COMMIT
	@sh platform/tools/mixed.sh "$(OLD)"

test-race: ## the Go part under the race detector
	@go run ./platform/tools/testpg -- go test -race -short ./...

chaos: build ## kills of the platform, its wrappers and the database at random under 500 runs of every construct, for 10 minutes
	@PELTON_BIN="$(CURDIR)/bin" PELTON_CHAOS_TIME=$${PELTON_CHAOS_TIME:-10m} PELTON_CHAOS_RUNS=$${PELTON_CHAOS_RUNS:-500} \
	  go run ./platform/tools/testpg -- go test -count=1 -run TestChaos -v -timeout 60m ./platform/e2e

chaos-bus: ## 100,000 messages through restarts and kills of RabbitMQ, PostgreSQL, connections and consumers
	@PELTON_CHAOS_MESSAGES=$${PELTON_CHAOS_MESSAGES:-100000} go test -count=1 -run TestChaos -v -timeout 60m ./platform/kit/outbox

unit: build ## Go tests alone
	@go run ./platform/tools/testpg -- go run ./platform/tools/gotest ./...

ui-test: build ## the web page: unit tests, and as a person uses it in a real browser
	@sh platform/tools/uitest.sh

lint: ## golangci-lint with a reasoned list of linters
	@GOLANGCI_LINT_CACHE="$(CURDIR)/build/lint-cache" go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI) run ./...

verify: ## generated files are up to date, contracts match, other platforms compile
	@sh platform/tools/verify.sh

bench: build ## the performance figures, written to build/bench.json
	@go run ./platform/tools/testpg -- go run ./platform/tools/bench

test-cluster: ## what needs Kubernetes with Knative, on the cluster of cluster-up, which stays up; figures are printed
	@sh platform/tools/testcluster.sh

cluster-up: ## a Kubernetes of one node with Knative on this machine, for tests (root on Debian; platform/docs/testcluster.md)
	@config/testcluster/cluster up

cluster-down: ## undo it, but for what was built and pushed
	@config/testcluster/cluster down

cluster-status: ## what of it runs
	@config/testcluster/cluster status

cluster-smoke: ## try it: cold start, gRPC, scale to zero, network policy, an event through a broker
	@config/testcluster/cluster smoke

cluster-check: ## tests of the test cluster's own programs
	@for m in policy proxy img demo; do (cd config/testcluster/src/$$m && CGO_ENABLED=0 GOWORK=off go test -trimpath ./...) || exit 1; done

clean: ## remove what was built (keeps .pelton, where your data is)
	@rm -rf bin build platform/webui/node_modules platform/webui/dist/assets platform/webui/dist/index.html
