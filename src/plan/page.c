/* plan/page: one self-contained HTML page: figures are SVG drawn here from the data; light, dark and print. */
#include "plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  const PlanInput *in;
  const Band *b;
  Buf *out;
  Err *err;
} Page;

/* err remembers; later puts do nothing. */
#define PUT(p, ...) ((void)((p)->err->set || buf_printf((p)->out, (p)->err, __VA_ARGS__)))

static const char *const mark[5] = {"M", "P", "D", "A", "F"};

static const char style[] =
    "<style>:root{color-scheme:light dark;--paper:#fbfaf7;--card:#fff;--ink:#1c2321;--soft:#55605c;--line:#d9d8d0;--a:#1d5f57;--b:#b4772a;--c:#4f6fae;--d:#8a4f7d;"
    "--e:#6b8e3c;--f:#a34a3a;--g:#777}@media(prefers-color-scheme:dark){:root{--paper:#151a19;--card:#1d2423;--ink:#e6ebe8;--soft:#a3b0ab;--line:#333d3a;--a:#5db3a5;"
    "--b:#d9a253;--c:#86a3de;--d:#c68cba;--e:#a0c46c;--f:#dd8474;--g:#aaa}}*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}main{max-width:64rem;margin:auto;padding:1.2rem}h1{margin:.2rem 0;font-size:1.6rem}h2{margin:2.2rem 0 .5rem;font-size:1.2rem}"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(11rem,40%),1fr));gap:.7rem}.card{background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:.6rem .8rem}.card b{font-size:1.35rem;display:block;font-variant-numeric:tabular-nums}.card span,small,.soft{color:var(--soft);font-size:.85rem}"
    "table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}td,th{border-bottom:1px solid var(--line);padding:.25rem .5rem;"
    "text-align:left;vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}.scroll{overflow-x:auto}td:first-child{min-width:8rem}svg{width:100%;min-width:40rem;height:auto;background:var(--card);"
    "border:1px solid var(--line);border-radius:10px;display:block}text{fill:var(--ink);font:13px system-ui,sans-serif}.s{fill:var(--soft);font-size:11px}"
    "sup{color:var(--b);font-weight:600}@media print{body{background:#fff}h2{break-after:avoid}svg,table{break-inside:avoid}}</style>";

static void escaped(Page *p, const char *s) {
  for (; *s; s++) PUT(p, *s == '<' || *s == '&' ? "&#%d;" : "%c", *s);
}

/* A drawing 800 units wide, which a narrow window scrolls rather than shrinks; drawn() ends it. */
static void drawing(Page *p, int height, const char *label) {
  PUT(p, "<div class=scroll tabindex=0><svg viewBox='0 0 800 %d' role=img aria-label='%s'>", height, label);
}

static void drawn(Page *p) { PUT(p, "</svg></div>"); }

static const char *const colour[7] = {"a", "c", "b", "d", "e", "f", "g"};

static void number(Page *p, double x) {
  double a = fabs(x);
  if (!isfinite(x)) PUT(p, "-");
  else if (a >= 1e15) PUT(p, "%.0f T", x / 1e12);
  else if (a >= 1e12) PUT(p, "%.3g T", x / 1e12);
  else if (a >= 1e9) PUT(p, "%.3g G", x / 1e9);
  else if (a >= 999999.5) PUT(p, "%.3g M", x / 1e6);
  else if (a >= 999.5) PUT(p, "%ld,%03ld", lround(x) / 1000, lround(a) % 1000);
  else PUT(p, a >= 100 ? "%.0f" : "%.3g", x);
}

static void card(Page *p, const char *what, int output, double scale, const char *unit) {
  const Band *b = &p->b[output];
  PUT(p, "<div class=card><span>%s</span><b>", what);
  number(p, b->nominal * scale);
  PUT(p, " %s<sup title='derived: %s'>D</sup></b><span>", unit, plan_output[output].how);
  number(p, b->low * scale);
  PUT(p, " to ");
  number(p, b->high * scale);
  PUT(p, "</span></div>");
}

