# `make run` runs the service on this machine, `make test` proves it. README.md has the rest.

# What the project installs itself, in an ignored folder.
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

# Some groups of tools share a folder.
.NOTPARALLEL:

.PHONY: help run seed deploy-local test fuzz bench check

help:
	@echo 'make run           runs the service on this machine: PORT=9000 DATA_DIR=.data'
	@echo 'make seed N=1000   fills the running service with users: PORT=9000'
	@echo 'make deploy-local  deploys the template, login included, to an emulator of AWS'
	@echo 'make test          proves everything'
	@echo 'make fuzz          looks for inputs that break what reads requests: MINUTES=10'
	@echo 'make bench         measures it beside Node.js, Python and others: ROUNDS=15'

run: check .tools/run.installed
	@cargo run --locked --package local

seed: check
	@cargo run --locked --package local --bin seed

deploy-local: check .tools/run.installed .tools/build.installed .tools/emulator.installed
	@cargo lambda build --locked --release
	@.tools/emulator/bin/python deploy/local.py

test: check $(patsubst tools/requirements/%.txt,.tools/%.installed,$(wildcard tools/requirements/*.txt))
	@tools/test

fuzz: check
	@tools/fuzz $$(($(or $(MINUTES),10) * 60))

bench: check .tools/run.installed .tools/build.installed .tools/node.installed .tools/bench.installed
	@tools/bench

check:
	@tools/check

.tools/%.installed: tools/requirements/%.txt tools/install | check
	@tools/install $*

.tools/node.installed: tools/openapi/package-lock.json
