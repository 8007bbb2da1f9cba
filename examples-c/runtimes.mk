# How an example that embeds CPython and a JVM finds them, and how it is compiled. To be included after selvedge.mk, with `here`, `root`
# and BUILD set. Of what tools/find-runtimes.sh found it takes the newest, or PYTHON=3.12, JVM=17. Sets python_version, python (the
# program), python_home, python_cflags, python_libs; java_home, java_cflags, java_libs. Whoever chooses more adds it to `chosen`.

FOUND ?= $(root)/target/runtimes/found.tsv
CFLAGS ?= -O2 -g
warnings := -std=c99 -Wall -Wextra -Wpedantic -Werror

ifneq ($(MAKECMDGOALS),clean)
ifeq ($(wildcard $(FOUND)),)
$(info $(shell '$(root)/tools/find-runtimes.sh'))
endif
# The fields of the newest runtime of a kind, or of the version that is wanted.
row = $(shell awk -F '\t' -v kind=$(1) -v want='$(2)' '$$1 == kind && (want == "" || index($$2 ".", want ".") == 1)' '$(FOUND)' | \
        sort -t '	' -k2,2V | tail -n 1 | cut -f '$(3)')
# Runtimes' headers are not held to our warnings.
system = $(patsubst -I%,-isystem%,$(1))

python := $(call row,python,$(PYTHON),6)
ifeq ($(python),)
$(error no CPython $(PYTHON) with a shared library and headers was found (Debian: libpython3-dev))
endif
python_version := $(call row,python,$(PYTHON),2)
python_home := $(patsubst PYTHONHOME=%,%,$(filter PYTHONHOME=%,$(call row,python,$(PYTHON),5)))
python_cflags := $(call row,python,$(PYTHON),3)
python_libs := $(call row,python,$(PYTHON),4)

java_home := $(call row,jvm,$(JVM),6)
ifeq ($(java_home),)
$(error no JDK $(JVM) with jni.h was found (Debian: default-jdk-headless))
endif
java_cflags := $(call system,$(call row,jvm,$(JVM),3))
java_libs := $(call row,jvm,$(JVM),4)

chosen := $(python) $(java_home)
endif

# Rewritten only when another runtime was chosen.
$(BUILD)/chosen: FORCE
	@mkdir -p $(BUILD)
	@echo '$(chosen)' | cmp -s - $@ || echo '$(chosen)' >$@
.PHONY: FORCE

# Each file has the flags of what it embeds: CFLAGS_python for python.c.
$(BUILD)/%.o: $(here)/%.c $(BUILD)/chosen
	$(CC) $(warnings) $(CFLAGS) -pthread $(SELV_CFLAGS) $(CFLAGS_$*) -MMD -MP -c -o $@ $<

$(BUILD)/classes/%.class: $(here)/%.java $(BUILD)/chosen
	$(java_home)/bin/javac -Xlint:all -d $(BUILD)/classes $<
