/* plan/parts (private to plan): formulas that figures and checks share. */
#ifndef BURIN_PLAN_PARTS_H
#define BURIN_PLAN_PARTS_H

#include "plan/plan.h"

/* Murphy's yield of a die. */
double murphy(double area_mm2, double defects_cm2);
/* Dies of a wafer; at least one. */
double dies_of(double area_mm2, double diameter_mm);

#endif
