/* plan/facts: the table of facts.  Unit, low, nominal, high, class, confidence, source; conflicts between sources stay as bands. */
#include "plan/plan.h"

#include <stdio.h>
#include <string.h>

const char *const fact_class_name[5] = {"measured", "published", "derived", "assumed", "fitted"};

#define P FACT_PUBLISHED
#define D FACT_DERIVED
#define M FACT_MEASURED
#define A FACT_ASSUMED

/* Array efficiency of ROM by rows: of a published compiler, whose macros read 64 bits; of the bank that burin mask draws, 512 columns wide. */
#define COMPILER_EFFICIENCY \
  [N_EFFICIENCY_1024] = {"ROM array efficiency, 1,024 rows", "1", .17, .194, .22, P, 'M', "ROMA, arXiv 2503.12988"}, \
  [N_EFFICIENCY_2048] = {"ROM array efficiency, 2,048 rows", "1", .28, .31, .34, P, 'M', "ROMA, arXiv 2503.12988"}, \
  [N_EFFICIENCY_4096] = {"ROM array efficiency, 4,096 rows", "1", .39, .424, .46, P, 'M', "ROMA, arXiv 2503.12988"}, \
  [N_EFFICIENCY_8192] = {"ROM array efficiency, 8,192 rows", "1", .48, .52, .56, P, 'M', "ROMA, arXiv 2503.12988"}
#define DRAWN "burin mask --columns 512: .3182 um2 a bit over the bank's; low: a latch a bit, tests and timing, which are not drawn"
#define DRAWN_EFFICIENCY \
  [N_EFFICIENCY_1024] = {"ROM array efficiency, 1,024 rows", "1", .65, .81, .82, M, 'M', DRAWN}, \
  [N_EFFICIENCY_2048] = {"ROM array efficiency, 2,048 rows", "1", .65, .805, .82, M, 'M', DRAWN}, \
  [N_EFFICIENCY_4096] = {"ROM array efficiency, 4,096 rows", "1", .64, .787, .81, M, 'M', DRAWN}, \
  [N_EFFICIENCY_8192] = {"ROM array efficiency, 8,192 rows", "1", .61, .75, .79, M, 'M', DRAWN}

/* Energies of 45 nm are Horowitz's (ISSCC 2014), of 7 nm Jouppi's (ISCA 2021); other nodes are scaled from the nearer of the two by
 * feature size, which the class "derived" says. */