static void cards(Page *p) {
  PUT(p, "<div class=cards>");
  card(p, "tokens/s, one user", O_TPS, 1, "");
  card(p, "die", O_DIE, 1, "mm\xC2\xB2");
  card(p, "power", O_WATTS, 1, "W");
  card(p, "tokens a joule", O_TOKENS_PER_JOULE, 1, "");
  card(p, "clock", O_CLOCK, 1e-6, "MHz");
  card(p, "cycles a token", O_CYCLES, 1, "");
  card(p, "chips and packages", O_CHIP_COST, 1, "$");
  card(p, "a million tokens", O_MTOK_COST, 100, "cent");
  PUT(p, "</div><p class=soft>Large: with nominal facts. Below: 10 %% to 90 %% of %d draws over the bands of all facts. Marks: <sup>M</sup> measured here, <sup>P</sup> published, "
         "<sup>D</sup> derived from counts of the emitted design and facts, <sup>A</sup> assumed, <sup>F</sup> fitted.</p>", PLAN_DRAWS);
}

/* ---- comparison, logarithmic ---- */

static void bar(Page *p, int row, const char *name, double low, double nominal, double high, const char *evidence, const char *fill) {
  double x = 300, scale = 480.0 / 5, y = 16 + row * 26; /* 10 .. 1,000,000 */
  double w = (log10(nominal) - 1) * scale, from = (log10(low) - 1) * scale, to = (log10(high) - 1) * scale;
  PUT(p, "<text x=8 y=%.0f>%s</text><text x=%.0f y=%.0f text-anchor=end>", y + 13, name, x - 8, y + 13);
  number(p, nominal);
  PUT(p, " <tspan class=s>%s</tspan></text><rect x=%.0f y=%.0f width=%.1f height=16 fill='var(--%s)'/>", evidence, x, y, w, fill);
  if (high > low) PUT(p, "<path d='M%.1f %.0fH%.1f' stroke='var(--ink)' stroke-width=1.5 />", x + from, y + 8, x + to);
}

static void comparison(Page *p) {
  int row = 1;
  PUT(p, "<h2>One user on Llama 3.1 8B: tokens a second</h2>");
  drawing(p, 26 + 26 * plan_systems, "tokens a second of this chip and others, logarithmic");
  bar(p, 0, "this plan", p->b[O_TPS].low, p->b[O_TPS].nominal, p->b[O_TPS].high, "D", "a");
  for (int i = 0; i < plan_systems; i++) {
    const PlanSystem *s = &plan_system[i];
    if (s->nominal > 0) bar(p, row++, s->name, s->low, s->nominal, s->high, strstr(s->source, "derived") && s->low == s->high ? "D" : "P", "g");
  }
  drawn(p);
  PUT(p, "<p class=soft>Logarithmic from 10. Others with 8B; this plan: its own model. Sources:");
  for (int i = 0; i < plan_systems; i++) PUT(p, " %s: %s%s", plan_system[i].name, plan_system[i].source, i + 1 < plan_systems ? ";" : ".</p>");
}

/* ---- floorplan: blocks to scale; ROM and lanes in columns around a spine ---- */

