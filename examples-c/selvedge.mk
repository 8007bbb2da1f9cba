# How the examples find Selvedge. Sets SELV_CFLAGS, SELV_LIBS, and SELV_LIBRARY, which what links it depends on.
# Without PREFIX: this source tree, after `make lib`. With PREFIX=/usr/local: what is installed there, by pkg-config.

selvedge_root := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)

ifdef PREFIX
selvedge_config = PKG_CONFIG_PATH="$(PREFIX)/lib/pkgconfig:$(PREFIX)/lib64/pkgconfig:$(PREFIX)/share/pkgconfig:$$PKG_CONFIG_PATH" pkg-config
SELV_CFLAGS := $(shell $(selvedge_config) --cflags selvedge)
SELV_LIBS := $(shell $(selvedge_config) --libs selvedge) -Wl,-rpath,$(shell $(selvedge_config) --variable=libdir selvedge)
SELV_LIBRARY :=
ifneq ($(.SHELLSTATUS),0)
$(error pkg-config finds no selvedge below PREFIX=$(PREFIX))
endif
else
SELV_CFLAGS := -I$(selvedge_root)/include
SELV_LIBS := -L$(selvedge_root)/target/release -Wl,-rpath,$(selvedge_root)/target/release -lselvedge
SELV_LIBRARY := $(selvedge_root)/target/release/libselvedge.so
endif

ifdef SELV_LIBRARY
$(SELV_LIBRARY):
	@echo 'no $@: run "make lib" in $(selvedge_root) first' >&2; exit 1
endif