const Node plan_node[] = {
    {"osu018",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", .16, .1667, .17, M, 'H', "NAND2X1 of osu018: 4 transistors in 24 um2 (its LEF, as make synth counts)"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", 3.6, 4, 5.4, A, '-', "sky130's assumption by the square of feature size"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", .65, 1.56, 2.2, D, 'L', "a via at a pitch of .8 um both ways; high: sky130's cell by feature size"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 55, 65, 80, D, 'M', "360 ps per um of channel (Horowitz' rule)"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .8, 1.6, 2.4, D, 'L', "Horowitz ISSCC 2014 (45 nm: .1), scaled by size and the square of the supply"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", 1.6, 3.2, 4.8, D, 'L', "Horowitz ISSCC 2014 (45 nm: .2), scaled likewise"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .09, .13, .3, D, 'L', "sky130's simulated read by feature size"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", 2.5, 5, 7.5, D, 'L', "Horowitz ISSCC 2014 (45 nm: 20 pJ for 64 bits), scaled likewise"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .25, .38, .5, D, 'M', "Dally (45 nm: .094), by the square of the supply"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 55, 80, 130, A, 'L', "Dally, slides of 2009-2020"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 4e-10, 8e-10, 1.6e-9, A, 'L', "as sky130"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", 1e-6, 5e-6, 5e-5, A, 'L', "half of sky130's"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", 5e-7, 3e-6, 3e-5, A, 'L', "half of sky130's"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", 5e-7, 3e-6, 3e-5, A, 'L', "half of sky130's"},
      [N_WAFER] = {"wafer, 300 mm", "$", 1600, 2200, 3000, A, 'L', "200 mm wafers of 700 to 1,300 $, by area"},
      [N_DEFECTS] = {"defects", "1/cm2", .03, .05, .1, A, 'L', "mature node"},
      [N_MASKS] = {"mask set", "$", 1e5, 2e5, 3e5, P, 'L', "aggregators"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 3e3, 7e3, 1.5e4, A, 'L', "mask set over its masks"},
      COMPILER_EFFICIENCY}},
    {"sky130",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", .9, 1.066, 1.1, M, 'H', "nand2_1 of sky130_fd_sc_hd: 4 transistors in 3.7536 um2 (its LEF)"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", 1.9, 2.1, 2.8, A, 'L', "OpenRAM's cells for sky130"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 2.94, 3.14, 3.15, M, 'H', "burin mask: .3182 um2 a cell, .3396 in an array (drawn, rules and netlist checked)"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 45, 54, 70, D, 'M', "360 ps per um of channel (Horowitz' rule), .15 um"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .6, 1.2, 1.8, D, 'L', "Horowitz ISSCC 2014 (45 nm: .1), scaled by size and the square of the supply"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", 1.2, 2.3, 3.5, D, 'L', "Horowitz ISSCC 2014 (45 nm: .2), scaled likewise"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .076, .09, .2, M, 'M', "tools/read_bank.py: ngspice, bank of 64 x 64 with decoder and drivers, half ones, tt (ss at 1.6 V: .076); longer bit lines cost more"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", 1.8, 3.6, 5.4, D, 'L', "Horowitz ISSCC 2014 (45 nm: 20 pJ for 64 bits), scaled likewise"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .25, .38, .5, D, 'M', "Dally (45 nm: .094), by the square of the supply"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 60, 90, 150, A, 'L', "Dally, slides of 2009-2020"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 4e-10, 8e-10, 1.6e-9, A, 'L', "scaled from the assumption for N7"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", 2e-6, 1e-5, 1e-4, A, 'L', "high-density cells leak nanowatts"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", 1e-6, 5e-6, 5e-5, A, 'L', "as its logic, by width of transistor"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", 1e-6, 5e-6, 5e-5, A, 'L', "as its logic"},
      [N_WAFER] = {"wafer, 300 mm", "$", 2000, 2700, 3500, A, 'L', "200 mm wafers of 900 to 1,500 $, by area"},
      [N_DEFECTS] = {"defects", "1/cm2", .03, .05, .1, A, 'L', "mature node"},
      [N_MASKS] = {"mask set", "$", 2e5, 3e5, 5e5, P, 'L', "aggregators"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 4e3, 1e4, 2e4, A, 'L', "mask set over its masks"},
      DRAWN_EFFICIENCY}},
    {"N28",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", 12, 15, 18, A, 'L', "half of N16, by two shrinks of pitch"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", .12, .127, .155, P, 'M', "TSMC IEDM 2009-2011"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 15, 23.6, 30, D, 'M', "a third of the SRAM cell, as ROMA's compiler at 7 nm (arXiv 2503.12988)"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 12, 15, 19, A, 'L', "between 45 nm and 16 nm"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .05, .07, .1, D, 'M', "Horowitz ISSCC 2014 (45 nm: .1), scaled"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", .1, .14, .2, D, 'M', "Horowitz ISSCC 2014 (45 nm: .2), scaled"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .01, .03, .1, A, '-', "three times the assumption for N7"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", .15, .2, .31, D, 'M', "Horowitz ISSCC 2014 (45 nm: 20 pJ for 64 bits), scaled"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .06, .08, .1, D, 'M', "Dally (45 nm: .094), scaled"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 80, 120, 180, A, 'L', "Dally, slides of 2009-2020"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 6e-11, 1.2e-10, 2.4e-10, A, 'L', "scaled from the assumption for N7"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", .005, .02, .08, A, 'L', "a third of N7's"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", .0008, .0025, .008, A, 'L', "a third of N7's"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", .0008, .002, .006, A, 'L', "a third of N7's"},
      [N_WAFER] = {"wafer, 300 mm", "$", 3000, 3500, 5000, P, 'M', "CSET 2020 and press"},
      [N_DEFECTS] = {"defects", "1/cm2", .04, .06, .1, A, 'L', "mature node"},
      [N_MASKS] = {"mask set", "$", 1e6, 2e6, 3e6, P, 'L', "aggregators"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 2e4, 4e4, 8e4, A, 'L', "mask set over its masks"},
      COMPILER_EFFICIENCY}},
    {"N16",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", 25, 28.9, 33, P, 'M', "WikiChip"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", .07, .074, .08, P, 'H', "TSMC IEDM 2013"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 27, 40.5, 50, D, 'M', "a third of the SRAM cell, as ROMA's compiler at 7 nm (arXiv 2503.12988)"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 7.5, 9.5, 12, A, 'L', "between 28 nm and 7 nm"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .035, .05, .07, D, 'M', "between Horowitz 2014 (45 nm) and Jouppi 2021 (7 nm)"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", .08, .1, .14, D, 'M', "between Horowitz 2014 (45 nm) and Jouppi 2021 (7 nm)"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .004, .018, .08, A, '-', "not published for any leading node"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", .13, .16, .22, D, 'M', "between Horowitz 2014 (45 nm) and Jouppi 2021 (7 nm)"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .045, .06, .08, D, 'M', "Dally, scaled"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 90, 130, 200, A, 'L', "Dally, slides of 2009-2020"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 5e-11, 1e-10, 2e-10, A, 'L', "scaled from the assumption for N7"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", .008, .04, .13, A, 'L', "two thirds of N7's"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", .0015, .0045, .013, A, 'L', "two thirds of N7's"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", .0012, .0035, .01, A, 'L', "two thirds of N7's"},
      [N_WAFER] = {"wafer, 300 mm", "$", 3300, 3984, 5000, P, 'H', "CSET 2020"},
      [N_DEFECTS] = {"defects", "1/cm2", .04, .06, .1, A, 'L', "mature node"},
      [N_MASKS] = {"mask set", "$", 3e6, 4e6, 5e6, P, 'L', "aggregators"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 4e4, 7e4, 1.2e5, A, 'L', "mask set over its masks"},
      COMPILER_EFFICIENCY}},
    {"N7",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", 85, 91.2, 97, P, 'H', "WikiChip"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", .027, .027, .0285, P, 'H', "TSMC IEDM 2016"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 95, 111.1, 115, P, 'M', "ROMA, arXiv 2503.12988 (7 nm compiler)"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 4.5, 6, 8, A, 'L', "predictive 7 nm kits; not published by the foundry"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .025, .03, .04, P, 'H', "Jouppi ISCA 2021"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", .06, .07, .09, P, 'H', "Jouppi ISCA 2021"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .0025, .01, .0625, A, '-', "not published for any leading node"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", .117, .133, .219, P, 'H', "Jouppi ISCA 2021 (7.5, 8.5, 14 pJ for 64 bits)"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .035, .045, .06, P, 'M', "Dally"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 100, 150, 250, P, 'L', "Dally; band of sources"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 4e-11, 8.5e-11, 1.7e-10, A, 'L', "typical share of published processors"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", .011, .06, .2, A, 'L', "band of published processors"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", .002, .0067, .02, A, 'L', "a ninth of logic"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", .002, .005, .015, A, 'L', "high-threshold cells"},
      [N_WAFER] = {"wafer, 300 mm", "$", 9000, 9346, 10000, P, 'M', "CSET 2020; press 10,000"},
      [N_DEFECTS] = {"defects", "1/cm2", .07, .09, .12, P, 'M', "AnandTech 16028 (2020)"},
      [N_MASKS] = {"mask set", "$", 1e7, 1.5e7, 2e7, P, 'L', "aggregators, HNLPU arXiv 2508.16151"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 1e5, 1.5e5, 2.3e5, P, 'M', "HNLPU arXiv 2508.16151"},
      COMPILER_EFFICIENCY}},
    {"N6",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", 100, 107.6, 114, P, 'H', "N7 x 1.18, pr.tsmc.com 2019"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", .027, .027, .0285, P, 'M', "as N7"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 95, 111.1, 125, P, 'M', "ROMA, arXiv 2503.12988 (7 nm compiler)"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 4.5, 6, 8, A, 'L', "predictive 7 nm kits; not published by the foundry"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .025, .03, .04, P, 'H', "Jouppi ISCA 2021 (7 nm)"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", .06, .07, .09, P, 'H', "Jouppi ISCA 2021 (7 nm)"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .0025, .01, .0625, A, '-', "not published for any leading node"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", .117, .133, .219, P, 'H', "Jouppi ISCA 2021 (7.5, 8.5, 14 pJ for 64 bits)"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .035, .045, .06, P, 'M', "Dally"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 100, 150, 250, P, 'L', "Dally; band of sources"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 4e-11, 8.5e-11, 1.7e-10, A, 'L', "typical share of published processors"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", .011, .06, .2, A, 'L', "band of published processors"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", .002, .0067, .02, A, 'L', "a ninth of logic"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", .002, .005, .015, A, 'L', "high-threshold cells"},
      [N_WAFER] = {"wafer, 300 mm", "$", 9000, 9346, 10000, P, 'M', "N7's (CSET 2020); N6 not published"},
      [N_DEFECTS] = {"defects", "1/cm2", .07, .09, .12, P, 'M', "N7's (AnandTech 16028, 2020)"},
      [N_MASKS] = {"mask set", "$", 1e7, 1.5e7, 2e7, P, 'L', "aggregators, HNLPU arXiv 2508.16151"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 1e5, 1.5e5, 2.3e5, P, 'M', "HNLPU arXiv 2508.16151"},
      COMPILER_EFFICIENCY}},
    {"N5",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", 138.2, 138.2, 171.3, P, 'M', "Angstronomics; older figure 171.3"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", .021, .021, .022, P, 'H', "TSMC IEDM 2019"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 115, 142.8, 165, D, 'M', "a third of the SRAM cell, as ROMA's compiler at 7 nm (arXiv 2503.12988)"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 3.9, 5.2, 7, D, 'L', "N7 by the foundry's 15 % of speed"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .018, .022, .03, D, 'M', "N7 by the foundry's 30 % of power"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", .042, .05, .065, D, 'M', "N7 by the foundry's 30 % of power"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .0018, .007, .045, A, '-', "N7 by 30 %"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", .085, .1, .16, D, 'M', "N7 by 25 %"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .032, .042, .055, D, 'L', "N7 by 7 %"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 110, 165, 270, A, 'L', "Dally; band of sources"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 3.5e-11, 7.5e-11, 1.5e-10, A, 'L', "scaled from the assumption for N7"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", .012, .065, .22, A, 'L', "band of published processors"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", .002, .0072, .022, A, 'L', "a ninth of logic"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", .002, .0055, .016, A, 'L', "high-threshold cells"},
      [N_WAFER] = {"wafer, 300 mm", "$", 13500, 16988, 17500, P, 'M', "CSET 2020; press 13,500-16,000"},
      [N_DEFECTS] = {"defects", "1/cm2", .1, .11, .12, P, 'M', "AnandTech 16028 (2020)"},
      [N_MASKS] = {"mask set", "$", 1.5e7, 2.2e7, 3e7, P, 'L', "aggregators, HNLPU arXiv 2508.16151"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 1.15e5, 1.7e5, 2.31e5, P, 'M', "HNLPU arXiv 2508.16151 (no EUV)"},
      COMPILER_EFFICIENCY}},
    {"N3",
     {[N_LOGIC] = {"logic density, peak", "MTr/mm2", 180, 197, 215, P, 'L', "N3E, Angstronomics"},
      [N_SRAM_CELL] = {"6T SRAM cell", "um2", .0199, .021, .021, P, 'H', "TSMC IEDM 2022 (N3E .021)"},
      [N_ROM_BARE] = {"ROM bits, bare array", "Mb/mm2", 115, 142.8, 175, D, 'L', "as N5: the SRAM cell did not shrink"},
      [N_FO4] = {"delay of an inverter that drives four", "ps", 3.4, 4.6, 6.2, D, 'L', "N5 by the foundry's 12 % of speed"},
      [N_ADD_ENERGY] = {"32-bit add", "pJ", .012, .015, .022, D, 'L', "N5 by the foundry's 30 % of power"},
      [N_MULTIPLY_ENERGY] = {"8-bit multiply", "pJ", .03, .036, .05, D, 'L', "N5 by the foundry's 30 % of power"},
      [N_ROM_ENERGY] = {"ROM read", "pJ/bit", .0015, .006, .04, A, '-', "N5 by 15 %"},
      [N_SRAM_ENERGY] = {"SRAM read, 32 KiB", "pJ/bit", .07, .085, .14, D, 'L', "N5 by 15 %"},
      [N_WIRE_ENERGY] = {"wire", "pJ/bit/mm", .03, .04, .052, D, 'L', "N5 by 5 %"},
      [N_WIRE_DELAY] = {"wire with repeaters", "ps/mm", 120, 180, 290, A, 'L', "Dally; band of sources"},
      [N_CLOCK_ENERGY] = {"clock tree", "J/mm2/cycle", 3e-11, 6.5e-11, 1.3e-10, A, 'L', "scaled from the assumption for N7"},
      [N_LEAK_LOGIC] = {"leakage of logic", "W/mm2", .013, .07, .24, A, 'L', "band of published processors"},
      [N_LEAK_ROM] = {"leakage of ROM", "W/mm2", .0022, .0078, .024, A, 'L', "a ninth of logic"},
      [N_LEAK_SRAM] = {"leakage of SRAM", "W/mm2", .0022, .006, .018, A, 'L', "high-threshold cells"},
      [N_WAFER] = {"wafer, 300 mm", "$", 18000, 19000, 20000, P, 'L', "press"},
      [N_DEFECTS] = {"defects", "1/cm2", .1, .12, .16, A, 'L', "not published"},
      [N_MASKS] = {"mask set", "$", 2.5e7, 3.5e7, 5e7, A, 'L', "N5's and more EUV"},
      [N_WEIGHT_MASK] = {"one mask that carries weights", "$", 1.3e5, 2e5, 3e5, A, 'L', "N5's (no EUV)"},
      COMPILER_EFFICIENCY}},
};
const int plan_nodes = sizeof plan_node / sizeof *plan_node;