static void floorplan(Page *p) {
  double die = sqrt(p->b[O_DIE].nominal), ring = (die - sqrt(p->b[O_DIE].nominal - p->b[O_AREA_RING].nominal)) / 2, px = 460 / die, core = die - 2 * ring;
  double middle = (p->b[O_AREA_VECTOR].nominal + p->b[O_AREA_ATTENTION].nominal + p->b[O_AREA_SRAM].nominal) / core; /* mm of width */
  double side = (core - middle) / 2, array = p->b[O_AREA_ROM].nominal + p->b[O_AREA_LANES].nominal + p->b[O_AREA_PRODUCTS].nominal;
  double logic = (p->b[O_AREA_LANES].nominal + p->b[O_AREA_PRODUCTS].nominal) / array;
  PUT(p, "<h2>Floorplan, to scale</h2>");
  drawing(p, 500, "floorplan");
  PUT(p, "<rect x=20 y=20 width=460 height=460 fill='none' stroke='var(--ink)'/>");
  int rows = 8, columns = 2;
  for (int half = 0; half < 2; half++)
    for (int r = 0; r < rows; r++)
      for (int k = 0; k < columns; k++) {
        double w = side / columns, h = core / rows, x = 20 + px * (ring + (half ? side + middle : 0) + w * k), y = 20 + px * (ring + h * r);
        PUT(p, "<rect x=%.1f y=%.1f width=%.1f height=%.1f fill='var(--a)' stroke='var(--card)'/><rect x=%.1f y=%.1f width=%.1f height=%.1f fill='var(--b)'/>", x, y,
            px * w, px * h, x + px * w * 0.5 * (1 - sqrt(logic)), y + px * h * 0.5 * (1 - sqrt(logic)), px * w * sqrt(logic), px * h * sqrt(logic));
      }
  const int block[3] = {O_AREA_SRAM, O_AREA_ATTENTION, O_AREA_VECTOR};
  const char *const fill[3] = {"c", "d", "e"};
  double y = ring;
  for (int i = 0; i < 3; i++) {
    double h = p->b[block[i]].nominal / middle;
    PUT(p, "<rect x=%.1f y=%.1f width=%.1f height=%.1f fill='var(--%s)'/>", 20 + px * (ring + side), 20 + px * y, px * middle, px * h, fill[i]);
    y += h;
  }
  static const struct {
    const char *name, *fill;
    int output;
  } key[] = {{"mask ROM of the weights", "a", O_AREA_ROM}, {"lanes", "b", O_AREA_LANES}, {"product lines", "b", O_AREA_PRODUCTS}, {"KV cache, vectors", "c", O_AREA_SRAM},
             {"attention", "d", O_AREA_ATTENTION}, {"vector units", "e", O_AREA_VECTOR}, {"ring of pads", "g", O_AREA_RING}};
  for (int i = 0; i < 7; i++) {
    PUT(p, "<rect x=510 y=%d width=14 height=14 fill='var(--%s)'/><text x=532 y=%d>%s: ", 40 + 28 * i, key[i].fill, 52 + 28 * i, key[i].name);
    number(p, p->b[key[i].output].nominal);
    PUT(p, " mm\xC2\xB2 <tspan class=s>D</tspan></text>");
  }
  PUT(p, "<text x=510 y=270>%.1f mm x %.1f mm, %d chip%s <tspan class=s>D</tspan></text><text x=510 y=292 class=s>Lanes, product lines: in the middle of their ROM;</text>"
         "<text x=510 y=308 class=s>16 of each half are drawn for all. Not routed.</text>", die, die, p->in->chips, p->in->chips > 1 ? "s" : "");
  drawn(p);
}

/* ---- the phases of a layer ---- */

static void timeline(Page *p) {
  RtlPhases t = rtl_phases(&p->in->design, p->in->position, true, false);
  double layers = p->in->design.shape.layers, wire = p->b[O_CYCLES_WIRE].nominal / layers, experts = p->b[O_CYCLES_EXPERTS].nominal / layers;
  const double cycles[8] = {(double)t.qkv, (double)t.attention, (double)t.o, (double)t.gate_up, (double)t.butterfly, (double)t.down, wire, experts};
  static const char *const name[8] = {"norm, q k v", "attention", "o", "norm, gate, up", "butterfly", "down", "wires", "router, more experts"};
  double sum = 0, x = 20;
  int phases = experts > 0 ? 8 : 7;
  for (int i = 0; i < phases; i++) sum += cycles[i];
  PUT(p, "<h2>A token's time</h2>");
  drawing(p, 130, "cycles of a layer by phase");
  for (int i = 0; i < phases; i++) {
    double w = 760 * cycles[i] / sum;
    PUT(p, "<rect x=%.1f y=20 width=%.1f height=34 fill='var(--%s)'/><rect x=%d y=%d width=10 height=10 fill='var(--%s)'/><text x=%d y=%d class=s>%s: %.0f D</text>", x, w > 1 ? w - 1 : w,
        colour[i % 7], 20 + 256 * (i % 3), 70 + 18 * (i / 3), colour[i % 7], 36 + 256 * (i % 3), 79 + 18 * (i / 3), name[i], cycles[i]);
    x += w;
  }
  drawn(p);
  PUT(p, "<p>%.0f cycles a layer<sup>D</sup>, of which the weights are swept in %llu<sup>D</sup>; %.0f layers, embedding and head: ", sum, (unsigned long long)t.sweep_layer, layers);
  number(p, p->b[O_CYCLES].nominal);
  PUT(p, " cycles<sup>D</sup>, %.2f \xC2\xB5s<sup>D</sup> a token. The schedule is exact (simulation counts the same); crossings of the die%s are not in the RTL.</p>",
      1e6 / p->b[O_TPS].nominal, experts > 0 ? ", the router and experts after the first" : "");
}

