# `make run` runs the service on this machine, `make test` shows that a change works. README.md has the rest.

# What the project installs itself, in an ignored folder.
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

# Tools keep temporary files, caches and settings in this folder too. Only the downloads of cargo, pip and npm are
# shared with other projects.
export PIP_CACHE_DIR := $(or $(PIP_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pip)
export npm_config_cache := $(or $(npm_config_cache),$(HOME)/.npm)
export TMPDIR := $(CURDIR)/.tools/tmp
export XDG_CACHE_HOME := $(CURDIR)/.tools/cache
export MPLCONFIGDIR := $(XDG_CACHE_HOME)/matplotlib
export __SAM_CLI_APP_DIR := $(XDG_CACHE_HOME)/sam
export NODE_DISABLE_COMPILE_CACHE := 1

# Some groups of tools share a folder.
.NOTPARALLEL:

.PHONY: help run seed docs deploy-local test verify names torture fuzz soak mutants advisories bench check

help:
	@echo 'make run           runs the service on this machine: PORT=9000 PAGE_PORT=9001 DATA_DIR=.data'
	@echo 'make seed N=1000   fills the running service with users: PORT=9000'
	@echo 'make docs          builds the reference of the API and opens it in a browser'
	@echo 'make deploy-local  deploys the template, login included, to an emulator of AWS'
	@echo 'make test          shows in minutes that a change works; one subject: ONLY=list_users'
	@echo 'make verify        proves everything, in steps; some of them: STEP="template deployed"'
	@echo 'make bench         measures it beside Node.js, Python and others: ROUNDS=15'
	@echo
	@echo 'As in make verify, but for as long as you like:'
	@echo 'make torture       many clients at once, under faults and kills: MINUTES=10'
	@echo 'make fuzz          inputs that may break what reads requests: MINUTES=10'
	@echo 'make names         names of people in many languages, and which of them are refused'
	@echo
	@echo 'Not part of make verify:'
	@echo 'make soak          full load, and nothing more held at its end: MINUTES=10'
	@echo 'make mutants       each small change of the code is noticed by a test: hours'
	@echo 'make advisories    known vulnerabilities of the dependencies: needs the internet'

run: check
	@tools/run

seed: check
	@tools/run seed

docs: check
	@tools/install openapi
	@tools/docs
	@env -u TMPDIR -u XDG_CACHE_HOME python3 -m webbrowser "file://$(CURDIR)/docs/reference.html"

deploy-local: check
	@tools/install run build emulator
	@cargo lambda build --locked --release
	@.tools/emulator/bin/python deploy/local.py

test: check
	@tools/check test
	@tools/test

verify: check
	@tools/check verify
	@tools/verify

names: check
	@tools/verify --step names

torture: check
	@tools/install run build
	@cargo lambda build --locked --release
	@cargo build --locked --workspace --bins
	@RELEASED=1 "$${CARGO_TARGET_DIR:-target}/debug/torture"

# The tests have to pass without a change first; cargo-mutants itself would try those of the changed crates alone.
mutants: check .tools/mutants/bin/cargo-mutants
	@cargo test --locked --workspace --lib --test service --test usernames
	@.tools/mutants/bin/cargo-mutants mutants --workspace --baseline skip --timeout 300 --output target

.tools/mutants/bin/cargo-mutants: | check
	cargo install cargo-mutants --version 27.1.0 --locked --root .tools/mutants

# Not part of `make verify`: its database is a repository on the internet.
advisories: check
	@tools/install dependencies
	@cargo deny --locked check advisories
	@cargo deny --locked --manifest-path bench/contestants/naive/Cargo.toml check advisories
	@cargo deny --locked --manifest-path tests/fuzz/Cargo.toml check advisories

fuzz: check
	@tools/check verify
	@tools/fuzz '$(or $(MINUTES),10)'

bench: check
	@tools/install run build node bench
	@bench/run

soak: check
	@tools/install run build
	@cargo lambda build --locked --release
	@cargo build --locked --workspace --bins
	@RELEASED=1 "$${CARGO_TARGET_DIR:-target}/debug/soak"

check:
	@mkdir -p "$$TMPDIR"
	@tools/check