/* Shapes of mixtures; attention that keeps a latent is planned as grouped-query attention of the nearest cache. */
const PlanMixture plan_mixture[] = {
    {"mixtral-8x7b", "layers=32,dim=4096,ffn=14336,heads=32,kv_heads=8,head_dim=128,vocab=32000,context=32768", {8, 2, "Mixtral of Experts, arXiv 2401.04088"}},
    {"deepseek-r1", "layers=61,dim=7168,ffn=2048,heads=128,kv_heads=4,head_dim=128,vocab=129280,context=131072",
     {257, 9, "DeepSeek-V3, arXiv 2412.19437: 256 experts and one shared, 8 and the shared active; its 3 dense layers counted as such layers, its latent of 576 a position as 4 heads of 128"}},
};
const int plan_mixtures = sizeof plan_mixture / sizeof *plan_mixture;

const PlanMixture *plan_mixture_of(const char *name) {
  for (int i = 0; i < plan_mixtures; i++)
    if (strcmp(plan_mixture[i].name, name) == 0) return &plan_mixture[i];
  return NULL;
}

const Fact plan_general[GENERAL_FACTS] = {
    [G_SRAM_EFFICIENCY] = {"SRAM macro efficiency", "1", .6, .65, .7, A, 'M', "common for large macros; IEDM 2022"},
    [G_UTILISATION] = {"realised over peak logic density", "1", .55, .65, .75, D, 'M', "A100 65.6 MTr/mm2 of N7's 91.2 (NVIDIA 2020), with its SRAM"},
    [G_TRANSISTORS_GATE] = {"transistors of a NAND2", "1", 4, 4, 4, P, 'H', "static CMOS"},
    [G_FO4_180] = {"delay of an inverter that drives four, 180 nm", "ps", 55, 65, 80, D, 'M', "360 ps per um of channel (Horowitz' rule)"},
    [G_DOUBLING] = {"path of an adder tree that doubles its terms, osu018", "ns", .7, 1.1, 1.5, D, 'L', "1.7 levels of full adders of .4 to .9 ns (osu018's liberty)"},
    [G_TIMING_MARGIN] = {"set-up, skew, variation and wires within a block", "1", .15, .25, .45, A, '-', "share of the path"},
    [G_TOGGLE] = {"bits of a bus that change a cycle", "1", .15, .25, .4, A, '-', "random data would change half; small values change less"},
    [G_POWER_MARGIN] = {"dynamic power over the sum of counted events", "1", 1, 1.5, 2.9, FACT_FITTED, 'L', "glitches, control, clock gating; high: the published chip over a bottom-up floor"},
    [G_IO_RING] = {"pads, power, test: width of the ring", "mm", .2, .35, .6, A, '-', "common for large dies"},
    [G_SPARE] = {"spare lanes and rows", "1", .01, .02, .04, A, '-', "share of the array area"},
    [G_REPAIRED] = {"defects in the array that spares mend", "1", .5, .8, .95, A, '-', "single cells, rows and lanes"},
    [G_AIR_LIMIT] = {"power density that air cools", "W/mm2", .35, .5, .7, D, 'M', "between the published chip (.25) and H100 (.86)"},
    [G_RETICLE] = {"largest die", "mm2", 858, 858, 858, P, 'H', "26 mm x 33 mm field"},
    [G_WAFER_DIAMETER] = {"wafer", "mm", 300, 300, 300, P, 'H', "standard"},
    [G_WEIGHT_MASKS] = {"masks that a new model changes", "1", 1, 2, 2, P, 'M', "published chip: 2 of about 100 (EE Times 2026)"},
    [G_PACKAGE] = {"package and test", "$", 111, 148, 185, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_SYSTEM] = {"board, host, power supply, for each chip", "$", 1900, 2850, 3800, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_SYSTEM_POWER] = {"host's share of power, for each chip", "W", 30, 50, 80, P, 'M', "published chip: 10 cards of 200 W and a host in 2.5 kW (Next Platform 2026)"},
    [G_NRE_DESIGN] = {"design: architecture, verification, physical, IP", "$", 26.9e6, 40e6, 58.5e6, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_GPU_HOUR] = {"H100, rented", "$/h", 1.99, 2.5, 5, P, 'M', "list prices of 2026"},
    [G_PUE] = {"facility's power over its machines'", "1", 1.2, 1.4, 1.6, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_ENERGY_PRICE] = {"electricity", "$/kWh", .06, .095, .15, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_FACILITY] = {"facility", "$/W", 8, 12, 15, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_MAINTENANCE] = {"maintenance and operations, of the system's price", "1/year", .03, .05, .1, P, 'M', "HNLPU arXiv 2508.16151"},
    [G_LIFE] = {"years in use", "year", 1, 3, 5, A, '-', "a model that is hard-wired ages"},
    [G_UTILISED] = {"share of time that tokens are asked for", "1", .2, .5, .8, A, '-', "of the one-user speed"},
    [G_VOLUME] = {"chips of one model", "1", 1e3, 1e4, 1e5, A, '-', "unproven: nobody has sold such numbers"},
    [G_LINK_LATENCY] = {"from chip to chip", "ns", 50, 150, 400, A, 'L', "short-reach serial links"},
    [G_LINK_ENERGY] = {"from chip to chip", "pJ/bit", .5, 1.5, 5, A, 'L', "short-reach serial links"},
    [G_BUMP_PITCH] = {"pitch of supply bumps", "um", 130, 180, 260, A, 'L', "flip-chip bumps at 130 um, half to all of them on supplies"},
    [G_GRID_SHEET] = {"supply grid, both rails", "ohm/sq", .01, .03, .08, A, 'L', "two thick metals, 30 to 50 % of each on a supply"},
    [G_SUPPLY] = {"supply", "V", .65, .75, .85, A, 'L', "common for N7 to N5"},
    [G_MASK_WEEKS] = {"weight masks: data and checks", "week", 1, 1, 2, P, 'M', "published chip: a week from weights to RTL (Next Platform 2026)"},
    [G_FOUNDRY_WEEKS] = {"foundry: weight masks, metal layers, test", "week", 6, 8, 12, P, 'M', "published chip: about 2 months (EE Times 2026)"},
    [G_ASSEMBLY_WEEKS] = {"package and boards", "week", 1, 2, 4, A, '-', "common for flip-chip packages"},
    [G_NEW_BASE_WEEKS] = {"foundry: a new base, all layers", "week", 16, 22, 30, A, 'L', "common for leading nodes"},
};

