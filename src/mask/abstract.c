/* mask/abstract: a bank for other tools: LEF, SPICE, layer properties for KLayout. */
#include "mask/parts.h"

#include <stdio.h>
#include <string.h>

/* ---- a text file ---- */

static bool put_text(const char *path, Buf *b, bool ok, Err *err) {
  Writer *w = ok ? writer_open(path, err) : NULL;
  if (w) writer_put(w, b->s, b->n);
  ok = w && writer_commit(w, err);
  buf_free(b);
  return ok;
}

static double um(int64_t nm) { return (double)nm * 1e-3; }

/* ---- LEF ---- */

typedef struct {
  const MaskFloor *f;
  Buf *b;
} Lef;

static bool lef_rect(const Lef *l, const MaskBox *m, int64_t x, Err *err) { /* x: nm to its right */
  double below = um(l->f->process->below), left = um(l->f->left + x);
  return buf_printf(l->b, err, "      LAYER %s ;\n        RECT %.3f %.3f %.3f %.3f ;\n", l->f->process->layer[m->layer].name, left + um(m->x0), below + um(m->y0), left + um(m->x1), below + um(m->y1));
}

static bool lef_pin(void *arg, const char *name, PinKind kind, const MaskBox *m, Err *err) {
  static const char *const direction[] = {"INPUT", "OUTPUT", "INOUT", "INOUT"}, *const use[] = {"SIGNAL", "SIGNAL", "POWER", "GROUND"};
  const Lef *l = arg;
  const MaskFloor *f = l->f;
  bool ok = buf_printf(l->b, err, "  PIN %s\n    DIRECTION %s ;\n    USE %s ;\n    PORT\n", name, direction[kind], use[kind]) && lef_rect(l, m, 0, err);
  for (int i = 0; ok && kind >= PIN_POWER && i < straps_of(f->process, f->columns); i++) /* the bar, at every strap */
    ok = lef_rect(l, m, strap_x(f->process, i, f->columns) + f->left, err);
  return ok && buf_printf(l->b, err, "    END\n  END %s\n", name);
}

bool mask_write_lef(const MaskFloor *f, const char *path, Err *err) {
  Buf b = {0};
  Lef l = {f, &b};
  const MaskProcess *p = f->process;
  double width = um(f->macro_width), height = um(f->macro_height);
  bool ok = buf_printf(&b, err, "VERSION 5.8 ;\nBUSBITCHARS \"[]\" ;\nDIVIDERCHAR \"/\" ;\nMACRO bank\n  CLASS BLOCK ;\n  ORIGIN 0 0 ;\n  FOREIGN bank %.3f %.3f ;\n  SIZE %.3f BY %.3f ;\n",
                       -um(f->left), -um(p->below), width, height) &&
            bank_pins(f, lef_pin, &l, err) && buf_printf(&b, err, "  OBS\n");
  bool routed[MOST_LAYERS] = {false}; /* nothing else fits on a layer that pins are on */
  for (int i = PIECE_PIN_LINE; i < PIECES; i++) routed[p->box[p->first[i]].layer] = true;
  for (int i = 0; ok && i < p->layers; i++)
    if (routed[i]) ok = buf_printf(&b, err, "    LAYER %s ;\n      RECT 0 0 %.3f %.3f ;\n", p->layer[i].name, width, height);
  ok = ok && buf_printf(&b, err, "  END\nEND bank\nEND LIBRARY\n");
  return put_text(path, &b, ok, err);
}

/* ---- SPICE ---- */

typedef struct {
  const MaskFloor *f;
  Buf *b;
  int n;
} Spice;

static bool spice_pin(void *arg, const char *name, PinKind kind, const MaskBox *m, Err *err) {
  Spice *s = arg;
  (void)kind;
  (void)m;
  return buf_printf(s->b, err, "%s %s", s->n++ % 12 ? "" : "\n+", name);
}

/* Drain, gate, source; bulk by type. */
static bool transistor(Spice *s, bool p, double width, const char *d, const char *g, const char *source, Err *err) {
  const MaskProcess *m = s->f->process;
  return buf_printf(s->b, err, "X%d %s %s %s %s %s w=%g l=%g\n", s->n++, d, g, source, p ? "VPWR" : "VGND", p ? m->pmos : m->nmos, width, m->gate_length_um);
}

