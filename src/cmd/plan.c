/* cmd/plan: burin plan X.chip; burin plan --shape NAME */
#include "cmd/cmd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const char *shape, *node, *optimise, *html;
  double bits, die, watts;
  int position, chips;
  PlanExperts experts; /* 0: the shape's */
  bool json, facts;
  TextList set;
  KnobOptions knobs;
} PlanOptions;

enum { MOST_FRONT = 64, MOST_DIES = 256 };

typedef struct {
  PlanInput in;
  Band band[OUTPUTS];
  PlanPoint front[MOST_FRONT];
  int points;
  char title[200];
} Plan;

/* ---- text ---- */

static void line(const char *what, const Band *b, double scale, const char *unit, int digits) {
  printf("  %-26s %10.*f  (%.*f - %.*f) %s\n", what, digits, b->nominal * scale, digits, b->low * scale, digits, b->high * scale, unit);
}

static void print_text(const Plan *p) {
  const Band *b = p->band;
  const RtlKnobs *k = &p->in.design.knobs;
  printf("%s\n%d lanes x %d taps, vec %d, scan %d, heads %d, radix %d; KV cache of %d, at position %d; %d chip%s in %s\n", p->title, k->lanes, k->taps, k->vec,
         k->scan, k->heads, k->radix, k->context, p->in.position, p->in.chips, p->in.chips > 1 ? "s" : "", p->in.node->name);
  if (p->in.experts.stored > 1)
    printf("%d experts a layer, %d active: %.1f B weights held, %.1f B read for a token; experts are not in the RTL: their cycles are derived from its phases\n", p->in.experts.stored, p->in.experts.active,
           p->in.stored * 1e-9, p->in.weights * 1e-9);
  if (p->in.experts.source) printf("Shape: %s\n", p->in.experts.source);
  printf("All figures derived: counts of the emitted design x facts (--facts). Nominal (10 %% - 90 %% over the facts' bands).\n\n");
  line("tokens/s, one user", &b[O_TPS], 1, "", 0);
  line("cycles a token", &b[O_CYCLES], 1, "", 0);
  line("clock", &b[O_CLOCK], 1e-6, "MHz", 0);
  line("die", &b[O_DIE], 1, "mm2", 0);
  line("power", &b[O_WATTS], 1, "W", 1);
  line("tokens/J", &b[O_TOKENS_PER_JOULE], 1, "", 1);
  line("cost of the chips", &b[O_CHIP_COST], 1, "$", 0);
  line("a million tokens", &b[O_MTOK_COST], 100, "cent", 3);
  line("yield, repaired", &b[O_YIELD_REPAIRED], 100, "%", 0);
  line("NRE", &b[O_NRE], 1e-6, "M$", 1);
  line("respin for a new model", &b[O_RESPIN], 1e-6, "M$", 2);
  printf("\n  area, mm2: ROM %.0f, SRAM %.0f, lanes %.0f, products %.0f, vector %.0f, attention %.0f, ring %.0f\n", b[O_AREA_ROM].nominal, b[O_AREA_SRAM].nominal,
         b[O_AREA_LANES].nominal, b[O_AREA_PRODUCTS].nominal, b[O_AREA_VECTOR].nominal, b[O_AREA_ATTENTION].nominal, b[O_AREA_RING].nominal);
  printf("  uJ a token, before the margin: ROM %.0f, lanes %.0f, wires %.0f, clock %.0f, attention %.0f, vector %.0f, links %.0f; leakage %.0f W\n",
         1e6 * b[O_E_ROM].nominal, 1e6 * b[O_E_LANES].nominal, 1e6 * b[O_E_WIRES].nominal, 1e6 * b[O_E_CLOCK].nominal, 1e6 * b[O_E_ATTENTION].nominal,
         1e6 * b[O_E_VECTOR].nominal, 1e6 * b[O_E_LINK].nominal, b[O_STATIC].nominal);
  printf("\n  on Llama 3.1 8B, one user (published or derived from it)\n");
  for (int i = 0; i < plan_systems; i++)
    if (plan_system[i].nominal > 0) printf("  %-34s %7.0f tokens/s  %s\n", plan_system[i].name, plan_system[i].nominal, plan_system[i].source);
}

