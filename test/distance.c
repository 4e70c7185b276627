/* test/distance: distance MODEL CHIP -> JSON: the divergence of a chip from its float model on random tokens, how far
 * the float model's own logits spread, and a digest of them. */
#include "engine/engine.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>

enum { N = 48 };

static void softmax(const double *z, int n, double *p) {
  double top = z[0], sum = 0;
  for (int i = 1; i < n; i++) top = z[i] > top ? z[i] : top;
  for (int i = 0; i < n; i++) sum += p[i] = exp(z[i] - top);
  for (int i = 0; i < n; i++) p[i] /= sum;
}

int main(int argc, char **argv) {
  static double a[4096], b[4096], p[4096], q[4096];
  Err err = {0};
  Model m;
  Chip c;
  if (argc != 3) return 2;
  bool ok = model_open(&m, argv[1], &err) && chip_open(&c, argv[2], &err);
  int vocab = ok ? m.shape.vocab : 0, ids[N];
  EngineOptions options = {isa_best(), 2};
  Engine *e = ok ? engine_new(&c, &options, &err) : NULL;
  Session *s = e ? session_new(e, N, &err) : NULL;
  Oracle *o = s ? oracle_new(&m, engine_pool(e), &err) : NULL;
  float *x = mem_alloc((size_t)N * (size_t)vocab + 1, 4, &err);
  int32_t *z = mem_alloc((size_t)N * (size_t)vocab + 1, 4, &err);
  Pcg random = pcg_seed(5, 0);
  for (int i = 0; vocab && i < N; i++) ids[i] = (int)(pcg_next(&random) % (uint32_t)vocab);
  ok = o && x && z && session_extend(s, ids, N, 7, z, &err) && oracle_window(o, ids, N, x, &err);
  double kl = 0, spread = 0;
  for (int t = 0; ok && t < N; t++) {
    for (int i = 0; i < vocab; i++) a[i] = (double)x[t * vocab + i], b[i] = z[t * vocab + i] / 65536.0;
    softmax(a, vocab, p);
    softmax(b, vocab, q);
    for (int i = 0; i < vocab; i++) kl += p[i] * log(p[i] / q[i]) / N, spread += fabs(p[i] - 1.0 / vocab) / N;
  }
  if (ok) printf("{\"kl\": %.6f, \"spread\": %.6f, \"oracle\": \"%016llx\"}\n", kl, spread, (unsigned long long)checksum64(x, (size_t)N * (size_t)vocab * 4));
  else fprintf(stderr, "%s\n", err.text);
  mem_free(x);
  mem_free(z);
  oracle_free(o);
  session_free(s);
  engine_free(e);
  return ok ? 0 : 1;
}
