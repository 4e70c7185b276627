# burin: make            build (no network)        make demo     from nothing to text
#        make check      every test                make install  PREFIX=/usr/local DESTDIR=
#        make arm64      for ARM, from another machine: build/arm64
#        make check-long SmolLM2-135M whole: quality, simulation  make synth  cells, area, timing of the hardware
#        make read-bank  a bank of the masks read in ngspice        make tile       the tiny model on a sky130 shuttle's area
#        make bench      speed beside llama.cpp: builds it, takes half an hour, renews doc/performance.*
# Variables: CC, BUILD (folder), SANITIZE=1 (ASan and UBSan), DEBUG=1.

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
PREFIX ?= /usr/local
PYTHON ?= python3

WARN := -Wall -Wextra -Wpedantic -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual \
        -Wvla -Wundef
CFLAGS ?= -O3 -g
ALL_CFLAGS := -std=c17 -Isrc -D_POSIX_C_SOURCE=200809L -ffp-contract=off -fno-math-errno -pthread $(WARN) $(CFLAGS)
LDLIBS := -lcrypto -lxxhash -lz -lutf8proc -ljansson -ledit -levent_core -levent_extra -lm -pthread
ifdef SANITIZE
ALL_CFLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif

ROOMS := base model text chip engine cast rtl plan mask serve cmd
SRC := $(wildcard $(ROOMS:%=src/%/*.c))
# That CC compiles for.
MACHINE := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine)))

# Files named *_isa.c are compiled once for each instruction set; kernel_<isa>.c with that set's flags.
ISA_scalar :=
ISA_avx2 := -mavx2 -mbmi2
ISA_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd -mavx512vnni -mavx512vbmi -mbmi2 -mprefer-vector-width=512
ISA_avxvnni := $(ISA_avx2) -mavxvnni
ISA_amx := $(ISA_avx512) -mamx-tile -mamx-int8
ISA_neon := -march=armv8.2-a+dotprod
KERNELS_x86_64 := avx2 avxvnni avx512 amx
KERNELS_aarch64 := neon
KERNELS := scalar $(KERNELS_$(MACHINE))
ISAS := $(filter-out avxvnni amx neon,$(KERNELS)) # whose element-wise operations are their own
SRC := $(filter-out $(patsubst %,src/engine/kernel_%.c,$(filter-out $(KERNELS),$(KERNELS_x86_64) $(KERNELS_aarch64))),$(SRC))

ISA_SRC := $(filter %_isa.c,$(SRC))
OBJ := $(patsubst src/%.c,$(BUILD)/%.o,$(filter-out $(ISA_SRC) src/cmd/%,$(SRC))) \
       $(foreach i,$(ISAS),$(ISA_SRC:src/%_isa.c=$(BUILD)/%_$(i).o))
# The hardware's sources travel in the program: `burin rtl` writes them out.
HW := $(sort $(wildcard hw/*.sv hw/cells/*.sv hw/cells/*.v hw/tb/*.sv))
OBJ += $(BUILD)/rtl/files.o
# So does the chat page: `burin serve` sends it.
WEB := $(sort $(wildcard web/*.html web/*.css web/*.js web/*.svg web/*.json))
OBJ += $(BUILD)/serve/files.o
# And the processes that masks are drawn for.
PROCESS := $(sort $(wildcard process/*.json))
OBJ += $(BUILD)/mask/files.o
CMD_OBJ := $(patsubst src/%.c,$(BUILD)/%.o,$(filter src/cmd/%,$(SRC)))

all: $(BUILD)/burin

$(BUILD)/burin: $(CMD_OBJ) $(OBJ)
	@echo '  LD  $@'
	@$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/rtl/files.s: $(HW) tools/embed.sh Makefile
	@mkdir -p $(@D)
	@tools/embed.sh rtl_file $(HW) > $@
$(BUILD)/serve/files.s: $(WEB) tools/embed.sh Makefile
	@mkdir -p $(@D)
	@tools/embed.sh web_file $(WEB) > $@
$(BUILD)/mask/files.s: $(PROCESS) tools/embed.sh Makefile
	@mkdir -p $(@D)
	@tools/embed.sh mask_file $(PROCESS) > $@
$(BUILD)/%/files.o: $(BUILD)/%/files.s
	@$(CC) -c -o $@ $<

# Filters that tests put beside other implementations.
$(BUILD)/test/%: $(BUILD)/test/%.o $(OBJ)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(if $(filter test_%,$*),-lcmocka)

UNIT := $(patsubst test/%.c,$(BUILD)/test/%,$(wildcard test/test_*.c))
FILTERS := $(patsubst test/%.c,$(BUILD)/test/%,$(filter-out test/test_%.c,$(wildcard test/*.c)))
test-programs: $(UNIT) $(FILTERS) $(BUILD)/burin
.PRECIOUS: $(BUILD)/test/%.o

$(BUILD)/test/%.o: test/%.c Makefile
	@mkdir -p $(@D)
	@echo '  CC  $@'
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# Tools that are part of how models/ came to be.
$(BUILD)/stories: $(BUILD)/tools/tiny/stories.o $(OBJ)
	@$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/tools/%.o: tools/%.c Makefile
	@mkdir -p $(@D)
	@echo '  CC  $@'
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define isa_rules
$(BUILD)/%_$(1).o: src/%_isa.c Makefile
	@mkdir -p $$(@D)
	@echo '  CC  $$@'
	@$$(CC) $$(ALL_CFLAGS) $$(ISA_$(1)) -DISA=$(1) -MMD -MP -c -o $$@ $$<
endef
define kernel_rules
$(BUILD)/engine/kernel_$(1).o: src/engine/kernel_$(1).c Makefile
	@mkdir -p $$(@D)
	@echo '  CC  $$@'
	@$$(CC) $$(ALL_CFLAGS) $$(ISA_$(1)) -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call isa_rules,$(i))))
$(foreach i,$(KERNELS),$(eval $(call kernel_rules,$(i))))

$(BUILD)/%.o: src/%.c Makefile
	@mkdir -p $(@D)
	@echo '  CC  $@'
	@$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)

demo:
	@tools/need.sh demo
	@$(MAKE) --no-print-directory all
	@tools/demo.sh $(BUILD)/burin

check:
	@tools/need.sh check
	@$(PYTHON) test/run.py

# For ARM, on another machine: build/arm64/burin, which qemu-aarch64 -L build/arm64/root runs.
arm64:
	@tools/need.sh arm64
	@tools/sysroot.sh $(BUILD)/arm64/root
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/arm64 CC="aarch64-linux-gnu-gcc-12 --sysroot=$(BUILD)/arm64/root" test-programs

check-long: all
	@tools/need.sh check
	@$(PYTHON) test/hardware.py

synth:
	@tools/need.sh check
	@$(PYTHON) tools/synth.py --write

read-bank: all
	@tools/need.sh spice
	@mkdir -p $(BUILD)
	@$(BUILD)/burin cast models/tiny.gguf --fast --bits all=4,q=3,v=6,head=6 -o $(BUILD)/tiny.chip >/dev/null
	@build/spice/bin/python tools/read_bank.py $(BUILD)/burin $(BUILD)/tiny.chip

tile: all
	@tools/need.sh tile
	@$(BUILD)/burin cast models/tiny.gguf --fast --bits all=4,head=4,embed=6 -o $(BUILD)/tile.chip >/dev/null
	@build/spice/bin/python tools/tile.py $(BUILD)/burin $(BUILD)/tile.chip $(BUILD)/tile

bench:
	@tools/need.sh peer
	@$(MAKE) --no-print-directory all
	@$(BUILD)/peer/bin/python tools/bench.py

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BUILD)/burin $(DESTDIR)$(PREFIX)/bin/burin
	install -m 644 doc/burin.1 $(DESTDIR)$(PREFIX)/share/man/man1/burin.1

clean:
	rm -rf $(BUILD)

.PHONY: all test-programs demo check check-long synth read-bank tile bench install clean
.DELETE_ON_ERROR:
