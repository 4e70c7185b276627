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

static bool lef_pin(Buf *b, const char *name, const char *direction, const char *layer, const double box[4], Err *err) {
  return buf_printf(b, err, "  PIN %s\n    DIRECTION %s ;\n    USE SIGNAL ;\n    PORT\n      LAYER %s ;\n        RECT %.3f %.3f %.3f %.3f ;\n    END\n  END %s\n", name, direction, layer, box[0],
                    box[1], box[2], box[3], name);
}

/* The box of a piece that carries a line: the one of `layer` whose extent across holds `at`. */
static const MaskBox *line_box(const MaskProcess *p, Piece piece, int layer, int32_t at, bool across) {
  for (int i = p->first[piece]; i < p->first[piece + 1]; i++) {
    const MaskBox *b = &p->box[i];
    if (b->layer == layer && (across ? b->x0 <= at && at < b->x1 : b->y0 <= at && at < b->y1)) return b;
  }
  return NULL;
}

bool mask_write_lef(const MaskFloor *f, const char *path, Err *err) {
  const MaskProcess *p = f->process;
  Buf b = {0};
  const char *m1 = p->layer[p->pin_bit].name, *m2 = p->layer[p->pin_word].name;
  const MaskBox *bit = line_box(p, PIECE_BIT, p->pin_bit, p->label_bit_x, true), *ground = line_box(p, PIECE_BIT, p->pin_bit, p->label_ground_x, true),
                *word = line_box(p, PIECE_BIT, p->pin_word, p->label_word_y, false);
  if (!bit || !ground || !word) return err_set(err, "%s: expected boxes of bit line, ground and word line in \"bit\" under their labels", p->name);
  double width = um(f->bank_width), height = um(f->bank_height), y = um(p->edge), pin = um(p->edge);
  char name[32];
  bool ok = buf_printf(&b, err, "VERSION 5.8 ;\nBUSBITCHARS \"[]\" ;\nDIVIDERCHAR \"/\" ;\nMACRO bank\n  CLASS BLOCK ;\n  ORIGIN 0 0 ;\n  FOREIGN bank 0 %.3f ;\n  SIZE %.3f BY %.3f ;\n", -y, width, height);
  for (int c = 0; ok && c < f->columns; c++) {
    snprintf(name, sizeof name, "BL[%d]", c);
    double x = um(column_x(p, c));
    ok = lef_pin(&b, name, "OUTPUT", m1, (double[]){x + um(bit->x0), 0, x + um(bit->x1), pin}, err);
  }
  for (int r = 0; ok && r < f->rows; r++) {
    snprintf(name, sizeof name, "WL[%d]", r);
    double at = y + um(r / p->sub_rows * sub_step(p) + (int64_t)(r % p->sub_rows) * p->pitch_y);
    ok = lef_pin(&b, name, "INPUT", m2, (double[]){0, at + um(word->y0), um(p->strap_width), at + um(word->y1)}, err);
  }
  ok = ok && buf_printf(&b, err, "  PIN VGND\n    DIRECTION INOUT ;\n    USE GROUND ;\n    PORT\n      LAYER %s ;\n", m1);
  for (int c = 0; ok && c < f->columns; c++) {
    double x = um(column_x(p, c));
    ok = buf_printf(&b, err, "        RECT %.3f 0.000 %.3f %.3f ;\n", x + um(ground->x0), x + um(ground->x1), height);
  }
  ok = ok && buf_printf(&b, err, "    END\n  END VGND\n  OBS\n    LAYER %s ;\n      RECT 0 %.3f %.3f %.3f ;\n    LAYER %s ;\n      RECT %.3f 0 %.3f %.3f ;\n  END\nEND bank\nEND LIBRARY\n", m1, pin,
                        width, height, m2, um(p->strap_width), width, height);
  return put_text(path, &b, ok, err);
}

/* ---- SPICE ---- */

bool mask_write_spice(const MaskFloor *f, uint64_t bank, const char *path, Err *err) {
  const MaskProcess *p = f->process;
  int width = f->columns / 8;
  Buf b = {0};
  uint8_t *states = mem_alloc((size_t)nodes_of(p, f->rows), (size_t)width, err);
  if (!states) return false;
  bool ok = bank_states(f, bank, states, err) &&
            buf_printf(&b, err, "* bank %llu: a transistor a bit; it stores 1 where its drain and source are on different lines\n.subckt bank", (unsigned long long)bank);
  for (int c = 0; ok && c < f->columns; c++) ok = buf_printf(&b, err, "%s BL[%d]", c % 16 ? "" : "\n+", c);
  for (int r = 0; ok && r < f->rows; r++) ok = buf_printf(&b, err, "%s WL[%d]", r % 16 ? "" : "\n+", r);
  ok = ok && buf_printf(&b, err, "\n+ VGND\n");
  for (int r = 0; ok && r < f->rows; r++) {
    const uint8_t *low = states + (size_t)(r / p->sub_rows * (p->sub_rows + 1) + r % p->sub_rows) * (size_t)width, *high = low + width;
    for (int c = 0; ok && c < f->columns; c++) {
      char line[2][16];
      for (int k = 0; k < 2; k++) {
        if ((k ? high : low)[c / 8] >> c % 8 & 1) snprintf(line[k], sizeof line[k], "BL[%d]", c);
        else snprintf(line[k], sizeof line[k], "VGND");
      }
      ok = buf_printf(&b, err, "X%d_%d %s WL[%d] %s VGND %s w=%g l=%g\n", r, c, line[0], r, line[1], p->model, p->width_um, p->length_um);
    }
  }
  ok = ok && buf_printf(&b, err, ".ends bank\n");
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
    ok = rect(b, GAP + (double)bank_x(f, i) * s, 36 + (h - (double)bank_y(f, i) - (double)f->bank_height) * s, (double)f->bank_width * s, (double)f->bank_height * s,
              i == bank - f->first ? "#d04040" : "#4f7fd9", .8, err);
  return ok;
}

static bool draw_one_bank(const MaskFloor *f, uint64_t bank, const uint8_t *states, Buf *b, Err *err) {
  const MaskProcess *p = f->process;
  double w = (double)f->bank_width, h = (double)f->bank_height, s = PANEL / (w > h ? w : h), x0 = GAP + PANEL + GAP;
  char text[96];
  BankPlace at = bank_place(f, bank);
  snprintf(text, sizeof text, "bank %llu: %s, words from %llu, bits from %llu", (unsigned long long)bank, at.rom->name, (unsigned long long)at.word, (unsigned long long)at.bit);
  bool ok = caption(b, 1, text, err) && rect(b, x0, 36, w * s, h * s, "#4f7fd9", .25, err);
  for (int i = 0; ok && i < straps_of(p, f->columns); i++)
    ok = rect(b, x0 + (double)strap_x(p, i, f->columns) * s, 36, (double)p->strap_width * s, h * s, p->layer[p->pin_word].colour, .8, err);
  int every = 1 + (int)((int64_t)nodes_of(p, f->rows) * (f->columns / 8) / 12000), width = f->columns / 8;
  for (int n = 0; ok && n < nodes_of(p, f->rows); n += every) /* how many of eight neighbours are on the bit line */
    for (int c = 0; ok && c < width; c++) {
      double shade = __builtin_popcount(states[n * width + c]) / 8.0, y = 36 + (h - (double)p->edge - (double)node_y(p, n)) * s;
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
