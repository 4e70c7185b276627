/* cast/round_isa: rounds up to 16 rows of a matrix at once, a row a lane.  Compiled once for each instruction set; lanes
 * do not mix, so the width of a vector changes nothing in the result.
 *
 * Source of the error feedback: GPTQ (Frantar et al. 2022); scales are searched anew for each group on the weights as the
 * feedback has left them.
 */
#include "cast/parts.h"

#include <math.h>
#include <string.h>

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
#define N ROUND_LANES

/* Nearest level of y: its code and value. */
static inline void nearest(const Book *b, const float *restrict y, float *restrict q, int *restrict code) {
  if (b->uniform) {
    float most = (float)(b->levels - 1), inverse = 1 / b->step;
    for (int i = 0; i < N; i++) {
      float t = (y[i] - b->level[0]) * inverse;
      t = t < 0 ? 0 : t > most ? most : t;
      int c = (int)(t + 0.5f);
      code[i] = c;
      q[i] = b->level[0] + (float)c * b->step;
    }
    return;
  }
  for (int i = 0; i < N; i++) code[i] = 0, q[i] = b->level[0];
  for (int k = 0; k + 1 < b->levels; k++) {
    float middle = b->middle[k], delta = b->level[k + 1] - b->level[k];
    for (int i = 0; i < N; i++) {
      code[i] += y[i] > middle;
      q[i] += y[i] > middle ? delta : 0;
    }
  }
}

/* The corner of U that belongs to a group, row by row: tri[k][later] = U[k][later]. */
typedef float Corner[GROUP][GROUP];

/* Rounds group g with the scales s, feeding errors back within the group; loss <- sum of (error / U[k][k])^2, which is what
 * the group adds to the squared error of the outputs once the feedback has done its best.  `keep`: the codes and errors are
 * the result. */
static void run_group(const RoundJob *j, int g, Corner *corner, const float *restrict s, bool keep, float *restrict loss) {
  float unit[N], inverse[N], y[N], q[N], e[N], x[GROUP][N];
  int code[N], first = g * GROUP, n = j->cols - first < GROUP ? j->cols - first : GROUP;
  memcpy(x, j->w + (size_t)first * N, sizeof x);
  for (int i = 0; i < N; i++) unit[i] = s[i] * j->unit[i], inverse[i] = 1 / unit[i], loss[i] = 0;
  for (int k = 0; k < n; k++) {
    for (int i = 0; i < N; i++) y[i] = x[k][i] * inverse[i];
    nearest(j->book, y, q, code);
    float inverse_u = j->u ? 1 / (*corner)[k][k] : 1;
    for (int i = 0; i < N; i++) e[i] = (x[k][i] - q[i] * unit[i]) * inverse_u, loss[i] += e[i] * e[i];
    for (int later = k + 1; j->u && later < n; later++)
      for (int i = 0; i < N; i++) x[later][i] -= e[i] * (*corner)[k][later];
    if (!keep) continue;
    for (int i = 0; i < N; i++) j->code[(size_t)(first + k) * N + (size_t)i] = (uint8_t)code[i], j->error[k * N + i] = e[i];
  }
}

static void pick_scales(const RoundJob *j, int g, Corner *corner, float *restrict best) {
  float big[N], best_loss[N], reach = fmaxf(-j->book->level[0], j->book->level[j->book->levels - 1]);
  for (int i = 0; i < N; i++) big[i] = 0, best[i] = 1, best_loss[i] = INFINITY;
  const float *w = j->w + (size_t)g * GROUP * N;
  for (int k = 0; k < GROUP; k++)
    for (int i = 0; i < N; i++) big[i] = fabsf(w[k * N + i]) > big[i] ? fabsf(w[k * N + i]) : big[i];
  for (int c = 0; c < j->candidates; c++) {
    float share = j->candidates > 1 ? j->lowest + (1.05f - j->lowest) * (float)c / (float)(j->candidates - 1) : 1;
    float s[N], loss[N];
    for (int i = 0; i < N; i++) {
      float x = big[i] * share / (j->unit[i] * reach);
      x = x < 1 ? 1 : x > MAX_GROUP_SCALE ? MAX_GROUP_SCALE : x;
      s[i] = (float)(int)(x + 0.5f);
    }
    run_group(j, g, corner, s, false, loss);
    for (int i = 0; i < N; i++) {
      best[i] = loss[i] < best_loss[i] ? s[i] : best[i];
      best_loss[i] = loss[i] < best_loss[i] ? loss[i] : best_loss[i];
    }
  }
}

/* w[col] -= sum over the group's columns of error * U[k][col], for the columns behind the group */
static void feed_back(const RoundJob *j, int g) {
  int first = g * GROUP;
  for (int c = first + GROUP; c < j->cols; c++) {
    const float *restrict u = j->u + (size_t)c * (size_t)j->cols + (size_t)first;
    float *restrict w = j->w + (size_t)c * N, sum[N];
    const float *restrict e = j->error;
    for (int i = 0; i < N; i++) sum[i] = 0;
    for (int k = 0; k < GROUP; k++)
      for (int i = 0; i < N; i++) sum[i] += u[k] * e[k * N + i];
    for (int i = 0; i < N; i++) w[i] -= sum[i];
  }
}

static void round_group(const RoundJob *j, int g) {
  int first = g * GROUP, n = j->cols - first < GROUP ? j->cols - first : GROUP;
  float s[N], loss[N];
  Corner corner;
  for (int k = 0; j->u && k < n; k++)
    for (int later = k; later < n; later++) corner[k][later] = j->u[(size_t)(first + later) * (size_t)j->cols + (size_t)(first + k)];
  pick_scales(j, g, &corner, s);
  run_group(j, g, &corner, s, true, loss);
  for (int i = 0; i < N; i++) j->scale[g * N + i] = (uint8_t)s[i];
  if (j->u && n == GROUP) feed_back(j, g);
}

void JOIN(round_rows, ISA)(RoundJob *j) {
  for (int g = 0; g < j->groups; g++) round_group(j, g);
}