/* ---- parts of a whole ---- */

typedef struct {
  const char *title, *unit;
  const int *output;
  const char *const *name;
  int n;
  double scale;
} Whole;

static double part_of(const Page *p, const Whole *w, int i) { return p->b[w->output[i]].nominal; }

static double whole_of(const Page *p, const Whole *w) {
  double sum = 0;
  for (int i = 0; i < w->n; i++) sum += part_of(p, w, i);
  return sum;
}

static void part_text(Page *p, const Whole *w, int i, double sum) {
  PUT(p, "%s: ", w->name[i]);
  number(p, part_of(p, w, i) * w->scale);
  PUT(p, " %s (%.0f %%) D</text>", w->unit, 100 * part_of(p, w, i) / sum);
}

typedef struct {
  double x, y, w, h;
} Area;

/* Parts order[0..n) of the whole fill the area, each in its proportion: halves of about the same sum, along the longer side. */
static void tile(Page *p, const Whole *w, const int *order, int n, Area a) {
  if (n == 1) {
    PUT(p, "<rect x=%.1f y=%.1f width=%.1f height=%.1f fill='var(--%s)' stroke='var(--card)'/>", a.x, a.y, a.w, a.h, colour[order[0]]);
    return;
  }
  double sum = 0, half = 0;
  int k = 0;
  for (int i = 0; i < n; i++) sum += part_of(p, w, order[i]);
  do half += part_of(p, w, order[k++]);
  while (k < n - 1 && half + part_of(p, w, order[k]) / 2 < sum / 2);
  double share = sum > 0 ? half / sum : .5;
  Area low = a, high = a;
  if (a.w >= a.h) low.w = a.w * share, high.x = a.x + low.w, high.w = a.w - low.w;
  else low.h = a.h * share, high.y = a.y + low.h, high.h = a.h - low.h;
  tile(p, w, order, k, low);
  tile(p, w, order + k, n - k, high);
}

static void treemap(Page *p, const Whole *w) {
  double sum = whole_of(p, w);
  int order[8];
  for (int i = 0; i < w->n; i++) { /* the largest first */
    int k = i;
    for (; k > 0 && part_of(p, w, order[k - 1]) < part_of(p, w, i); k--) order[k] = order[k - 1];
    order[k] = i;
  }
  drawing(p, 206 + 18 * ((w->n + 2) / 3), w->title);
  PUT(p, "<text x=20 y=20>%s</text>", w->title);
  tile(p, w, order, w->n, (Area){20, 30, 760, 160});
  for (int i = 0; i < w->n; i++) {
    PUT(p, "<rect x=%d y=%d width=10 height=10 fill='var(--%s)'/><text x=%d y=%d class=s>", 20 + 256 * (i % 3), 200 + 18 * (i / 3), colour[i], 36 + 256 * (i % 3), 209 + 18 * (i / 3));
    part_text(p, w, i, sum);
  }
  drawn(p);
}

/* Each bar begins where the one above ends. */
static void waterfall(Page *p, const Whole *w) {
  double sum = whole_of(p, w), x = 260;
  drawing(p, 62 + 24 * w->n, w->title);
  PUT(p, "<text x=20 y=20>%s</text>", w->title);
  for (int i = 0; i < w->n; i++) {
    double width = 520 * part_of(p, w, i) / sum;
    PUT(p, "<rect x=%.1f y=%d width=%.1f height=18 fill='var(--%s)'/><text x=20 y=%d class=s>", x, 32 + 24 * i, width, colour[i], 45 + 24 * i);
    part_text(p, w, i, sum);
    x += width;
  }
  PUT(p, "<rect x=260 y=%d width=520 height=4 fill='var(--ink)'/><text x=20 y=%d class=s>all: ", 40 + 24 * w->n, 45 + 24 * w->n);
  number(p, sum * w->scale);
  PUT(p, " %s D</text>", w->unit);
  drawn(p);
}

