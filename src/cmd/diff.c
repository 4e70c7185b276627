/* cmd/diff: burin diff A B: what changes in the masks between two chips of one shape, or between two layouts. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

typedef struct {
  uint64_t codes, codes_changed, bits, bits_changed; /* a bit of a code is a via that is there or not */
  uint64_t scales, scales_changed, levels_changed;
  int matrices, changed;
} Difference;

static bool same_base(const Chip *a, const Chip *b, Err *err) {
  const ChipShape *x = &a->shape, *y = &b->shape;
  if (x->layers != y->layers || x->dim != y->dim || x->ffn != y->ffn || x->heads != y->heads || x->kv_heads != y->kv_heads || x->head_dim != y->head_dim ||
      x->vocab != y->vocab)
    return err_set(err, "the shapes differ: these chips have no base in common");
  for (int i = 0; i < chip_matrices(a); i++) {
    char name[32];
    const Matrix *p = chip_matrix(a, i, name), *q = chip_matrix(b, i, name);
    if (p->bits != q->bits) return err_set(err, "%s has %d bits in one chip and %d in the other: their banks differ", name, p->bits, q->bits);
  }
  return true;
}

static void compare(const Matrix *p, const Matrix *q, Difference *d) {
  uint64_t before = d->codes_changed + d->scales_changed + d->levels_changed;
  for (int r = 0; r < p->rows; r++) {
    for (int g = 0; g < p->groups; g++) {
      uint8_t x[GROUP], y[GROUP];
      int n = p->cols - g * GROUP < GROUP ? p->cols - g * GROUP : GROUP;
      matrix_group_codes(p, r, g, x);
      matrix_group_codes(q, r, g, y);
      for (int i = 0; i < n; i++) {
        d->codes_changed += x[i] != y[i];
        d->bits_changed += (uint64_t)__builtin_popcount((unsigned)(x[i] ^ y[i]));
      }
      if (p->grouped) d->scales++, d->scales_changed += matrix_group_scale(p, r, g) != matrix_group_scale(q, r, g);
    }
    d->scales++;
    d->scales_changed += p->row_scale[r] != q->row_scale[r];
  }
  d->codes += (uint64_t)p->rows * (uint64_t)p->cols;
  d->bits += (uint64_t)p->rows * (uint64_t)p->cols * (uint64_t)p->bits;
  d->levels_changed += p->levels != q->levels || memcmp(p->level, q->level, (size_t)p->levels) != 0;
  d->matrices++;
  d->changed += d->codes_changed + d->scales_changed + d->levels_changed != before;
}

static double share(uint64_t n, uint64_t of) { return of ? 100.0 * (double)n / (double)of : 0; }

/* ---- two layouts ---- */

static bool diff_layouts(const char *const path[2], const char *process, bool json, Err *err) {
  MaskDifference d;
  if (!mask_diff(path[0], path[1], process, &d, err)) return false;
  if (json) {
    json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:i,s:i,s:s}", "nodes", (json_int_t)d.nodes, "changed_nodes", (json_int_t)d.nodes_changed, "banks", (json_int_t)d.banks, "changed_banks",
                          (json_int_t)d.banks_changed, "base_layers", d.layers, "changed_base_layers", d.layers_changed, "changed", d.changed);
    print_json(o);
    json_decref(o);
    return true;
  }
  printf("weights    %llu of %llu vias stand elsewhere (%.2f %%), in %llu of %llu banks\n", (unsigned long long)d.nodes_changed, (unsigned long long)d.nodes, share(d.nodes_changed, d.nodes),
         (unsigned long long)d.banks_changed, (unsigned long long)d.banks);
  if (d.layers_changed) printf("base       %d of %d layers differ: %s\n", d.layers_changed, d.layers, d.changed);
  else printf("base       the same on all %d layers\n", d.layers);
  return true;
}

static bool is_layout(const char *path, bool *layout, Err *err) {
  FileMap f;
  if (!map_open(&f, path, err)) return false;
  *layout = mask_is(&f);
  map_close(&f);
  return true;
}

