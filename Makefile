# `make run` runs the service on this machine, `make test` proves it. README.md has the rest.

# What the project installs itself, in an ignored folder.
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

# Some groups of tools share a folder.
.NOTPARALLEL:

.PHONY: help run seed deploy-local test mutants advisories bench soak check

help:
	@echo 'make run           runs the service on this machine: PORT=9000 DATA_DIR=.data'
	@echo 'make seed N=1000   fills the running service with users: PORT=9000'
	@echo 'make deploy-local  deploys the template, login included, to an emulator of AWS'
	@echo 'make test          proves everything'
	@echo 'make mutants       changes the code in every small way, and sees that a test notices: hours'
	@echo 'make advisories    asks the internet for known weaknesses of the dependencies'
	@echo 'make bench         measures it beside Node.js, Python and others: ROUNDS=15'
	@echo 'make soak          runs it at full load, and sees that it holds no more at the end: MINUTES=10'

run: check .tools/run.installed
	@cargo run --locked --package local

seed: check
	@cargo run --locked --package local --bin seed

deploy-local: check .tools/run.installed .tools/build.installed .tools/emulator.installed
	@cargo lambda build --locked --release
	@.tools/emulator/bin/python deploy/local.py

test: check $(patsubst tools/requirements/%.txt,.tools/%.installed,$(wildcard tools/requirements/*.txt))
	@tools/test

# What was built before may not be taken for what was changed, so the tests build their own functions.
mutants: check .tools/mutants/bin/cargo-mutants
	@UNOPTIMISED=1 $< mutants --workspace --baseline skip --timeout 120 --output target

.tools/mutants/bin/cargo-mutants: | check
	cargo install cargo-mutants --version 27.1.0 --locked --root .tools/mutants

# Not part of `make test`: its database is a repository on the internet.
advisories: check .tools/dependencies.installed
	@cargo deny --locked check advisories

bench: check .tools/run.installed .tools/build.installed .tools/node.installed .tools/bench.installed
	@tools/bench

soak: check .tools/run.installed .tools/build.installed
	@cargo lambda build --locked --release
	@cargo run --locked --profile measuring --package tests --bin soak

check:
	@tools/check

.tools/%.installed: tools/requirements/%.txt tools/install | check
	@tools/install $*

.tools/node.installed: $(wildcard tools/*/package-lock.json)