static void breakdowns(Page *p) {
  static const int energy[] = {O_E_ROM, O_E_LANES, O_E_WIRES, O_E_CLOCK, O_E_ATTENTION, O_E_VECTOR, O_E_LINK};
  static const char *const energies[] = {"ROM", "lanes", "wires", "clock", "attention", "vector units", "links"};
  static const int area[] = {O_AREA_ROM, O_AREA_SRAM, O_AREA_LANES, O_AREA_PRODUCTS, O_AREA_VECTOR, O_AREA_ATTENTION, O_AREA_RING};
  static const char *const areas[] = {"ROM", "KV cache, vectors", "lanes", "product lines", "vector units", "attention", "ring"};
  static const int cost[] = {O_MTOK_SILICON, O_MTOK_SYSTEM, O_MTOK_NRE, O_MTOK_POWER, O_MTOK_FACILITY, O_MTOK_OPERATIONS};
  static const char *const costs[] = {"silicon", "board and host", "design and masks", "electricity", "facility", "operations"};
  PUT(p, "<h2>Where area, energy and money go</h2>");
  treemap(p, &(Whole){"area of a die", "mm\xC2\xB2", area, areas, 7, 1});
  PUT(p, "<br>");
  treemap(p, &(Whole){"energy of a token, before the power margin", "\xC2\xB5J", energy, energies, 7, 1e6});
  PUT(p, "<br>");
  waterfall(p, &(Whole){"cost of a million tokens", "cent", cost, costs, 6, 100});
}

/* 1, 2 or 5 times a power of ten: about `most` / 5. */
static double tick(double most) {
  double power = pow(10, floor(log10(most / 5))), times = most / 5 / power;
  return power * (times < 1.5 ? 1 : times < 3.5 ? 2 : times < 7.5 ? 5 : 10);
}

static void pareto(Page *p, const PlanPoint *front, int n) {
  if (n < 2) return;
  double fast = front[0].out[O_TPS] * 1.15, thrifty = front[n - 1].out[O_TOKENS_PER_JOULE] * 1.15;
  double across = 710 / fast, up = 260 / thrifty; /* units of the drawing for each token/s, token/J */
  PUT(p, "<h2>Speed against energy</h2>");
  drawing(p, 340, "Pareto front");
  PUT(p, "<path d='M70 30V290H780' stroke='var(--ink)' fill=none />"
         "<text x=420 y=330 text-anchor=middle class=s>tokens/s, one user</text><text x=20 y=18 class=s>tokens/J</text>");
  for (double x = 0; x <= fast; x += tick(fast)) {
    PUT(p, "<text x=%.0f y=308 text-anchor=middle class=s>", 70 + across * x);
    number(p, x);
    PUT(p, "</text>");
  }
  for (double y = 0; y <= thrifty; y += tick(thrifty)) {
    PUT(p, "<text x=64 y=%.0f text-anchor=end class=s>", 294 - up * y);
    number(p, y);
    PUT(p, "</text>");
  }
  for (int i = 0; i < n; i++)
    PUT(p, "<circle cx=%.1f cy=%.1f r=4 fill='var(--a)'><title>lanes %d, taps %d, scan %d, vec %d, radix %d: %.0f mm2, %.0f W</title></circle>",
        70 + across * front[i].out[O_TPS], 290 - up * front[i].out[O_TOKENS_PER_JOULE], front[i].knobs.lanes, front[i].knobs.taps, front[i].knobs.scan,
        front[i].knobs.vec, front[i].knobs.radix, front[i].out[O_DIE], front[i].out[O_WATTS]);
  PUT(p, "<circle cx=%.1f cy=%.1f r=6 fill=none stroke='var(--f)' stroke-width=2.500 />", 70 + across * p->b[O_TPS].nominal, 290 - up * p->b[O_TOKENS_PER_JOULE].nominal);
  drawn(p);
  PUT(p, "<p class=soft>Sizes of the machine that no other beats in both<sup>D</sup>, with nominal facts, within the search's limits. Ring: this plan.</p>");
}

/* ---- beside a GPU ---- */

static void row(Page *p, const char *what, double gpu, double chip, const char *unit, const char *gpu_mark) {
  PUT(p, "<tr><td>%s<td class=n>", what);
  number(p, gpu);
  PUT(p, " %s<sup>%s</sup><td class=n>", unit, gpu_mark);
  number(p, chip);
  PUT(p, " %s<sup>D</sup><td class=n>", unit);
  number(p, chip / gpu);
  PUT(p, "</tr>");
}

