/* test/logits: logits MODEL CHIP: lines of token ids -> for every position of every line the chip's logits and the float
 * model's, as doubles.  Other programs compute from them what eval prints.
 */
#include "engine/engine.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 4096 };

static bool window(Session *s, Oracle *o, const int *ids, int n, int vocab, Err *err) {
  size_t cells = (size_t)n * (size_t)vocab;
  int32_t *z = mem_alloc(cells, 4, err);
  float *x = mem_alloc(cells, 4, err);
  session_truncate(s, 0);
  bool ok = z && x && session_extend(s, ids, n, 0, z, err) && oracle_window(o, ids, n, x, err);
  for (size_t i = 0; ok && i < cells; i += (size_t)vocab) {
    for (int v = 0; v < vocab; v++) fwrite(&(double){z[i + (size_t)v] / 65536.0}, sizeof(double), 1, stdout);
    for (int v = 0; v < vocab; v++) fwrite(&(double){(double)x[i + (size_t)v]}, sizeof(double), 1, stdout);
  }
  mem_free(z);
  mem_free(x);
  return ok;
}

int main(int argc, char **argv) {
  Err err = {0};
  Model m;
  Chip c;
  if (argc != 3) return 2;
  if (!model_open(&m, argv[1], &err) || !chip_open(&c, argv[2], &err)) return fprintf(stderr, "%s\n", err.text), 1;
  EngineOptions options = {isa_best(), 2};
  Engine *e = engine_new(&c, &options, &err);
  Session *s = e ? session_new(e, 0, &err) : NULL;
  Oracle *o = s ? oracle_new(&m, engine_pool(e), &err) : NULL;
  char *line = NULL;
  size_t cap = 0;
  bool ok = o != NULL;
  while (ok && getline(&line, &cap, stdin) > 0) {
    static int ids[LONGEST];
    int n = 0;
    for (char *p = strtok(line, " \n"); p && n < LONGEST; p = strtok(NULL, " \n")) ids[n++] = atoi(p);
    ok = window(s, o, ids, n, c.shape.vocab, &err);
  }
  if (!ok) fprintf(stderr, "%s\n", err.text);
  free(line);
  oracle_free(o);
  session_free(s);
  engine_free(e);
  chip_close(&c);
  model_close(&m);
  return ok ? 0 : 1;
}