static void print_facts(const PlanInput *in) {
  for (int i = 0; i < FACTS; i++) {
    const Fact *f = &in->fact[i];
    printf("%-58s %10g %10g %10g  %-11s %-9s %c  %s\n", f->name, f->low, f->nominal, f->high, f->unit, fact_class_name[f->class], f->confidence, f->source);
  }
}

/* ---- JSON ---- */

static json_t *real_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *band_json(const Band *b, const OutputName *o) {
  return json_pack("{s:o,s:o,s:o,s:s,s:s,s:s}", "low", real_or_null(b->low), "nominal", real_or_null(b->nominal), "high", real_or_null(b->high), "unit", o->unit,
                   "class", "derived", "source", o->how);
}

static json_t *knobs_json(const RtlKnobs *k) {
  return json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i}", "lanes", k->lanes, "taps", k->taps, "vec", k->vec, "scan", k->scan, "heads", k->heads, "radix", k->radix, "ctx",
                   k->context);
}

static json_t *checks_json(Err *err) {
  PlanCheck c[PLAN_CHECKS];
  json_t *list = json_array();
  int n = plan_checks(c, err);
  for (int i = 0; i < n; i++)
    json_array_append_new(list, json_pack("{s:s,s:s,s:f,s:f,s:f,s:f,s:s,s:s}", "what", c[i].what, "unit", c[i].unit, "predicted", c[i].predicted, "published_low",
                                          c[i].low, "published_high", c[i].high, "ratio", c[i].predicted / sqrt(c[i].low * c[i].high), "source", c[i].source,
                                          "note", c[i].note));
  return list;
}

static void plan_json(const Plan *p, Err *err) {
  json_t *o = json_object(), *facts = json_array(), *systems = json_array(), *front = json_array();
  for (int i = 0; i < OUTPUTS; i++) json_object_set_new(o, plan_output[i].key, band_json(&p->band[i], &plan_output[i]));
  for (int i = 0; i < FACTS; i++) {
    const Fact *f = &p->in.fact[i];
    char confidence[2] = {f->confidence, 0};
    json_array_append_new(facts, json_pack("{s:s,s:s,s:f,s:f,s:f,s:s,s:s,s:s}", "name", f->name, "unit", f->unit, "low", f->low, "nominal", f->nominal, "high",
                                           f->high, "class", fact_class_name[f->class], "confidence", confidence, "source", f->source));
  }
  for (int i = 0; i < plan_systems; i++) {
    const PlanSystem *s = &plan_system[i];
    json_array_append_new(systems, json_pack("{s:s,s:f,s:f,s:f,s:f,s:s}", "name", s->name, "low", s->low, "nominal", s->nominal, "high", s->high, "batch", s->batch,
                                             "source", s->source));
  }
  for (int i = 0; i < p->points; i++)
    json_array_append_new(front, json_pack("{s:o,s:f,s:f,s:f}", "knobs", knobs_json(&p->front[i].knobs), "tokens_per_second", p->front[i].out[O_TPS],
                                           "tokens_per_joule", p->front[i].out[O_TOKENS_PER_JOULE], "die_mm2", p->front[i].out[O_DIE]));
  json_object_set_new(o, "title", json_string(p->title));
  json_object_set_new(o, "node", json_string(p->in.node->name));
  json_object_set_new(o, "chips", json_integer(p->in.chips));
  json_object_set_new(o, "experts", json_pack("{s:i,s:i,s:f,s:f}", "stored", p->in.experts.stored, "active", p->in.experts.active, "weights_held", p->in.stored, "weights_read", p->in.weights));
  json_object_set_new(o, "position", json_integer(p->in.position));
  json_object_set_new(o, "knobs", knobs_json(&p->in.design.knobs));
  json_object_set_new(o, "facts", facts);
  json_object_set_new(o, "systems", systems);
  json_object_set_new(o, "checks", checks_json(err));
  json_object_set_new(o, "front", front);
  print_json(o);
  json_decref(o);
}