static void against_gpu(Page *p) {
  const PlanSystem *h = &plan_system[PLAN_H100];
  const Band *b = p->b;
  double hour = p->in->fact[NODE_FACTS + G_GPU_HOUR].nominal, batch = 1e8 * hour / (h->batch * 3600), single = 1e8 * hour / (h->nominal * 3600), cents = 100 * b[O_MTOK_COST].nominal;
  PUT(p, "<h2>H100 and this chip</h2><div class=scroll tabindex=0><table><tr><th>Llama 3.1 8B<th class=n>H100<th class=n>this plan<th class=n>ratio<sup>D</sup></tr>");
  row(p, "tokens/s, one user (H100: bandwidth ceiling)", h->nominal, b[O_TPS].nominal, "", "D");
  row(p, "tokens/s, all users (this chip writes for one at a time)", h->batch, b[O_TPS].nominal, "", "P");
  row(p, "tokens/J, all users", h->batch / h->watts, b[O_TOKENS_PER_JOULE].nominal, "", "D");
  row(p, "power density to cool", h->watts / h->die_mm2, b[O_DENSITY_W].nominal, "W/mm\xC2\xB2", "D");
  row(p, "tokens/s for each MW of machines, all users", h->batch * 1e6 / h->watts, b[O_TPS].nominal * 1e6 / (b[O_WATTS].nominal + p->in->chips * p->in->fact[NODE_FACTS + G_SYSTEM_POWER].nominal), "", "D");
  row(p, "a million tokens, all users (rented)", batch, cents, "cent", "D");
  row(p, "a million tokens, one user (rented)", single, cents, "cent", "D");
  PUT(p, "</table></div><p><b>A token at a tenth of the cost:</b> against a GPU that serves one user it %s (ratio %.4f), against one whose batches are full it %s (ratio %.3f), at ",
      cents < single / 10 ? "holds" : "does not hold", cents / single, cents < batch / 10 ? "holds" : "does not hold", cents / batch);
  number(p, p->in->fact[NODE_FACTS + G_VOLUME].nominal);
  PUT(p, " chips of one model, %.0f %% use and %.0f years<sup>A</sup>.</p>", 100 * p->in->fact[NODE_FACTS + G_UTILISED].nominal, p->in->fact[NODE_FACTS + G_LIFE].nominal);
  double hardware = b[O_MTOK_SILICON].nominal + b[O_MTOK_SYSTEM].nominal + b[O_MTOK_NRE].nominal, power = b[O_MTOK_POWER].nominal, all = b[O_MTOK_COST].nominal;
  PUT(p, "<div class=scroll tabindex=0><table><tr><th>share of the cost of inference<th class=n>as often quoted, GPU<sup>P</sup><th class=n>this plan</tr>"
         "<tr><td>hardware (here with design and masks)<td class=n>40-50 %%<td class=n>%.0f %%<sup>D</sup></tr><tr><td>power<td class=n>20-30 %%<td class=n>%.0f %%<sup>D</sup></tr>"
         "<tr><td>network and storage (here: facility)<td class=n>10-15 %%<td class=n>%.0f %%<sup>D</sup></tr><tr><td>operations<td class=n>10-15 %%<td class=n>%.0f %%<sup>D</sup></tr></table></div>",
      100 * hardware / all, 100 * power / all, 100 * b[O_MTOK_FACILITY].nominal / all, 100 * b[O_MTOK_OPERATIONS].nominal / all);
}

static void step(Page *p, const char *what, const char *who, double start, int fact) {
  const Fact *f = &p->in->fact[NODE_FACTS + fact];
  PUT(p, "<tr><td>%s<td>%s<td class=n>", what, who);
  if (start >= 0) PUT(p, "%.0f", start);
  else PUT(p, "after its design");
  PUT(p, "<td class=n>%.0f (%.0f-%.0f) weeks<sup>%s</sup></tr>", f->nominal, f->low, f->high, mark[f->class]);
}

