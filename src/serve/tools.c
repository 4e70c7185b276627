/* serve/tools: calls of functions, found in text as it comes. */
#include "serve/parts.h"

#include <string.h>

void tool_parser_free(ToolParser *p) { buf_free(&p->held); }

static bool contains(Str s, const char *what) {
  size_t n = strlen(what);
  for (size_t i = 0; i + n <= s.n; i++)
    if (memcmp(s.s + i, what, n) == 0) return true;
  return false;
}

ToolFormat tool_format_of(Str t, bool *native) {
  *native = contains(t, "tools");
  return *native && !contains(t, "<tool_call>") && contains(t, "parameters") ? TOOLS_LLAMA3 : TOOLS_HERMES;
}

static bool blank(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!strchr(" \n\r\t;", s[i]) || !s[i]) return false;
  return true;
}

static void drop(ToolParser *p, size_t n) {
  if (!n) return;
  memmove(p->held.s, p->held.s + n, p->held.n - n);
  p->held.n -= n;
}

/* The first n held bytes go: as text, unless they only part calls. */
static bool give_text(ToolParser *p, size_t n, ToolFn *fn, void *arg) {
  bool parting = p->calls > 0 && blank(p->held.s, n);
  if (n && !blank(p->held.s, n)) p->any_text = true;
  bool ok = n == 0 || parting || fn(arg, TOOL_PIECE_TEXT, p->calls, p->held.s, n);
  drop(p, n);
  return ok;
}

/* Where `what` begins in the held bytes; where none does, where it may still begin. */
static size_t find(const ToolParser *p, const char *what, bool *found) {
  size_t n = strlen(what);
  *found = false;
  for (size_t i = 0; i < p->held.n; i++) {
    size_t left = p->held.n - i;
    if (memcmp(p->held.s + i, what, left < n ? left : n) != 0) continue;
    *found = left >= n;
    return i;
  }
  return p->held.n;
}

/* Bytes of the held arguments up to the end of their object (*whole), or all. */
static size_t arguments(ToolParser *p, bool *whole) {
  *whole = false;
  for (size_t i = 0; i < p->held.n; i++) {
    char c = p->held.s[i];
    if (p->in_string) {
      if (p->escape) p->escape = false;
      else if (c == '\\') p->escape = true;
      else if (c == '"') p->in_string = false;
    } else if (c == '"') {
      p->in_string = true;
    } else if (c == '{' || c == '[') {
      p->depth++;
    } else if ((c == '}' || c == ']') && --p->depth == 0) {
      *whole = true;
      return i + 1;
    }
  }
  return p->held.n;
}

/* One move; *moved: there may be another. */
static bool move(ToolParser *p, bool end, bool *moved, ToolFn *fn, void *arg) {
  const ToolFrame *f = &tool_frame[p->format];
  bool found = false;
  size_t n;
  *moved = false;
  switch (p->place) {
    case TOOL_TEXT:
      n = find(p, f->open, &found);
      if (!p->anywhere && (p->any_text || !blank(p->held.s, n))) found = false, n = p->held.n;
      if (!give_text(p, found || !end ? n : p->held.n, fn, arg)) return false;
      if (!found) return true;
      drop(p, strlen(f->open));
      p->place = TOOL_NAME;
      break;
    case TOOL_NAME:
      n = find(p, f->middle, &found);
      if (!found && !end && p->held.n < 512) return true;
      if (!found) { /* no call after all */
        p->place = TOOL_BROKEN;
        if (!fn(arg, TOOL_PIECE_TEXT, p->calls, f->open, strlen(f->open))) return false;
        break;
      }
      if (!fn(arg, TOOL_PIECE_NAME, p->calls, p->held.s, n)) return false;
      drop(p, n + strlen(f->middle));
      p->place = TOOL_ARGUMENTS;
      p->depth = 0;
      break;
    case TOOL_ARGUMENTS:
      n = arguments(p, &found);
      if (n && !fn(arg, TOOL_PIECE_ARGUMENTS, p->calls, p->held.s, n)) return false;
      drop(p, n);
      if (!found) {
        if (end) p->calls++; /* cut off; what there is was handed on */
        return true;
      }
      p->calls++;
      p->place = TOOL_CLOSE;
      break;
    case TOOL_CLOSE:
      n = strlen(f->close);
      if (p->held.n < n && !end) return true;
      drop(p, p->held.n < n ? p->held.n : n);
      p->place = TOOL_TEXT;
      break;
    default:
      return give_text(p, p->held.n, fn, arg);
  }
  *moved = true;
  return true;
}

bool tool_parse(ToolParser *p, const char *s, size_t n, bool end, ToolFn *fn, void *arg, Err *err) {
  if (!p->on) return n == 0 || fn(arg, TOOL_PIECE_TEXT, 0, s, n);
  if (n && !buf_put(&p->held, s, n, err)) return false;
  bool moved = true;
  while (moved)
    if (!move(p, end, &moved, fn, arg)) return false;
  return true;
}
