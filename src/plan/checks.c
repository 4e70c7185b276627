/* plan/checks: the models against what others have published.  Nothing is fitted to these but the power margin's upper end. */
#include "plan/parts.h"

static void put(PlanCheck *c, const char *what, const char *unit, double predicted, double low, double high, const char *source, const char *note) {
  *c = (PlanCheck){what, unit, source, note, predicted, low, high};
}

/* A published part in this design: its shape at its average width. */
typedef struct {
  const char *shape, *node;
  PlanExperts experts;
  double average;
  int lanes, scan;
  double die_limit; /* 0: whole, whatever a reticle holds */
} Part;

static bool planned(const Part *p, double out[OUTPUTS], int *chips, Err *err) {
  ChipShape s;
  RtlKnobs k;
  PlanInput in;
  double value[FACTS];
  const Node *n = plan_node_of(p->node, err);
  if (!n || !chip_shape_of(p->shape, &s, err) || !rtl_knobs("n6", &s, &k, err)) return false;
  k.context = 2048;
  k.lanes = p->lanes;
  k.scan = p->scan;
  if (!plan_input(&in, &s, p->experts, NULL, p->average, &k, 1024, n, err)) return false;
  in.group_lanes = 256;
  if (p->die_limit > 0 && !plan_fit(&in, p->die_limit, 256, err)) return false;
  plan_nominal(&in, value);
  plan_evaluate(&in, value, out);
  *chips = in.chips;
  return true;
}