static void calendar(Page *p) {
  double masks = p->in->fact[NODE_FACTS + G_MASK_WEEKS].nominal, ready = masks + p->in->fact[NODE_FACTS + G_FOUNDRY_WEEKS].nominal;
  PUT(p, "<h2>From a model to chips</h2><div class=scroll tabindex=0><table><tr><th>step<th>who<th class=n>starts, week<sup>D</sup><th class=n>takes</tr>"
         "<tr><td>cast: weights to integers<td>burin<td class=n>0<td class=n>4 minutes (135M, two cores)<sup>M</sup>, 9-18 hours (8B, <code>cast --dry-run</code>)<sup>D</sup></tr>"
         "<tr><td>RTL and ROM images, checked against the engine<td>burin<td class=n>0<td class=n>minutes<sup>M</sup></tr>");
  step(p, "weight masks: data and checks", "designer", 0, G_MASK_WEEKS);
  step(p, "weight layers on finished base wafers, test", "foundry", masks, G_FOUNDRY_WEEKS);
  step(p, "package, boards", "assembly", ready, G_ASSEMBLY_WEEKS);
  step(p, "instead, for a new shape: base layers as well", "foundry", -1, G_NEW_BASE_WEEKS);
  PUT(p, "</table></div>");
  PUT(p, "<h2>Its limits, in numbers</h2><ul><li>One model only: another of the same shape costs ");
  number(p, p->b[O_RESPIN].nominal);
  PUT(p, " $ of masks<sup>D</sup> and %.0f weeks<sup>D</sup>; another shape ", ready);
  number(p, p->b[O_NRE].nominal);
  PUT(p, " $<sup>D</sup>.</li><li>Volume is unproven: design and masks come back after ");
  number(p, p->b[O_BREAK_EVEN].nominal);
  PUT(p, " tokens<sup>D</sup> that would have been bought from a rented H100 with full batches (-: never).</li><li>Large models: this one takes %d chip%s<sup>D</sup>.</li>"
         "<li>It ages: %.0f years<sup>A</sup> of use are assumed; the band is %.0f to %.0f<sup>A</sup>.</li></ul>", p->in->chips, p->in->chips > 1 ? "s" : "",
      p->in->fact[NODE_FACTS + G_LIFE].nominal, p->in->fact[NODE_FACTS + G_LIFE].low, p->in->fact[NODE_FACTS + G_LIFE].high);
}

/* Small chips for phones, glasses, robots. */
static void edge(Page *p) {
  static const char *const shape[] = {"smollm2-135m", "llama-3.2-1b", "llama-3.2-3b"}, *const node[] = {"N28", "N16", "N6"};
  PUT(p, "<h2>Edge parts</h2><div class=scroll tabindex=0><table><tr><th>model at 3.5 bits, KV cache of 1,024<th>process<th class=n>die, mm\xC2\xB2<sup>D</sup><th class=n>mW at 50 tokens/s<sup>D</sup><th class=n>of which leaks<sup>D</sup>"
         "<th class=n>most tokens/s<sup>D</sup><th class=n>die, $<sup>D</sup></tr>");
  for (int i = 0; i < 9; i++) {
    ChipShape s;
    RtlKnobs k;
    PlanInput in;
    double value[FACTS], o[OUTPUTS];
    Err err = {0};
    const Node *n = plan_node_of(node[i % 3], &err);
    if (!n || !chip_shape_of(shape[i / 3], &s, &err) || !rtl_knobs("n6", &s, &k, &err)) continue;
    k = (RtlKnobs){.lanes = 64 * (i / 3 + 1), .taps = 64, .vec = k.vec < 64 ? k.vec : 64, .scan = 4, .heads = 1, .radix = 4, .context = 1024};
    if (k.lanes == 192) k.lanes = 256;
    if (!plan_input(&in, &s, (PlanExperts){1, 1, NULL}, NULL, 3.5, &k, 512, n, &err) || !plan_fit(&in, 858, 8, &err)) continue;
    plan_nominal(&in, value);
    plan_evaluate(&in, value, o);
    double speed = o[O_TPS] < 50 ? o[O_TPS] : 50;
    PUT(p, "<tr><td>%s<td>%s<td class=n>%.0f%s<td class=n>%.0f<td class=n>%.0f<td class=n>", shape[i / 3], node[i % 3], o[O_DIE], in.chips > 1 ? " each of several" : "",
        1e3 * (speed * o[O_E_TOKEN] + o[O_STATIC]), 1e3 * o[O_STATIC]);
    number(p, o[O_TPS]);
    PUT(p, "<td class=n>%.2f</tr>", in.chips * o[O_DIE_COST]);
  }
  PUT(p, "</table></div><p class=soft>Nominal facts; the clock running all the time that a token is made and stopped between.</p>");
}

