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

.PHONY: help lib header lint demo demo-deadlock demo-guest test wheel python check bench install clean wheels-installed setup-demo setup-guest setup-wheel setup-test setup-check setup-bench runtimes

help:
	@echo 'make demo     install what is missing and run the main job: three runtimes in one process, one thread cache (ARGS=--help)'
	@echo 'make demo-deadlock   a ring of three tasks in C, Java and Python is refused where it would close; drawn to target/demo/deadlock.svg'
	@echo 'make demo-guest   Trio as the guest of a GLib main loop, its threads attached to a JVM for their whole lives: who ran where, counted'
	@echo 'make test     install what is missing and run every test'
	@echo 'make wheel    the Python package: a wheel for every CPython found, in target/wheels'
	@echo 'make python   install the wheels into environments and run their tests alone (ARGS=3.12: the trials with that in their names)'
	@echo 'make check    the slow tests: models, sanitizers, memcheck, full-size storms, the Python package under ASan (CHECK=python: one stage)'
	@echo 'make bench    the side-by-side benchmarks; writes docs/benchmarks.md (ARGS=locks: one suite)'
	@echo 'make lib      the library: $(OUT)/libselvedge.so and libselvedge.a'
	@echo 'make install  PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make header   generate include/selvedge.h anew after a change in src/capi'
	@echo 'make lint     rustfmt, clippy and the SAFETY lines'

setup-demo setup-guest setup-wheel setup-test setup-check setup-bench: setup-%:
	@tools/setup.sh $*

runtimes:
	@tools/find-runtimes.sh

lib:
	cargo build --release --locked --lib
	@ln -sf libselvedge.so $(OUT)/libselvedge.so.$(ABI)

header:
	@touch build.rs
	SELV_HEADER_OUT=$(CURDIR)/include/selvedge.h cargo build --release --lib

lint:
	cargo fmt --check
	cargo clippy --release --locked --lib --tests -- -D warnings

demo: setup-demo runtimes lib
	@$(MAKE) --no-print-directory -s -C examples-c/demo run PREFIX= ARGS='$(ARGS)'

demo-deadlock: setup-demo runtimes lib
	@$(MAKE) --no-print-directory -s -C examples-c/deadlock run PREFIX=

demo-guest: setup-guest runtimes lib
	@$(MAKE) --no-print-directory -s -C examples-c/trio_guest run PREFIX=

test: setup-test runtimes lib lint wheels-installed
	cargo test --release --locked

wheels-installed: runtimes lib
	@tools/wheels.sh build
	@tools/wheels.sh install

wheel: setup-wheel runtimes lib
	@tools/wheels.sh build
	@ls -1 target/wheels/*.whl

python: setup-test runtimes lib wheels-installed
	cargo test --release --locked --test python -- $(ARGS)

check: setup-check runtimes lib
	tools/check.sh $(CHECK)

bench: setup-bench runtimes lib wheels-installed
	cargo run --release --locked -p selvedge-benches -- --write docs $(ARGS)

install: lib
	install -d $(DESTDIR)$(INCLUDEDIR)/selvedge $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 include/selvedge.h include/selvedge.hpp $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 include/selvedge/*.h $(DESTDIR)$(INCLUDEDIR)/selvedge/
	strip --strip-debug -o $(DESTDIR)$(LIBDIR)/libselvedge.so.$(VERSION) $(OUT)/libselvedge.so
	chmod 755 $(DESTDIR)$(LIBDIR)/libselvedge.so.$(VERSION)
	ln -sf libselvedge.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libselvedge.so.$(ABI)
	ln -sf libselvedge.so.$(ABI) $(DESTDIR)$(LIBDIR)/libselvedge.so
	strip --strip-debug -o $(DESTDIR)$(LIBDIR)/libselvedge.a $(OUT)/libselvedge.a
	chmod 644 $(DESTDIR)$(LIBDIR)/libselvedge.a
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@INCLUDEDIR@|$(INCLUDEDIR)|; s|@VERSION@|$(VERSION)|' \
	  tools/selvedge.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/selvedge.pc
	@echo 'installed libselvedge $(VERSION) below $(DESTDIR)$(PREFIX)'

clean:
	cargo clean
