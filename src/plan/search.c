/* plan/search: knobs that are best by an aim, and the front of speed against energy. */
#include "plan/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_speed(const void *a, const void *b) {
  double x = ((const PlanPoint *)a)->out[O_TPS], y = ((const PlanPoint *)b)->out[O_TPS];
  return x < y ? 1 : x > y ? -1 : 0;
}

static double worth(PlanAim aim, const double *o) {
  return aim == AIM_SPEED ? o[O_TPS] : aim == AIM_ENERGY ? o[O_TOKENS_PER_JOULE] : -o[O_MTOK_COST];
}

/* Points that no other beats in both speed and energy, the fastest first. */
static int front_of(PlanPoint *all, int n, PlanPoint *front, int most) {
  double best = 0;
  int k = 0;
  qsort(all, (size_t)n, sizeof *all, by_speed);
  for (int i = 0; i < n && k < most; i++)
    if (all[i].out[O_TOKENS_PER_JOULE] > best) best = all[i].out[O_TOKENS_PER_JOULE], front[k++] = all[i];
  return k;
}

bool plan_search(PlanInput *in, const Chip *chip, double average, PlanAim aim, double die_limit, double watt_limit, int most_chips, PlanPoint *front, int most,
                 int *n, Err *err) {
  static const int lanes[] = {128, 256, 512, 1024, 2048, 4096, 8192}, taps[] = {16, 32, 64, 128, 256, 512, 1024}, scan[] = {4, 16, 32, 64, 128}, vec[] = {16, 64, 256, 512},
                   radix[] = {1, 4, 8};
  enum { POINTS = 7 * 7 * 5 * 4 * 3 };
  PlanPoint *all = mem_alloc(POINTS, sizeof *all, err);
  if (!all) return false;
  PlanInput best = *in;
  double value[FACTS], most_worth = -INFINITY;
  const ChipShape shape = in->design.shape;
  RtlKnobs k = in->design.knobs;
  int found = 0;
  plan_nominal(in, value);
  for (int i = 0; i < POINTS; i++) {
    int x = i;
    PlanInput one;
    Err no_fit = {0};
    k.lanes = lanes[x % 7], x /= 7;
    k.taps = taps[x % 7], x /= 7;
    k.scan = scan[x % 5], x /= 5;
    k.vec = vec[x % 4], x /= 4;
    k.radix = radix[x];
    if (k.scan > k.context || !plan_input(&one, &shape, in->experts, chip, average, &k, in->position, in->node, &no_fit)) continue; /* knobs that do not fit the shape */
    memcpy(one.fact, in->fact, sizeof one.fact);
    if (!plan_fit(&one, die_limit, most_chips, &no_fit)) continue;
    PlanPoint *p = &all[found];
    p->knobs = k;
    plan_evaluate(&one, value, p->out);
    if (p->out[O_WATTS] > watt_limit) continue;
    found++;
    if (worth(aim, p->out) > most_worth) most_worth = worth(aim, p->out), best = one;
  }
  *n = front_of(all, found, front, most);
  mem_free(all);
  if (!found) return err_set(err, "no size of the machine fits %d chip%s of %g mm2 within %g W (--chips, --die-limit, --watt-limit, --ctx)", most_chips,
                              most_chips > 1 ? "s" : "", die_limit, watt_limit);
  *in = best;
  return true;
}
