# Targets for people and for .ci/run; `make help` lists them. They need Go and a POSIX shell.

GOLANGCI_LINT_VERSION = v2.15.0
GOVULNCHECK_VERSION   = v1.9.0

FUZZTIME ?= 10s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The tools carry their version in their name, so that another version is another file.
BIN           = $(CURDIR)/.bin
GOLANGCI_LINT = $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK   = $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## the whole system on private servers, with a simulated day; Ctrl-C ends it
	bin/mass dev --demo

.PHONY: build
build: ## bin/mass, a static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/mass ./cmd/mass

.PHONY: test
test: ## all tests with the race detector, and their coverage; installs servers where it may
	@.ci/servers
	@race=-race; \
	command -v "$$(go env CC | cut -d ' ' -f 1)" >/dev/null || \
		{ race=; echo 'test: no C compiler, so this run is without the race detector'; }; \
	set -x; go test $$race -timeout 10m -coverprofile=coverage.out ./...
	@go tool cover -func=coverage.out | tail -n 1

SEED     ?= 1
DURATION ?= 2m

.PHONY: chaos
chaos: ## break everything for DURATION (2m), in the order of SEED (1), and check every promise
	go test -tags chaos ./internal/chaos -run 'TestChaos$$' -count=1 -v -timeout 2h -seed $(SEED) -duration $(DURATION)

.PHONY: chaos-short
chaos-short: ## the same in under three minutes, and the proofs that the harness can fail
	go test -tags chaos ./internal/chaos -run 'TestChaos$$|IsNoticed$$' -count=1 -v -timeout 6m -seed $(SEED) -duration 30s

.PHONY: bench
bench: ## MASS beside pgbench, River and Asynq, on two cores; writes docs/benchmarks.md; about 45 minutes
	cd bench && go run . -name full -docs

.PHONY: bench-quick
bench-quick: ## the most important of it in under two minutes (once built), failing below the floors of bench/floors.json
	cd bench && go run . -quick -floors floors.json

.PHONY: mv-coverage
mv-coverage: ## simulate whether the 90 % intervals of mass mv hold; prints the table of docs/mv.md; takes up to 5 minutes
	MV_COVERAGE=4 go test ./internal/mv -run 'TestCoverage$$' -count=1 -v -timeout 30m

.PHONY: cover
cover: ## the coverage of the last `make test`, function by function
	@test -f coverage.out || { echo 'cover: run make test first' >&2; exit 1; }
	@go tool cover -func=coverage.out

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@.ci/fuzz '$(FUZZTIME)'

.PHONY: lint
lint: $(GOLANGCI_LINT) ## formatting, go vet, golangci-lint, the checks of compose file and Dockerfile, and bench/
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { printf 'lint: run gofmt -w on:\n%s\n' "$$unformatted" >&2; exit 1; }
	@large=$$(git ls-files -z | xargs -0 -r sh -c 'find "$$@" -size +1000k' sh); test -z "$$large" || { printf 'lint: over a megabyte and tracked:\n%s\n' "$$large" >&2; exit 1; }
	go vet ./...
	$(GOLANGCI_LINT) run
	cd deploy/check && go vet ./... && go test -count=1 ./... # -count: the cache does not see the files it reads
	cd bench && go vet ./... && go test ./...

.PHONY: vuln
vuln: $(GOVULNCHECK) ## known vulnerabilities in what the code calls
	@.ci/vuln $(GOVULNCHECK)

.PHONY: clean
clean: ## remove what the targets made, except the data of `make run` (.mass)
	rm -rf bin .bin coverage.out

$(GOLANGCI_LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(BIN)/golangci-lint $@

$(GOVULNCHECK):
	GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv $(BIN)/govulncheck $@
