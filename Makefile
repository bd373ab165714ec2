export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

# The tools keep their files in .tools, including temporary files, settings and most caches. Only the download caches of
# cargo, pip and npm are in their usual folders, where other projects also use them.
export PIP_CACHE_DIR := $(or $(PIP_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pip)
export npm_config_cache := $(or $(npm_config_cache),$(HOME)/.npm)
export TMPDIR := $(CURDIR)/.tools/tmp
export XDG_CACHE_HOME := $(CURDIR)/.tools/cache
export MPLCONFIGDIR := $(XDG_CACHE_HOME)/matplotlib
export __SAM_CLI_APP_DIR := $(XDG_CACHE_HOME)/sam
export NODE_DISABLE_COMPILE_CACHE := 1

# Parallel recipes could install tools into the same folder at the same time.
.NOTPARALLEL:

.PHONY: help run seed docs deploy-local test verify names torture fuzz soak mutants advisories bench check

help:
	@echo 'make run           run the service on this machine: PORT=9000 PAGE_PORT=9001 DATA_DIR=.data TRACE=1'
	@echo 'make seed N=1000   create users in the running service: PORT=9000'
	@echo 'make docs          build the API reference and open it in a browser'
	@echo 'make deploy-local  deploy the template, login included, to an emulator of AWS'
	@echo 'make test          run the fast tests, or only those whose names contain a word: ONLY=list_users'
	@echo 'make verify        run all other checks in steps, or only some steps: STEP="template deployed"'
	@echo 'make bench         compare the speed with Node.js, Python and others: ROUNDS=15'
	@echo
	@echo 'Parts of make verify that you can run alone:'
	@echo 'make torture       run many clients at the same time, with faults and kills: MINUTES=10'
	@echo 'make fuzz          fuzz the code that reads requests: MINUTES=10'
	@echo 'make names         create users with names from many languages and list the rejected names'
	@echo
	@echo 'Not part of make verify:'
	@echo 'make soak          run at full load and look for leaks: MINUTES=10'
	@echo 'make mutants       check that each small change to the code makes a test fail; hours, or minutes with BASE=main'
	@echo 'make advisories    look for known vulnerabilities of the dependencies: needs the internet'

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

mutants: check .tools/mutants/bin/cargo-mutants
	@tools/mutants '$(BASE)'

.tools/mutants/bin/cargo-mutants: | check
	cargo install cargo-mutants --version 27.1.0 --locked --root .tools/mutants

advisories: check
	@tools/install dependencies
	@cargo deny --locked check advisories
	@cargo deny --locked --manifest-path tests/fuzz/Cargo.toml check advisories
	@echo 'The benchmark and its contestants (not deployed, so their advisories do not fail this command):'
	@-cargo deny --locked --manifest-path bench/Cargo.toml check advisories
	@-cargo deny --locked --manifest-path bench/contestants/floor/Cargo.toml check advisories
	@-cargo deny --locked --manifest-path bench/contestants/naive/Cargo.toml check advisories

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
