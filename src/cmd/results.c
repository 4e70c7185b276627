/* cmd/results: what eval measured, printed as JSON and kept in the chip's provenance. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *file_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void print_json(json_t *o) {
  json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
  printf("\n");
}

bool file_hash_text(const char *path, char out[65], Err *err) {
  FileMap f;
  uint8_t hash[32];
  if (!map_open(&f, path, err)) return false;
  bool ok = sha256(f.p, f.n, hash, err);
  if (ok) hex_of(hash, 32, out);
  map_close(&f);
  return ok;
}

/* Measured on the same thing: all that is not a result is equal. */
static bool same_subject(const json_t *a, const json_t *b) {
  static const char *const key[] = {"text", "tasks_file", "sha256", "ref_sha256", "ctx", "score_from", "tokens", "tasks"};
  for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
    const json_t *x = json_object_get(a, key[i]), *y = json_object_get(b, key[i]);
    if (x != y && !json_equal(x, y)) return false;
  }
  return true;
}

bool record_result(const Chip *c, json_t *result, Err *err) {
  json_error_t e;
  json_t *root = json_loadb(c->provenance.s, c->provenance.n, 0, &e), *list = json_object_get(root, "quality");
  if (!json_is_object(root)) {
    json_decref(root);
    return err_set(err, "%s: the provenance is not a JSON object", c->file.path);
  }
  if (!json_is_array(list)) {
    list = json_array();
    json_object_set_new(root, "quality", list);
  }
  for (size_t i = json_array_size(list); i-- > 0;)
    if (same_subject(json_array_get(list, i), result)) json_array_remove(list, i);
  json_array_append(list, result);
  char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(8));
  bool ok = text ? chip_replace_provenance(c, str_from(text), err) : err_set(err, "out of memory");
  free(text);
  json_decref(root);
  return ok;
}
