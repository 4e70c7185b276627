/* mask/process: process descriptions, which are data: layers, pitches and boxes (doc/masks.md says how to write one). */
#include "mask/parts.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

const char *const piece_name[PIECES] = {"bit", "node", "bottom", "top", "gap", "strap_even", "strap_odd", "strap_bottom", "strap_top", "strap_gap",
                                        "foot", "strap_foot", "select", "pick_group", "pick_sub", "gate", "group", "driver", "out", "wire", "rail", "rail_wire",
                                        "select_gap", "gate_gap", "driver_gap", "rail_gap", "select_top", "gate_top", "driver_top", "rail_top",
                                        "select_bottom", "gate_bottom", "driver_bottom", "rail_bottom",
                                        "pin_line", "pin_select", "pin_even", "pin_odd", "pin_precharge", "pin_power", "pin_ground"};

enum { MOST_NM = 10000000 }; /* of a length in a description */

typedef struct {
  MaskProcess *p;
  const char *file;
  Err *err;
} Parse;

static bool bad(const Parse *s, const char *key, const char *expected) { return err_set(s->err, "%s: %s: expected %s", s->file, key, expected); }

static bool get_text(const Parse *s, const json_t *o, const char *key, char *out, size_t n) {
  const char *v = json_string_value(json_object_get(o, key));
  if (!v || strlen(v) >= n) return bad(s, key, "a text that is not too long");
  snprintf(out, n, "%s", v);
  return true;
}

static bool whole(const Parse *s, const json_t *v, const char *key, int64_t low, int64_t high, int32_t *out) {
  if (!json_is_integer(v) || json_integer_value(v) < low || json_integer_value(v) > high) {
    char range[80];
    snprintf(range, sizeof range, "a whole number from %lld to %lld", (long long)low, (long long)high);
    return bad(s, key, range);
  }
  *out = (int32_t)json_integer_value(v);
  return true;
}

static bool get_int(const Parse *s, const json_t *o, const char *key, int64_t low, int64_t high, int32_t *out) {
  return whole(s, json_object_get(o, key), key, low, high, out);
}

static bool get_pair(const Parse *s, const json_t *o, const char *key, int64_t low, int32_t *x, int32_t *y) {
  const json_t *v = json_object_get(o, key);
  if (json_array_size(v) != 2) return bad(s, key, "two numbers");
  return whole(s, json_array_get(v, 0), key, low, MOST_NM, x) && whole(s, json_array_get(v, 1), key, low, MOST_NM, y);
}

static bool find_layer(const Parse *s, const json_t *v, const char *key, int *out) {
  const char *name = json_string_value(v);
  for (int i = 0; name && i < s->p->layers; i++)
    if (strcmp(s->p->layer[i].name, name) == 0) {
      *out = i;
      return true;
    }
  return bad(s, key, "the name of one of \"layers\"");
}

static bool get_layers(const Parse *s, const json_t *o) {
  const char *name;
  json_t *v;
  if (json_object_size(o) == 0 || json_object_size(o) > MOST_LAYERS) return bad(s, "layers", "1 to 64 layers");
  json_object_foreach((json_t *)(uintptr_t)o, name, v) {
    MaskLayer *l = &s->p->layer[s->p->layers];
    if (strlen(name) >= sizeof l->name) return bad(s, name, "a shorter name");
    snprintf(l->name, sizeof l->name, "%s", name);
    if (!get_pair(s, v, "gds", 0, &l->gds, &l->datatype) || !get_text(s, v, "colour", l->colour, sizeof l->colour)) return false;
    l->hidden = json_is_true(json_object_get(v, "hidden"));
    if (l->gds > 32767 || l->datatype > 32767) return bad(s, name, "numbers up to 32767");
    s->p->layers++;
  }
  return true;
}