int plan_checks(PlanCheck c[PLAN_CHECKS], Err *err) {
  double o[OUTPUTS], mixture[OUTPUTS], ternary[OUTPUTS], roma[OUTPUTS], n5[NODE_FACTS], n6[NODE_FACTS], n7[NODE_FACTS], g[GENERAL_FACTS];
  const Node *a = plan_node_of("N5", err), *b = plan_node_of("N6", err), *d = plan_node_of("N7", err);
  const PlanMixture *m = plan_mixture_of("deepseek-r1");
  const Part hc1 = {"llama-3.1-8b", "N6", {1, 1, NULL}, 3.75, 4096, 64, 0}, bitnet = {"layers=30,dim=2560,ffn=6912,heads=20,kv_heads=5,head_dim=128,vocab=128256,context=4096", "N7", {1, 1, NULL}, 2.1, 1024, 16, 0},
             lora = {"llama-3.2-3b", "N7", {1, 1, NULL}, 4.1, 1024, 16, 0}, r1 = {m->shape, "N6", m->experts, 3.75, 2048, 4, 858}; /* r1: lanes and scan that the search finds */
  int n = 0, one = 0, chips = 0;
  if (!planned(&hc1, o, &one, err) || !planned(&bitnet, ternary, &one, err) || !planned(&lora, roma, &one, err) || !planned(&r1, mixture, &chips, err) || !a || !b || !d) return -1;
  for (int i = 0; i < NODE_FACTS; i++) n5[i] = a->fact[i].nominal, n6[i] = b->fact[i].nominal, n7[i] = d->fact[i].nominal;
  for (int i = 0; i < GENERAL_FACTS; i++) g[i] = plan_general[i].nominal;
  put(&c[n++], "HNLPU: good dies of a wafer, 827 mm2, N5", "dies", dies_of(827, 300) * murphy(827, n5[N_DEFECTS]), 27, 27, "arXiv 2508.16151", "die formula and Murphy");
  put(&c[n++], "HNLPU: cost of a good die", "$", n5[N_WAFER] / (dies_of(827, 300) * murphy(827, n5[N_DEFECTS])), 629, 635, "arXiv 2508.16151", "wafer over good dies");
  put(&c[n++], "815 mm2 in N6: cost of a good die", "$", n6[N_WAFER] / (dies_of(815, 300) * murphy(815, n6[N_DEFECTS])), 295, 316, "CSET wafer, AnandTech defects", "low to high wafer price");
  put(&c[n++], "HNLPU: NRE of a chip for Llama 3 8B", "$M", (g[G_NRE_DESIGN] + n5[N_MASKS]) / 1e6, 38, 123, "arXiv 2508.16151", "38 by its own count; high: its upper ends summed");
  put(&c[n++], "ROM macro 8192 x 64, 7 nm", "Mb/mm2", n7[N_ROM_BARE] * n7[N_EFFICIENCY_8192], 57.8, 57.8, "ROMA arXiv 2503.12988", "bare density times efficiency");
  put(&c[n++], "SRAM macro, 7 nm", "Mb/mm2", g[G_SRAM_EFFICIENCY] / n7[N_SRAM_CELL], 24.1, 25.3, "IEDM 2022, derived", "Mib there");
  put(&c[n++], "A100: transistors of whole chip, N7", "MTr/mm2", n7[N_LOGIC] * g[G_UTILISATION], 65.6, 65.6, "NVIDIA 2020", "logic at this utilisation; the chip holds SRAM and pads as well");
  put(&c[n++], "H100: transistors of whole chip, N5", "MTr/mm2", n5[N_LOGIC] * g[G_UTILISATION], 98.3, 98.3, "NVIDIA 2022: 80 G in 814 mm2", "4N is denser than the N5 that is modelled");
  put(&c[n++], "TOM: ternary ROM, 7 nm", "Mb/mm2", n7[N_ROM_BARE], 120, 120, "arXiv 2602.20662: 15.0 MB/mm2", "bare array of a compiler here; theirs is drawn for ternary weights");
  put(&c[n++], "ankhdjet: BitNet 2B, 7 nm", "mm2", ternary[O_DIE], 300, 300, "ankhdjet 0.1.0, its estimate for ASAP7", "2-bit codes, and here a whole decoder with attention, head and KV cache; theirs: linear layers");
  put(&c[n++], "ROMA: Llama 3.2 3B, 7 nm", "mm2", roma[O_DIE], 503.7, 503.7, "arXiv 2503.12988", "4 bits; theirs keeps 4-bit ROM with SRAM for adapters and longer contexts");
  put(&c[n++], "ROMA: tokens/s of one user", "tokens/s", roma[O_TPS], 20078, 20078, "arXiv 2503.12988", "1,024 lanes of 512 taps here, one choice of many");
  put(&c[n++], "HC1: die", "mm2", o[O_DIE], 815, 815, "taalas.com", "this design with its widths: mixed 3 and 6 bits, 3.75 assumed on average, KV cache of 2,048");
  put(&c[n++], "HC1: transistors", "G", o[O_TRANSISTORS] / 1e9, 53, 53, "taalas.com", "a ROM bit counts as one; the published cell holds 4 bits in one transistor, so its logic must be larger");
  put(&c[n++], "HC1: tokens/s of one user", "tokens/s", o[O_TPS], 14357, 17000, "taalas.com, live demo", "above: its 1,843 ns a layer are a longer chain or slower clock than this schedule; not fitted");
  put(&c[n++], "HC1: power of a card at 16,960 tokens/s", "W", 16960 * o[O_E_TOKEN] + o[O_STATIC], 150, 250, "Next Platform 2026", "energy of a token here at its speed; below the band: HC1 spends more a token than is counted here");
  put(&c[n++], "HC1: cost of a million tokens", "cent", 100 * o[O_MTOK_COST], .75, .75, "press, a claim", "assumed volume, life and use decide");
  put(&c[n++], "HC: chips for DeepSeek R1, 671 B", "chips", chips, 30, 30, "press, simulated by its makers", "the published cell is denser than a compiler's ROM; 3.75 bits assumed");
  put(&c[n++], "HC: tokens/s of one user, DeepSeek R1", "tokens/s", mixture[O_TPS], 12000, 12000, "press, simulated by its makers", "9 experts a layer one after the other, whole layers a chip");
  return n;
}
