# Everything that one does with Selvedge. `make demo` and `make test` are the two to begin with; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
ABI := $(shell sed -n 's/^const ABI: u32 = \([0-9]*\);/\1/p' build.rs)
OUT := target/release

.PHONY: help lib header demo test check bench install setup-% clean

help:
	@echo 'make demo     install what is missing and run the main job: three runtimes in one process, one thread cache'
	@echo 'make test     install what is missing and run every test'
	@echo 'make check    the slow tests: sanitizers, memcheck, full-size storms, models'
	@echo 'make bench    the side-by-side benchmarks'
	@echo 'make lib      the library: $(OUT)/libselvedge.so and libselvedge.a'
	@echo 'make install  PREFIX=/usr/local DESTDIR='
	@echo 'make header   generate include/selvedge.h anew after a change of src/capi'

setup-%:
	@tools/setup.sh $*

lib:
	cargo build --release --locked --lib
	@ln -sf libselvedge.so $(OUT)/libselvedge.so.$(ABI)

header:
	@touch build.rs
	SELV_HEADER_OUT=$(CURDIR)/include/selvedge.h cargo build --release --lib