static bool get_boxes(const Parse *s, const json_t *cells) {
  MaskProcess *p = s->p;
  int n = 0;
  for (int i = 0; i < PIECES; i++) {
    const json_t *list = json_object_get(cells, piece_name[i]), *b;
    size_t k;
    p->first[i] = n;
    if (!json_is_array(list)) return bad(s, piece_name[i], "a list of boxes [layer, x0, y0, x1, y1]");
    json_array_foreach(list, k, b) {
      MaskBox *x = &p->box[n];
      int32_t *at = &x->x0;
      if (n == MOST_BOXES || json_array_size(b) != 5) return bad(s, piece_name[i], "at most 1024 boxes [layer, x0, y0, x1, y1]");
      if (!find_layer(s, json_array_get(b, 0), piece_name[i], &x->layer)) return false;
      for (int j = 0; j < 4; j++)
        if (!whole(s, json_array_get(b, (size_t)j + 1), piece_name[i], -MOST_NM, MOST_NM, &at[j])) return false;
      if (x->x0 >= x->x1 || x->y0 >= x->y1) return bad(s, piece_name[i], "boxes with x0 below x1 and y0 below y1");
      n++;
    }
  }
  p->first[PIECES] = n;
  return true;
}

static bool get_labels(const Parse *s, const json_t *o) {
  MaskProcess *p = s->p;
  for (int i = 0; i < p->layers; i++) {
    const json_t *v = json_object_get(o, p->layer[i].name);
    p->label[i] = -1;
    if (v && !find_layer(s, v, p->layer[i].name, &p->label[i])) return false;
  }
  return find_layer(s, json_object_get(o, "boundary"), "boundary", &p->boundary) && find_layer(s, json_object_get(o, "text"), "text", &p->text);
}

static bool get_um(const Parse *s, const json_t *o, const char *key, double *out) {
  *out = json_number_value(json_object_get(o, key));
  return *out > 0 || bad(s, key, "a number of micrometres above 0");
}

static bool get_periphery(const Parse *s, const json_t *o) {
  MaskProcess *p = s->p;
  return get_int(s, o, "below", 1, MOST_NM, &p->below) && get_int(s, o, "above", 1, MOST_NM, &p->above) && get_int(s, o, "select", 1, MOST_NM, &p->select) &&
         get_int(s, o, "gate", 1, MOST_NM, &p->gate) && get_int(s, o, "rail", 1, MOST_NM, &p->rail) && get_text(s, o, "nmos", p->nmos, sizeof p->nmos) &&
         get_text(s, o, "pmos", p->pmos, sizeof p->pmos) && get_um(s, o, "length_um", &p->gate_length_um) && get_um(s, o, "nand_um", &p->nand_um) &&
         get_um(s, o, "driver_um", &p->driver_um) && get_um(s, o, "precharge_um", &p->precharge_um) && get_um(s, o, "sense_p_um", &p->sense_p_um) &&
         get_um(s, o, "sense_n_um", &p->sense_n_um);
}

/* A pin is one box, of a layer whose texts have a layer. */
static bool check_pins(const Parse *s) {
  const MaskProcess *p = s->p;
  for (int i = PIECE_PIN_LINE; i < PIECES; i++)
    if (p->first[i + 1] - p->first[i] != 1 || p->label[p->box[p->first[i]].layer] < 0) return bad(s, piece_name[i], "one box, of a layer that \"labels\" has");
  return true;
}

/* The programming layer's boxes must stand off the nodes' sites: what is read back could not be told apart. */
static bool check_program(const Parse *s) {
  const MaskProcess *p = s->p;
  if (p->site[0] == p->site[1]) return bad(s, "program", "two places that differ");
  for (int i = p->first[PIECE_BIT]; i < p->first[PIECE_NODE + 1]; i++)
    if (p->box[i].layer == p->program) return bad(s, "cells: bit, node", "no box of the programming layer: the weights draw it");
  for (int i = 0; i < p->first[PIECES]; i++)
    if (p->box[i].layer == p->program && (p->box[i].x1 - p->box[i].x0 != p->size || p->box[i].y1 - p->box[i].y0 != p->size))
      return bad(s, "cells", "boxes of the programming layer of the size that \"program\" gives");
  if (p->size % 2) return bad(s, "program: size", "an even number");
  return true;
}