/* ---- the command ---- */

static bool write_page(const Plan *p, const char *path, Err *err) {
  Buf b = {0};
  bool ok = plan_page(&p->in, p->title, p->band, p->front, p->points, &b, err);
  Writer *w = ok ? writer_open(path, err) : NULL;
  if (w) {
    writer_put(w, b.s, b.n);
    ok = writer_commit(w, err);
  }
  buf_free(&b);
  return ok && w;
}

/* The user chose the machine's size; otherwise the search does. */
static bool sized(const KnobOptions *k) {
  return k->size || k->knobs.lanes || k->knobs.taps || k->knobs.vec || k->knobs.scan || k->knobs.heads || k->knobs.radix;
}

/* The search's size, and the front that the page shows.  A size that was given stays, and needs the search for the front only. */
static bool search(Plan *p, const Chip *chip, const PlanOptions *o, Err *err) {
  static const char *const aim[] = {"speed", "energy", "cost"};
  bool given = sized(&o->knobs);
  int a = 0;
  if (o->optimise && given) return err_set(err, "optimise: the size is given");
  for (; o->optimise && a < 3 && strcmp(aim[a], o->optimise) != 0; a++) {}
  if (a == 3) return err_set(err, "optimise: expected speed, energy or cost, found '%s'", o->optimise);
  if (o->chips < 0 || o->chips > MOST_DIES) return err_set(err, "chips: expected 1 to %d, found %d", MOST_DIES, o->chips);
  if (given && !plan_fit(&p->in, o->die, o->chips ? o->chips : MOST_DIES, err)) return false;
  if (given && !o->html) return true;
  PlanInput in = p->in;
  Err e = {0};
  for (int chips = o->chips ? o->chips : plan_least_chips(&in, o->die);; chips++) { /* as few as it takes, unless told */
    e = (Err){0};
    if (plan_search(&in, chip, o->bits, (PlanAim)a, o->die, o->watts, chips, p->front, MOST_FRONT, &p->points, &e)) break;
    if (o->chips || chips >= MOST_DIES) return given || err_set(err, "%s", e.text);
  }
  if (!given) p->in = in;
  return true;
}

/* The shape and the experts behind a name; options say otherwise. */
static bool shape_of(const PlanOptions *o, ChipShape *s, PlanExperts *e, Err *err) {
  const char *shape = o->shape;
  const PlanMixture *m = plan_mixture_of(o->shape);
  if (m) shape = m->shape, *e = m->experts;
  if (o->experts.stored) e->stored = o->experts.stored, e->source = NULL;
  if (o->experts.active) e->active = o->experts.active, e->source = NULL;
  if (chip_shape_of(shape, s, err)) return true;
  Buf names = {0};
  for (int i = 0; i < plan_mixtures; i++) buf_printf(&names, err, "%s%s", i ? ", " : "", plan_mixture[i].name);
  if (names.s && strlen(err->text) + names.n + 16 < sizeof err->text) sprintf(err->text + strlen(err->text), "; mixtures: %.*s", (int)names.n, names.s);
  buf_free(&names);
  return false;
}

