# Targets for people and for .ci/run. `make help` lists them. They need Go and a POSIX shell.

GOLANGCI_LINT_VERSION = v2.15.0
GOVULNCHECK_VERSION   = v1.9.0

FUZZTIME ?= 10s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The name of each tool contains its version, so a new version is a new file and gets installed.
BIN           = $(CURDIR)/.bin
GOLANGCI_LINT = $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK   = $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## run the whole system on private servers with a simulated day; Ctrl-C stops it
	bin/mass dev --demo

.PHONY: build
build: ## build bin/mass, a static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/mass ./cmd/mass

.PHONY: test
test: ## run all tests with the race detector and coverage; installs missing servers if allowed
	@.ci/servers
	@race=-race; \
	command -v "$$(go env CC | cut -d ' ' -f 1)" >/dev/null || \
		{ race=; echo 'test: no C compiler found; running without the race detector'; }; \
	set -x; go test $$race -timeout 60m -coverprofile=coverage.out ./...
	@go tool cover -func=coverage.out | tail -n 1

SEED     ?= 1
DURATION ?= 2m

.PHONY: chaos
chaos: ## inject faults for DURATION (2m) in the order given by SEED (1), then check every promise
	@.ci/servers
	go test -tags chaos ./chaos -run 'TestChaos$$' -count=1 -v -timeout 2h -seed $(SEED) -duration $(DURATION)

.PHONY: chaos-short
chaos-short: ## like chaos, in under three minutes, and prove that the harness detects failures
	@.ci/servers
	go test -tags chaos ./chaos -run 'TestChaos$$|TestFailover$$|IsNoticed$$' -count=1 -v -timeout 30m \
		-seed $(SEED) -duration 30s -topology single/single

.PHONY: bench
bench: ## compare MASS with pgbench, River and Asynq on two cores; writes docs/benchmarks.md; takes about 45 minutes
	cd bench && go run . -name full -docs

.PHONY: bench-quick
bench-quick: ## run the most important benchmarks in under two minutes; fails below the floors in bench/floors.json
	cd bench && go run . -quick -floors floors.json

.PHONY: mv-coverage
mv-coverage: ## simulate whether the 90 % intervals of mass mv hold; prints the table of docs/mv.md; takes up to 5 minutes
	MV_COVERAGE=4 go test ./internal/mv -run 'TestCoverage$$' -count=1 -v -timeout 30m

.PHONY: cover
cover: ## show the coverage of the last `make test` by function
	@test -f coverage.out || { echo 'cover: no coverage.out; run make test first' >&2; exit 1; }
	@go tool cover -func=coverage.out

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	@.ci/fuzz '$(FUZZTIME)'

.PHONY: lint
lint: $(GOLANGCI_LINT) ## check formatting, vet and lint the code, check the compose file and Dockerfile, and test bench/
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { printf 'lint: run gofmt -w on:\n%s\n' "$$unformatted" >&2; exit 1; }
	@large=$$(git ls-files -z | xargs -0 -r sh -c 'find "$$@" -size +1000k' sh); test -z "$$large" || { printf 'lint: tracked files over one megabyte:\n%s\n' "$$large" >&2; exit 1; }
	go vet ./...
	$(GOLANGCI_LINT) run
	cd deploy/check && go vet ./... && go test -count=1 ./... # -count=1, because the test cache does not track the files that these tests read
	cd bench && go vet ./... && go test ./...

.PHONY: vuln
vuln: $(GOVULNCHECK) ## check the code that is called for known vulnerabilities
	@.ci/vuln $(GOVULNCHECK)

.PHONY: clean
clean: ## remove build output, but keep the data of `make run` (.mass)
	rm -rf bin .bin coverage.out

$(GOLANGCI_LINT):
	GOBIN=$(BIN) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@mv $(BIN)/golangci-lint $@

$(GOVULNCHECK):
	GOBIN=$(BIN) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@mv $(BIN)/govulncheck $@