static bool parse(const Parse *s, const json_t *o) {
  MaskProcess *p = s->p;
  const json_t *program = json_object_get(o, "program"), *bank = json_object_get(o, "bank"), *strap = json_object_get(o, "strap"), *t = json_object_get(o, "transistor");
  int32_t unit;
  if (!get_text(s, o, "name", p->name, sizeof p->name) || !get_text(s, o, "about", p->about, sizeof p->about) || !get_text(s, o, "source", p->source, sizeof p->source) ||
      !get_text(s, o, "class", p->class, sizeof p->class) || !get_int(s, o, "unit_nm", 1, 1, &unit) || !get_layers(s, json_object_get(o, "layers")) ||
      !get_pair(s, o, "pitch", 1, &p->pitch_x, &p->pitch_y) || !get_int(s, o, "rows", 2, 250, &p->sub_rows) || !get_int(s, o, "gap", 1, MOST_NM, &p->gap) ||
      !get_int(s, o, "edge", 1, MOST_NM, &p->edge) || !get_int(s, strap, "every", 8, STRAP_MOST, &p->strap_every) || !get_int(s, strap, "width", 1, MOST_NM, &p->strap_width))
    return false;
  if (strpbrk(p->name, " ;")) return bad(s, "name", "no blank and no semicolon");
  if (p->strap_every % 8) return bad(s, "strap: every", "a multiple of 8");
  if (p->sub_rows % LINES) return bad(s, "rows", "a multiple of 8");
  if (p->gap % p->pitch_y) return bad(s, "gap", "a multiple of the pitch of rows");
  if (!find_layer(s, json_object_get(program, "layer"), "program: layer", &p->program) || !get_int(s, program, "size", 1, MOST_NM, &p->size) ||
      !get_int(s, program, "ground", 0, p->pitch_x, &p->site[0]) || !get_int(s, program, "bit_line", 0, p->pitch_x, &p->site[1]) ||
      !get_int(s, bank, "rows", p->sub_rows, 65536, &p->bank_rows) || !get_int(s, bank, "columns", 8, 65536, &p->bank_columns) ||
      !get_pair(s, bank, "between", 0, &p->between_x, &p->between_y) || !get_text(s, t, "model", p->model, sizeof p->model))
    return false;
  return get_um(s, t, "width_um", &p->width_um) && get_um(s, t, "length_um", &p->length_um) && get_labels(s, json_object_get(o, "labels")) &&
         get_periphery(s, json_object_get(o, "periphery")) && get_boxes(s, json_object_get(o, "cells")) && check_program(s) && check_pins(s);
}

/* The text of a process: the program's own, or a file's. */
static bool text_of(const char *name, Buf *out, Err *err) {
  size_t n = strlen(name);
  for (int i = 0; i < mask_files; i++) {
    const char *own = mask_file[i].name;
    if (strncmp(own, name, n) == 0 && strcmp(own + n, ".json") == 0) return buf_put(out, mask_file[i].from, (size_t)(mask_file[i].to - mask_file[i].from), err);
  }
  if (strchr(name, '/') || strchr(name, '.')) return file_read_all(name, 1 << 20, out, err);
  Buf names = {0};
  for (int i = 0; i < mask_files; i++) buf_printf(&names, err, "%.*s, ", (int)strlen(mask_file[i].name) - 5, mask_file[i].name);
  err_set(err, "process '%s': expected %.*s a file", name, (int)names.n, names.s);
  buf_free(&names);
  return false;
}

MaskProcess *mask_process_open(const char *name, Err *err) {
  Buf text = {0};
  MaskProcess *p = mem_alloc(1, sizeof *p, err);
  bool ok = p && text_of(name, &text, err);
  if (ok) {
    json_error_t e;
    json_t *o = json_loadb(text.s, text.n, JSON_REJECT_DUPLICATES, &e);
    Parse s = {p, name, err};
    ok = o ? parse(&s, o) : err_set(err, "%s:%d: line %d: %s", name, e.position, e.line, e.text);
    json_decref(o);
  }
  buf_free(&text);
  if (ok) return p;
  mem_free(p);
  return NULL;
}

void mask_process_free(MaskProcess *p) { mem_free(p); }
const char *mask_process_name(const MaskProcess *p) { return p->name; }
const char *mask_process_about(const MaskProcess *p) { return p->about; }