const Fact *plan_fact(const Node *n, int i) { return i < NODE_FACTS ? &n->fact[i] : &plan_general[i - NODE_FACTS]; }

const Node *plan_node_of(const char *name, Err *err) {
  char names[128] = "";
  for (int i = 0; i < plan_nodes; i++) {
    if (strcmp(plan_node[i].name, name) == 0) return &plan_node[i];
    size_t n = strlen(names);
    snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", plan_node[i].name);
  }
  err_set(err, "node '%s': expected %s", name, names);
  return NULL;
}

const PlanSystem plan_system[] = {
    {"HC1 (the published chip)", 14357, 16960, 17000, 0, 815, 200, "taalas.com, Next Platform 2026, live demo"},
    {"H100 SXM, bandwidth ceiling FP8", 417, 417, 417, 15220, 814, 700, "3.35 TB/s over 8.03 GB (derived); batch: TensorRT-LLM v1.0 at 1000/1000"},
    {"H200", 230, 230, 598, 17744, 814, 700, "vendor chart; high: ceiling FP8 (derived)"},
    {"B200", 353, 353, 996, 0, 1600, 1000, "vendor chart; high: ceiling FP8 (derived)"},
    {"Groq LPU v1", 594, 594, 751, 0, 725, 300, "vendor chart; high: Artificial Analysis; a model takes hundreds of chips"},
    {"Cerebras WSE-3", 1800, 1981, 1981, 0, 46225, 23000, "vendor chart and cerebras.ai"},
    {"SambaNova SN40L", 932, 932, 1042, 0, 0, 625, "vendor chart; 10 kW for a rack of 16"},
    {"Etched Sohu", 0, 0, 0, 0, 0, 0, "no figure for 8B; claims 500,000 tokens/s on 8 chips for Llama 70B in batches"},
    {"H100, as often quoted", 1500, 1750, 2000, 0, 814, 700, "1,500-2,000 in circulation: neither the batch-1 nor the batch figure above"},
};
const int plan_systems = sizeof plan_system / sizeof *plan_system;

