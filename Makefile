# `make run` runs the service on this machine, `make test` proves it. README.md has the rest.

# What the project installs itself, in an ignored folder.
export PATH := $(CURDIR)/.tools/python/bin:$(PATH)

.PHONY: help run seed test check

help:
	@echo 'make run           runs the service on this machine: PORT=9000 DATA_DIR=.data'
	@echo 'make seed N=1000   fills the running service with users: PORT=9000'
	@echo 'make test          proves everything'

run: check .tools/run
	@cargo run --locked --package local

seed: check
	@cargo run --locked --package local --bin seed

test: check .tools/run .tools/test
	@tools/test

check:
	@tools/check

.tools/run: tools/run.txt tools/install | check
	@tools/install run

.tools/test: tools/test.txt tools/openapi/package-lock.json tools/install | check
	@tools/install test
