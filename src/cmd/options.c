/* cmd/options: command lines from tables. */
#include "cmd/cmd.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fail(const char *command, const Err *err) {
  fprintf(stderr, "burin %s: %s\n", command, err->set ? err->text : "failed");
  return STATUS_FAILED;
}

static void help(const Usage *u) {
  printf("usage: %s\n\n%s\n\n", u->usage, u->about);
  for (int i = 0; i < u->options; i++) {
    const Option *o = &u->option[i];
    char left[64];
    snprintf(left, sizeof left, "%s%c%s--%s %s", o->letter ? "-" : " ", o->letter ? o->letter : ' ', o->letter ? ", " : "  ", o->name,
             o->type == OPT_FLAG ? "" : o->value);
    printf("  %-30s %s\n", left, o->help);
  }
  printf("  %-30s %s\n", "-h, --help", "this text");
}

static bool set_value(const Option *o, const char *text) {
  char *end = NULL;
  errno = 0;
  switch (o->type) {
    case OPT_INT: {
      long v = strtol(text, &end, 10);
      if (errno || *end || end == text || v < INT32_MIN || v > INT32_MAX) return false;
      *(int *)o->out = (int)v;
      return true;
    }
    case OPT_U64: {
      unsigned long long v = strtoull(text, &end, 10);
      if (errno || *end || end == text || *text == '-') return false;
      *(uint64_t *)o->out = v;
      return true;
    }
    case OPT_FLOAT: {
      double v = strtod(text, &end);
      if (errno || *end || end == text || !isfinite(v)) return false;
      *(double *)o->out = v;
      return true;
    }
    case OPT_LIST: {
      TextList *l = o->out;
      if (l->n == MOST_TEXTS) return false;
      l->text[l->n++] = text;
      return true;
    }
    default: *(const char **)o->out = text; return true;
  }
}

static const Option *find_option(const Usage *u, const char *arg, const char **inline_value) {
  *inline_value = NULL;
  for (int i = 0; i < u->options; i++) {
    const Option *o = &u->option[i];
    size_t n = strlen(o->name);
    if (arg[0] == '-' && arg[1] == '-' && strncmp(arg + 2, o->name, n) == 0 && (arg[2 + n] == 0 || arg[2 + n] == '=')) {
      if (arg[2 + n] == '=') *inline_value = arg + 3 + n;
      return o;
    }
    if (o->letter && arg[1] == o->letter && arg[2] == 0) return o;
  }
  return NULL;
}

static int wrong_use(const Usage *u, const char *what, const char *which) {
  fprintf(stderr, "burin %s: %s%s\nusage: %s\n", u->command, what, which, u->usage);
  return STATUS_USAGE;
}

int options_parse(const Usage *u, int argc, char **argv, const char **operand) {
  int operands = 0;
  for (int i = 0; i < u->operands; i++) operand[i] = NULL;
  bool only_operands = false;
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i], *value;
    if (only_operands || arg[0] != '-' || arg[1] == 0) {
      if (operands == u->operands) return wrong_use(u, "unexpected argument: ", arg);
      operand[operands++] = arg;
      continue;
    }
    if (strcmp(arg, "--") == 0) {
      only_operands = true;
      continue;
    }
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
      help(u);
      return STATUS_DONE;
    }
    const Option *o = find_option(u, arg, &value);
    if (!o) return wrong_use(u, "unknown option: ", arg);
    if (o->type == OPT_FLAG) {
      if (value) return wrong_use(u, "this option takes no value: ", arg);
      *(bool *)o->out = true;
      continue;
    }
    if (!value && i + 1 == argc) return wrong_use(u, "this option needs a value: ", arg);
    if (!value) value = argv[++i];
    if (!set_value(o, value)) {
      fprintf(stderr, "burin %s: --%s: expected %s, found '%s'\n", u->command, o->name,
              o->type == OPT_FLOAT ? "a number" : o->type == OPT_LIST ? "at most 16 of them" : "a whole number", value);
      return STATUS_USAGE;
    }
  }
  if (operands < u->operands - u->optional) return wrong_use(u, "an argument is missing", "");
  return -1;
}