/* make synth (osu018, Yosys, OpenSTA) writes this table and doc/synthesis.json. */
const PlanModule plan_module[] = {
    /* synthesis */
    {"burin_step", "", 30520, 4.66},
    {"burin_max", "Vec 8", 139464, 4.62},
    {"burin_divide", "Digits 17, Radix 1", 27080, 2.67},
    {"burin_root", "Radix 1, RootDim 17'd2048, Eps 48'd10737", 95232, 5.19},
    {"burin_quantise", "Vec 8, IndexWidth 8", 1188392, 7.14},
    {"burin_residual", "Vec 8, IndexWidth 8, DimWords 8", 207336, 8.34},
    {"burin_embed", "Vec 8, IndexWidth 8, DimWords 8, Bits 6, Levels 64, Shift 10'd10", 248128, 4.24},
    {"burin_activations", "Size 192, Vec 8, Taps 8, IndexWidth 8", 340624, 1.6},
    {"burin_products", "Taps 8, Codes 8", 1056784, 3.73},
    {"burin_lane", "Taps 8, CodeBits 3", 134376, 6.45},
    {"burin_lane_structural", "Taps 8, CodeBits 3", 78384, 8.51},
    {"burin_lane_structural", "Taps 64, CodeBits 3", 395032, 8.5},
    {"burin_sweep", "IndexWidth 8, Taps 8, BlockWords 2", 19104, 2.5},
    {"burin_bank", "Lanes 16, Taps 8, Vec 8, CodeBits 3, Mats 36, ScaleWords 272", 3407944, 7.21},
    {"burin_finish", "Vec 8, IndexWidth 8, Mats 36, RowWords 464", 1958800, 7.48},
    {"burin_rotary", "Vec 8, IndexWidth 8, HeadDim 16, RotaryDims 16, PositionWidth 9, HighDepth 8", 3248408, 7.75},
    {"burin_heads", "Vec 8, HeadDim 16", 825592, 8.31},
    {"burin_score", "HeadDim 16", 448424, 6.49},
    {"burin_softmax", "", 102120, 6.94},
    {"burin_attention_unit", "Share 2, HeadDim 16, Vec 8, Scan 2, Rounds 2, Radix 1, CacheDepth 2560, Rows 256, RowWidth 8", 4771112, 7.47},
    {"burin_attention", "Units 2, Share 2, HeadDim 16, Vec 8, Scan 2, Rounds 2, Radix 1, Layers 5, Context 512, PositionWidth 9, IndexWidth 8", 1850440, 7.87},
    {"burin_butterfly", "Width 64, Level 0", 1410792, 7.75},
    {"burin_silu", "", 468808, 6.93},
    {"burin_gate", "Vec 8, IndexWidth 8, Ffn 192", 1962552, 7.21},
    {"burin_sampler", "Vec 8, IndexWidth 8, Vocab 64", 3939176, 7.69},
    {"burin_sequencer", "", 30248, 2.93},
    {"burin_port", "", 41096, 1.72},
    /* end */
};
const int plan_modules = sizeof plan_module / sizeof *plan_module;