/* out = a and g: a NAND, and an inverter of two fingers. */
static bool spice_gate(Spice *s, const char *a, const char *g, const char *out, Err *err) {
  const MaskProcess *m = s->f->process;
  char nand[40], mid[40];
  snprintf(nand, sizeof nand, "%s_n", out);
  snprintf(mid, sizeof mid, "%s_m", out);
  return transistor(s, false, m->nand_um, "VGND", a, mid, err) && transistor(s, false, m->nand_um, mid, g, nand, err) && transistor(s, true, m->nand_um, nand, g, "VPWR", err) &&
         transistor(s, true, m->nand_um, nand, a, "VPWR", err) && transistor(s, false, m->driver_um, out, nand, "VGND", err) && transistor(s, false, m->driver_um, out, nand, "VGND", err) &&
         transistor(s, true, m->driver_um, out, nand, "VPWR", err) && transistor(s, true, m->driver_um, out, nand, "VPWR", err);
}

static bool spice_decoder(Spice *s, Err *err) {
  const MaskProcess *p = s->f->process;
  bool ok = buf_printf(s->b, err, "* row decoder: G of a group, then a word line a row\n");
  for (int r = 0; ok && r < s->f->rows; r++) {
    char a[24], g[24], out[24];
    snprintf(g, sizeof g, "G[%d]", r / LINES);
    if (r % LINES == 0) {
      snprintf(a, sizeof a, "GROUP[%d]", r / LINES % groups_of(p));
      snprintf(out, sizeof out, "SUB[%d]", r / p->sub_rows);
      ok = spice_gate(s, a, out, g, err);
    }
    snprintf(a, sizeof a, "LINE[%d]", r % LINES);
    snprintf(out, sizeof out, "WL[%d]", r);
    ok = ok && spice_gate(s, a, g, out, err);
  }
  return ok;
}

static bool spice_foot(Spice *s, Err *err) {
  const MaskProcess *p = s->f->process;
  bool ok = buf_printf(s->b, err, "* precharge and sense\n");
  for (int c = 0; ok && c < s->f->columns; c++) {
    char bit[24], q[24];
    snprintf(bit, sizeof bit, "BL[%d]", c);
    snprintf(q, sizeof q, "Q[%d]", c);
    ok = transistor(s, true, p->precharge_um, bit, "PRE", "VPWR", err) && transistor(s, true, p->sense_p_um, q, bit, "VPWR", err) && transistor(s, false, p->sense_n_um, q, bit, "VGND", err);
  }
  return ok;
}

static bool spice_array(Spice *s, const uint8_t *states, Err *err) {
  const MaskProcess *p = s->f->process;
  int width = s->f->columns / 8;
  bool ok = buf_printf(s->b, err, "* array: a transistor a bit; it stores 1 where its drain and source are on different lines\n");
  for (int r = 0; ok && r < s->f->rows; r++) {
    const uint8_t *low = states + (size_t)(r / p->sub_rows * (p->sub_rows + 1) + r % p->sub_rows) * (size_t)width, *high = low + width;
    for (int c = 0; ok && c < s->f->columns; c++) {
      char line[2][16];
      for (int k = 0; k < 2; k++) {
        if ((k ? high : low)[c / 8] >> c % 8 & 1) snprintf(line[k], sizeof line[k], "BL[%d]", c);
        else snprintf(line[k], sizeof line[k], "VGND");
      }
      ok = buf_printf(s->b, err, "Xb%d_%d %s WL[%d] %s VGND %s w=%g l=%g\n", r, c, line[0], r, line[1], p->model, p->width_um, p->length_um);
    }
  }
  return ok;
}

bool mask_write_spice(const MaskFloor *f, uint64_t bank, const char *path, Err *err) {
  Buf b = {0};
  Spice s = {f, &b, 0};
  uint8_t *states = mem_alloc((size_t)nodes_of(f->process, f->rows), (size_t)f->columns / 8, err);
  if (!states) return false;
  bool ok = bank_states(f, bank, states, err) && buf_printf(&b, err, "* bank %llu of a mask ROM: Q is the word of the row that LINE, GROUP and SUB select; PRE low charges the bit lines\n.subckt bank",
                                                            (unsigned long long)bank) &&
            bank_pins(f, spice_pin, &s, err) && buf_printf(&b, err, "\n") && spice_decoder(&s, err) && spice_foot(&s, err) && spice_array(&s, states, err) &&
            buf_printf(&b, err, ".ends bank\n");
  mem_free(states);
  return put_text(path, &b, ok, err);
}

/* ---- KLayout's layer properties ---- */

