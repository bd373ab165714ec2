# `make run` runs the service on this machine, `make test` proves it. README.md has the rest.

# What the project installs itself, in an ignored folder.
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

# Tools keep temporary files, caches and settings in this folder too. Only the downloads of cargo, pip and npm are
# shared with other projects.
export PIP_CACHE_DIR := $(or $(PIP_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pip)
export TMPDIR := $(CURDIR)/.tools/tmp
export XDG_CACHE_HOME := $(CURDIR)/.tools/cache
export MPLCONFIGDIR := $(XDG_CACHE_HOME)/matplotlib
export __SAM_CLI_APP_DIR := $(XDG_CACHE_HOME)/sam
export NODE_DISABLE_COMPILE_CACHE := 1

# Some groups of tools share a folder.
.NOTPARALLEL:

.PHONY: help run seed docs deploy-local test torture fuzz soak mutants advisories bench check check-tests

help:
	@echo 'make run           runs the service on this machine: PORT=9000 PAGE_PORT=9001 DATA_DIR=.data'
	@echo 'make seed N=1000   fills the running service with users: PORT=9000'
	@echo 'make docs          builds the reference of the API and opens it in a browser'
	@echo 'make deploy-local  deploys the template, login included, to an emulator of AWS'
	@echo 'make test          proves everything'
	@echo 'make bench         measures it beside Node.js, Python and others: ROUNDS=15'
	@echo
	@echo 'As in make test, but for as long as you like:'
	@echo 'make torture       many clients at once, under faults and kills: MINUTES=10'
	@echo 'make fuzz          inputs that may break what reads requests: MINUTES=10'
	@echo
	@echo 'Not part of make test:'
	@echo 'make soak          full load, and nothing more held at its end: MINUTES=10'
	@echo 'make mutants       each small change of the code is noticed by a test: hours'
	@echo 'make advisories    known vulnerabilities of the dependencies: needs the internet'

run: check .tools/run.installed
	@cargo run --locked --package local

seed: check
	@cargo run --locked --package local --bin seed

docs: check .tools/node.installed
	@tools/docs
	@env -u TMPDIR -u XDG_CACHE_HOME python3 -m webbrowser "file://$(CURDIR)/docs/reference.html"

deploy-local: check .tools/run.installed .tools/build.installed .tools/emulator.installed
	@cargo lambda build --locked --release
	@.tools/emulator/bin/python deploy/local.py

test: check check-tests $(patsubst tools/requirements/%.txt,.tools/%.installed,$(wildcard tools/requirements/*.txt)) .tools/browser.installed
	@tools/test

torture: check .tools/run.installed .tools/build.installed
	@cargo lambda build --locked --release
	@cargo build --locked --package tests --bins
	@cargo run --locked --package tests --bin torture

# What was built before may not be taken for what was changed, so the tests build their own functions. They
# have to pass without a change first; cargo-mutants itself would try those of the changed crates alone.
mutants: export UNOPTIMISED = 1
mutants: check .tools/mutants/bin/cargo-mutants
	@cargo test --locked --package shared --package tests --lib --test service --test names
	@$< mutants --workspace --baseline skip --timeout 300 --output target

.tools/mutants/bin/cargo-mutants: | check
	cargo install cargo-mutants --version 27.1.0 --locked --root .tools/mutants

# Not part of `make test`: its database is a repository on the internet.
advisories: check .tools/dependencies.installed
	@cargo deny --locked check advisories
	@cargo deny --locked --manifest-path benchmarks/competitors/naive/Cargo.toml check advisories
	@cargo deny --locked --manifest-path tests/fuzz/Cargo.toml check advisories

fuzz: check check-tests
	@tools/fuzz '$(or $(MINUTES),10)'

bench: check .tools/run.installed .tools/build.installed .tools/node.installed .tools/bench.installed
	@tools/bench

soak: check .tools/run.installed .tools/build.installed
	@cargo lambda build --locked --release
	@cargo run --locked --profile measuring --package tests --bin soak

check:
	@mkdir -p "$$TMPDIR"
	@tools/check

check-tests:
	@tools/check tests

.tools/%.installed: tools/requirements/%.txt tools/install | check
	@tools/install $*

.tools/node.installed: tools/openapi/package-lock.json tools/mermaid/package-lock.json tools/typescript-client/package-lock.json

.tools/browser.installed: tools/browser/package-lock.json tools/browser/fonts.conf tools/install .tools/node.installed | check
	@tools/install browser