static void checks(Page *p) {
  PlanCheck c[PLAN_CHECKS];
  int n = plan_checks(c, p->err);
  PUT(p, "<h2>Against what is published</h2><div class=scroll tabindex=0><table><tr><th>figure<th class=n>predicted<sup>D</sup><th class=n>published<sup>P</sup><th class=n>ratio<sup>D</sup><th>source<th>note</tr>");
  for (int i = 0; i < n; i++) {
    bool within = c[i].predicted >= c[i].low * .98 && c[i].predicted <= c[i].high * 1.02;
    PUT(p, "<tr><td>%s<td class=n>", c[i].what);
    number(p, c[i].predicted);
    PUT(p, " %s<td class=n>", c[i].unit);
    number(p, c[i].low);
    if (c[i].high > c[i].low) PUT(p, " to "), number(p, c[i].high);
    PUT(p, "<td class=n>%.2f%s<td>%s<td>%s</tr>", c[i].predicted / sqrt(c[i].low * c[i].high), within ? "" : " (outside)", c[i].source, c[i].note);
  }
  PUT(p, "</table></div><p class=soft>Nothing is fitted to these, but the upper end of the power margin, which is the published chip's power over a bottom-up sum.</p>");
}

static void facts(Page *p) {
  PUT(p, "<h2>Facts</h2><div class=scroll tabindex=0><table><tr><th>fact<th class=n>low<th class=n>nominal<th class=n>high<th>unit<th>class<th>source</tr>");
  for (int i = 0; i < FACTS; i++) {
    const Fact *f = &p->in->fact[i];
    PUT(p, "<tr><td>%s<td class=n>%g<td class=n>%g<td class=n>%g<td>%s<td>%s<sup>%s</sup><td>%s</tr>", f->name, f->low, f->nominal, f->high, f->unit, fact_class_name[f->class],
        mark[f->class], f->source);
  }
  PUT(p, "</table></div><h2>Gates</h2><p class=soft>Measured<sup>M</sup>: synthesis in osu018 (make synth); areas over a NAND2 of 24 um2 are the gates counted above.</p>"
         "<div class=scroll tabindex=0><table><tr><th>module<th>parameters<th class=n>um\xC2\xB2<th class=n>longest path, ns</tr>");
  for (int i = 0; i < plan_modules; i++)
    PUT(p, "<tr><td>%s<td>%s<td class=n>%.0f<td class=n>%.2f</tr>", plan_module[i].name, plan_module[i].parameters, plan_module[i].area_um2, plan_module[i].path_ns);
  PUT(p, "</table></div>");
}

bool plan_page(const PlanInput *in, const char *title, const Band *band, const PlanPoint *front, int points, Buf *out, Err *err) {
  Page page = {in, band, out, err}, *p = &page;
  const RtlKnobs *k = &in->design.knobs;
  PUT(p, "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'><title>burin plan: ");
  escaped(p, title);
  PUT(p, "</title>%s<main><h1>", style);
  escaped(p, title);
  PUT(p, "</h1><p>The hard-wired chip of this model in %s: %d lanes of %d taps, vectors of %d, attention over %d positions a cycle for %d heads; a KV cache of %d positions; "
         "speeds at position %d.</p>", in->node->name, k->lanes, k->taps, k->vec, k->scan, k->heads, k->context, in->position);
  if (in->experts.stored > 1)
    PUT(p, "<p class=soft>%d experts a layer, %d active: %.1f billion weights held, %.1f read for a token<sup>D</sup>. Shape: %s.</p>", in->experts.stored, in->experts.active, in->stored * 1e-9,
        in->weights * 1e-9, in->experts.source ? in->experts.source : "given on the command line");
  cards(p);
  comparison(p);
  floorplan(p);
  timeline(p);
  breakdowns(p);
  pareto(p, front, points);
  against_gpu(p);
  calendar(p);
  edge(p);
  checks(p);
  facts(p);
  PUT(p, "</main></html>\n");
  return !err->set;
}