bool mask_write_lyp(const MaskProcess *p, const char *path, Err *err) {
  Buf b = {0};
  bool ok = buf_printf(&b, err, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<layer-properties>\n");
  for (int k = 0; ok && k < p->layers; k++) { /* the programming layer last: above the others */
    int i = k < p->program ? k : k + 1 < p->layers ? k + 1 : p->program;
    const MaskLayer *l = &p->layer[i];
    bool program = i == p->program;
    ok = buf_printf(&b, err,
                    " <properties>\n  <frame-color>%s</frame-color>\n  <fill-color>%s</fill-color>\n  <dither-pattern>I%d</dither-pattern>\n  <visible>%s</visible>\n"
                    "  <transparent>%s</transparent>\n  <width>1</width>\n  <name>%s %d/%d</name>\n  <source>%d/%d@1</source>\n </properties>\n",
                    l->colour, l->colour, program ? 0 : i % 8 + 2, l->hidden ? "false" : "true", program ? "false" : "true", l->name, l->gds, l->datatype, l->gds, l->datatype);
  }
  ok = ok && buf_printf(&b, err, " <name/>\n</layer-properties>\n");
  return put_text(path, &b, ok, err);
}

/* ---- a drawing: the die, a bank, some cells ---- */

enum { PANEL = 460, GAP = 30, CELLS_X = 8, CELLS_Y = 8 };

static bool rect(Buf *b, double x, double y, double w, double h, const char *fill, double opacity, Err *err) {
  return buf_printf(b, err, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\" fill-opacity=\"%.2f\"/>\n", x, y, w, h, fill, opacity);
}

static bool caption(Buf *b, int panel, const char *text, Err *err) {
  return buf_printf(b, err, "<text x=\"%d\" y=\"22\">%s</text>\n", GAP + panel * (PANEL + GAP), text);
}

static bool draw_die(const MaskFloor *f, uint64_t bank, Buf *b, Err *err) {
  double w = (double)f->wide * (double)f->step_x, h = (double)f->high * (double)f->step_y, s = PANEL / (w > h ? w : h);
  char text[96];
  snprintf(text, sizeof text, "die: %llu banks, %.3g x %.3g mm", (unsigned long long)f->banks, w * 1e-6, h * 1e-6);
  bool ok = caption(b, 0, text, err) && rect(b, GAP, 36, w * s, h * s, "#8884", .3, err);
  uint64_t every = 1 + f->banks / 20000; /* a drawing of more is no drawing */
  for (uint64_t i = 0; ok && i < f->banks; i += every)
    ok = rect(b, GAP + (double)bank_x(f, i) * s, 36 + (h - (double)bank_y(f, i) - (double)f->macro_height) * s, (double)f->macro_width * s, (double)f->macro_height * s,
              i == bank - f->first ? "#d04040" : "#4f7fd9", .8, err);
  return ok;
}

static bool draw_one_bank(const MaskFloor *f, uint64_t bank, const uint8_t *states, Buf *b, Err *err) {
  const MaskProcess *p = f->process;
  double w = (double)f->macro_width, h = (double)f->macro_height, s = PANEL / (w > h ? w : h), left = GAP + PANEL + GAP, x0 = left + (double)f->left * s, floor = 36 + (h - p->below) * s;
  double array = ((double)f->bank_height - 2.0 * p->edge) * s;
  char text[96];
  BankPlace at = bank_place(f, bank);
  snprintf(text, sizeof text, "bank %llu: %s, words from %llu, bits from %llu", (unsigned long long)bank, at.rom->name, (unsigned long long)at.word, (unsigned long long)at.bit);
  bool ok = caption(b, 1, text, err) && rect(b, left, 36, w * s, h * s, "#4f7fd9", .25, err);
  for (int i = 0; ok && i < LINES; i++) /* drivers of the word lines, then precharge and sense */
    ok = rect(b, left + (double)(driver_x(f, i) + f->left) * s, floor - array, .8 * p->gate * s, array, "#d04040", .6, err);
  ok = ok && rect(b, x0, floor + .1 * p->below * s, (double)f->bank_width * s, .8 * p->below * s, "#2e8b57", .6, err);
  for (int i = 0; ok && i < straps_of(p, f->columns); i++)
    ok = rect(b, x0 + (double)strap_x(p, i, f->columns) * s, floor - array, (double)p->strap_width * s, array, "#b15fc9", .8, err);
  int every = 1 + (int)((int64_t)nodes_of(p, f->rows) * (f->columns / 8) / 12000), width = f->columns / 8;
  for (int n = 0; ok && n < nodes_of(p, f->rows); n += every) /* how many of eight neighbours are on the bit line */
    for (int c = 0; ok && c < width; c++) {
      double shade = __builtin_popcount(states[n * width + c]) / 8.0, y = floor - (double)node_y(p, n) * s;
      ok = rect(b, x0 + (double)column_x(p, 8 * c) * s, y, 8 * (double)p->pitch_x * s, (double)p->pitch_y * every * s, "#111111", .1 + .8 * shade, err);
    }
  return ok;
}

/* Where a panel's origin stands, and pixels a nm. */
typedef struct {
  const MaskProcess *p;
  double left, floor, scale;
} Panel;

static bool draw_box(const Panel *v, const MaskBox *m, double x, double y, Buf *b, Err *err) {
  double opacity = m->layer == v->p->program ? 1 : .45;
  return rect(b, v->left + (x + m->x0) * v->scale, v->floor - (y + m->y1) * v->scale, (double)(m->x1 - m->x0) * v->scale, (double)(m->y1 - m->y0) * v->scale, v->p->layer[m->layer].colour,
              opacity, err);
}

static bool draw_cells(const MaskFloor *f, const uint8_t *states, Buf *b, Err *err) {
  const MaskProcess *p = f->process;
  double w = CELLS_X * (double)p->pitch_x, h = CELLS_Y * (double)p->pitch_y, s = PANEL / (w > h ? w : h);
  const Panel v = {p, GAP + 2 * (PANEL + GAP), 36 + (h + p->pitch_y) * s, s};
  char text[96];
  snprintf(text, sizeof text, "%d x %d bits: %.3g x %.3g um", CELLS_X, CELLS_Y, w * 1e-3, h * 1e-3);
  bool ok = caption(b, 2, text, err);
  for (int layer = 0; ok && layer < p->layers; layer++)
    for (int piece = PIECE_BIT; piece <= PIECE_NODE; piece++)
      for (int i = p->first[piece]; i < p->first[piece + 1]; i++)
        for (int k = 0; ok && p->box[i].layer == layer && !p->layer[layer].hidden && k < CELLS_X * (CELLS_Y + (piece == PIECE_NODE)); k++)
          ok = draw_box(&v, &p->box[i], k % CELLS_X * (double)p->pitch_x, k / CELLS_X * (double)p->pitch_y, b, err);
  for (int n = 0; ok && n <= CELLS_Y; n++)
    for (int c = 0; ok && c < CELLS_X; c++) {
      int32_t x = p->site[states[n * (f->columns / 8)] >> c & 1], half = p->size / 2;
      ok = draw_box(&v, &(MaskBox){p->program, x - half, -half, x + half, half}, c * (double)p->pitch_x, n * (double)p->pitch_y, b, err);
    }
  return ok;
}

bool mask_write_svg(const MaskFloor *f, uint64_t bank, const char *path, Err *err) {
  Buf b = {0};
  uint8_t *states = mem_alloc((size_t)nodes_of(f->process, f->rows), (size_t)f->columns / 8, err);
  if (!states) return false;
  int w = 3 * PANEL + 4 * GAP, h = PANEL + 90;
  bool ok = bank_states(f, bank, states, err) &&
            buf_printf(&b, err, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" aria-label=\"the die, a bank and some cells\">\n"
                                "<style>text{font:14px system-ui,sans-serif;fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>\n", w, h, w, h) &&
            draw_die(f, bank, &b, err) && draw_one_bank(f, bank, states, &b, err) && draw_cells(f, states, &b, err);
  const MaskProcess *p = f->process;
  for (int i = 0, x = GAP; ok && i < p->layers; i++) {
    bool used = false;
    for (int k = p->first[PIECE_BIT]; k < p->first[PIECE_NODE + 1]; k++) used = used || p->box[k].layer == i;
    if ((!used && i != p->program) || p->layer[i].hidden) continue;
    ok = rect(&b, x, h - 26, 14, 14, p->layer[i].colour, i == p->program ? 1 : .6, err) && buf_printf(&b, err, "<text x=\"%d\" y=\"%d\">%s</text>\n", x + 20, h - 14, p->layer[i].name);
    x += 100;
  }
  ok = ok && buf_printf(&b, err, "</svg>\n");
  mem_free(states);
  return put_text(path, &b, ok, err);
}