static void print(const Difference *d, const Node *n, bool json) {
  const Fact *masks = &plan_general[G_WEIGHT_MASKS], *mask = &n->fact[N_WEIGHT_MASK], *weeks = &plan_general[G_FOUNDRY_WEEKS];
  double respin = d->changed ? masks->nominal * mask->nominal : 0;
  if (json) {
    json_t *o = json_pack("{s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:i}", "matrices", d->matrices, "changed_matrices", d->changed, "codes", (json_int_t)d->codes, "changed_codes",
                          (json_int_t)d->codes_changed, "bits", (json_int_t)d->bits, "changed_bits", (json_int_t)d->bits_changed, "scales", (json_int_t)d->scales,
                          "changed_scales", (json_int_t)d->scales_changed, "changed_codebooks", (int)d->levels_changed);
    json_object_set_new(o, "respin_usd", json_pack("{s:f,s:f,s:f,s:s,s:s}", "low", d->changed ? masks->low * mask->low : 0., "nominal", respin, "high",
                                                   d->changed ? masks->high * mask->high : 0., "class", "derived", "source", "weight masks that change, times one mask's price"));
    json_object_set_new(o, "foundry_weeks", json_pack("{s:f,s:f,s:f,s:s,s:s}", "low", d->changed ? weeks->low : 0., "nominal", d->changed ? weeks->nominal : 0., "high",
                                                      d->changed ? weeks->high : 0., "class", "published", "source", weeks->source));
    print_json(o);
    json_decref(o);
    return;
  }
  printf("matrices   %d of %d differ\ncodes      %llu of %llu (%.2f %%)\nbits       %llu of %llu (%.2f %%): vias that come or go\nscales     %llu of %llu (%.2f %%)\n"
         "codebooks  %llu\n", d->changed, d->matrices, (unsigned long long)d->codes_changed, (unsigned long long)d->codes, share(d->codes_changed, d->codes),
         (unsigned long long)d->bits_changed, (unsigned long long)d->bits, share(d->bits_changed, d->bits), (unsigned long long)d->scales_changed,
         (unsigned long long)d->scales, share(d->scales_changed, d->scales), (unsigned long long)d->levels_changed);
  if (!d->changed) {
    printf("the masks are the same\n");
    return;
  }
  printf("masks      %.0f weight mask%s in %s, base layers stay: %.0f $ (derived: %s; %s)\nfoundry    %.0f (%.0f - %.0f) weeks (published: %s)\n", masks->nominal,
         masks->nominal > 1 ? "s" : "", n->name, respin, masks->source, mask->source, weeks->nominal, weeks->low, weeks->high, weeks->source);
}

static bool diff(const char *const path[2], const char *node, bool json, Err *err) {
  Chip chip[2];
  memset(chip, 0, sizeof chip);
  Difference d = {0};
  const Node *n = plan_node_of(node, err);
  bool ok = n && chip_open_any(&chip[0], path[0], err) && chip_open_any(&chip[1], path[1], err) && same_base(&chip[0], &chip[1], err) && chip_verify_all(&chip[0], err) &&
            chip_verify_all(&chip[1], err);
  for (int i = 0; ok && i < chip_matrices(&chip[0]); i++) {
    char name[32];
    compare(chip_matrix(&chip[0], i, name), chip_matrix(&chip[1], i, name), &d);
  }
  if (ok) print(&d, n, json);
  for (int i = 0; i < 2; i++) chip_close(&chip[i]);
  return ok;
}

int cmd_diff(int argc, char **argv) {
  const char *path[2], *node = "N6", *process = NULL;
  bool json = false;
  const Option option[] = {
      {"node", 0, OPT_TEXT, &node, "NAME", "process whose masks are priced: osu018, sky130, N28, N16, N7, N6 (default), N5, N3"},
      {"process", 0, OPT_TEXT, &process, "NAME", "of two layouts (default: the one that they name)"},
      {"json", 0, OPT_FLAG, &json, "", "print JSON"},
  };
  const Usage usage = {"diff", "burin diff A B", "Counts what changes in the masks between two chips of one shape, and prices it; or between two layouts.", option,
                       sizeof option / sizeof *option, 2, 0};
  int status = options_parse(&usage, argc, argv, path);
  if (status >= 0) return status;
  Err err = {0};
  bool layout[2];
  if (!is_layout(path[0], &layout[0], &err) || !is_layout(path[1], &layout[1], &err)) return fail("diff", &err);
  if (layout[0] != layout[1]) err_set(&err, "%s is a layout, %s is none: expected two of a kind", path[!layout[0]], path[layout[0]]);
  bool ok = !err.set && (layout[0] ? diff_layouts(path, process, json, &err) : diff(path, node, json, &err));
  return ok ? STATUS_DONE : fail("diff", &err);
}