static bool run_plan(const char *path, const PlanOptions *o, Err *err) {
  Chip chip = {0};
  ChipShape s;
  RtlDesign d;
  KnobOptions knobs = o->knobs;
  const Node *node = plan_node_of(o->node, err);
  PlanExperts experts = {1, 1, NULL};
  if (!node || (o->shape ? !shape_of(o, &s, &experts, err) : !chip_open_any(&chip, path, err))) return false;
  if (!o->shape) s = chip.shape;
  if (!knobs.size) knobs.size = "n6";
  if (!knobs.knobs.context) knobs.knobs.context = s.context < 2048 ? s.context : 2048;
  Plan *p = mem_alloc(1, sizeof *p, err);
  int position = o->position >= 0 ? o->position : knobs.knobs.context / 2;
  bool ok = p && (o->bits >= 2 && o->bits <= 8.5 ? true : err_set(err, "bits: expected 2 to 8.5, found %g", o->bits));
  ok = ok && knob_options(&knobs, &s, &d, err) && plan_input(&p->in, &s, experts, o->shape ? NULL : &chip, o->bits, &d.knobs, position, node, err);
  for (int i = 0; ok && i < o->set.n; i++) ok = plan_set(&p->in, o->set.text[i], err);
  ok = ok && search(p, o->shape ? NULL : &chip, o, err);
  if (ok) {
    if (o->shape) snprintf(p->title, sizeof p->title, "%s at %g bits a weight (random codes)", o->shape, o->bits);
    else snprintf(p->title, sizeof p->title, "%s, %.2f bits a weight", file_name(path), p->in.code_bits / p->in.weights);
    plan_bands(&p->in, 1, p->band);
    if (o->facts) print_facts(&p->in);
    else if (o->json) plan_json(p, err);
    else print_text(p);
    ok = !err->set && (!o->html || write_page(p, o->html, err));
  }
  mem_free(p);
  if (!o->shape) chip_close(&chip);
  return ok;
}

int cmd_plan(int argc, char **argv) {
  const char *path;
  PlanOptions o = {.node = "N6", .bits = 3.5, .die = 858, .watts = 600, .position = -1};
  const Option option[] = {
      {"shape", 0, OPT_TEXT, &o.shape, "NAME", "plan a shape instead of a chip: llama-3.1-8b, mixtral-8x7b, deepseek-r1, ..., or layers=N,dim=N,..."},
      {"experts", 0, OPT_INT, &o.experts.stored, "N", "with --shape: feed-forward blocks in each layer (default: 1, or the name's)"},
      {"active", 0, OPT_INT, &o.experts.active, "N", "how many of them a token goes through"},
      {"bits", 'b', OPT_FLOAT, &o.bits, "X", "with --shape: bits a weight, scales included (default 3.5)"},
      {"node", 0, OPT_TEXT, &o.node, "NAME", "process: osu018, sky130, N28, N16, N7, N6 (default), N5, N3"},
      {"position", 0, OPT_INT, &o.position, "N", "position in the context that the speed is for (default: half of it)"},
      {"optimise", 0, OPT_TEXT, &o.optimise, "AIM", "what the size is searched for unless knobs are given: speed (default), energy or cost"},
      {"die-limit", 0, OPT_FLOAT, &o.die, "MM2", "of the search (default 858, a reticle)"},
      {"watt-limit", 0, OPT_FLOAT, &o.watts, "W", "of the search (default 600)"},
      {"chips", 0, OPT_INT, &o.chips, "N", "spread the model over at most N chips (default: as few as it takes)"},
      {"set", 0, OPT_LIST, &o.set, "FACT=X", "another value for a fact; may be given several times"},
      {"facts", 0, OPT_FLAG, &o.facts, "", "list the facts: low, nominal, high, unit, class, confidence, source"},
      {"html", 0, OPT_TEXT, &o.html, "FILE", "write a page with everything: floorplan, timeline, costs, checks, facts"},
      {"json", 0, OPT_FLAG, &o.json, "", "print everything as JSON"},
      KNOB_OPTIONS(o.knobs),
  };
  const Usage usage = {"plan", "burin plan X.chip [options]",
                       "Says what the chip would be: speed, area, power, yield, money, and what each figure stands on.  The size of the machine is\n"
                       "searched unless knobs are given; the KV cache holds 2,048 positions unless --ctx says otherwise.", option, sizeof option / sizeof *option, 1, 1};
  int status = options_parse(&usage, argc, argv, &path);
  if (status >= 0) return status;
  if ((path != NULL) == (o.shape != NULL)) {
    fprintf(stderr, "burin plan: expected X.chip or --shape NAME\n");
    return STATUS_USAGE;
  }
  Err err = {0};
  return run_plan(path, &o, &err) ? STATUS_DONE : fail("plan", &err);
}
