/* base/mem: allocation, arenas, growing buffers, the string map, fault injection. */
#define _GNU_SOURCE /* madvise */
#include "base/base.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN = 128 };
static const size_t HUGE_PAGE = (size_t)2 << 20;

static atomic_long fault_left;

void fault_arm(long k) { atomic_store(&fault_left, k); }

bool fault_hit(void) {
  if (atomic_load_explicit(&fault_left, memory_order_relaxed) <= 0) return false;
  return atomic_fetch_sub(&fault_left, 1) == 1;
}

void *mem_alloc(size_t count, size_t size, Err *err) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - HUGE_PAGE) {
    err_set(err, "out of memory: %zu times %zu bytes", count, size);
    return NULL;
  }
  /* calloc knows memory that comes zeroed from the system; its block's address stands before the aligned part of it */
  size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
  size_t rounded = (bytes + align - 1) & ~(align - 1);
  void *block = fault_hit() ? NULL : calloc(1, rounded + align + sizeof block);
  if (!block) {
    err_set(err, "out of memory: %zu bytes", bytes);
    return NULL;
  }
  char *p = (char *)(((uintptr_t)block + sizeof block + align - 1) & ~(uintptr_t)(align - 1));
  if (align == HUGE_PAGE) madvise(p, rounded, MADV_HUGEPAGE); /* a hint: failure changes nothing but speed */
  memcpy(p - sizeof block, &block, sizeof block);
  return p;
}

void *mem_grow(void *p, size_t old_bytes, size_t new_bytes, Err *err) {
  void *q = mem_alloc(new_bytes, 1, err);
  if (!q) return NULL;
  if (old_bytes) memcpy(q, p, old_bytes < new_bytes ? old_bytes : new_bytes);
  mem_free(p);
  return q;
}

void mem_free(void *p) {
  void *block;
  if (!p) return;
  memcpy(&block, (char *)p - sizeof block, sizeof block);
  free(block);
}

struct ArenaBlock {
  ArenaBlock *before;
  size_t used, size;
  size_t pad[13]; /* data is aligned as blocks are */
  char data[];
};

void *arena_alloc(Arena *a, size_t count, size_t size, Err *err) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
    err_set(err, "out of memory: %zu times %zu bytes", count, size);
    return NULL;
  }
  bytes = (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if (!a->last || a->last->size - a->last->used < bytes) {
    size_t block = bytes > 65536 ? bytes : 65536;
    ArenaBlock *b = mem_alloc(1, sizeof *b + block, err);
    if (!b) return NULL;
    b->before = a->last;
    b->size = block;
    a->last = b;
  }
  void *p = a->last->data + a->last->used;
  a->last->used += bytes;
  return p;
}

Str arena_copy(Arena *a, Str s, Err *err) {
  char *p = arena_alloc(a, s.n + 1, 1, err);
  if (!p) return (Str){0};
  if (s.n) memcpy(p, s.s, s.n);
  return (Str){p, s.n};
}

void arena_free(Arena *a) {
  while (a->last) {
    ArenaBlock *b = a->last;
    a->last = b->before;
    mem_free(b);
  }
}

static bool buf_reserve(Buf *b, size_t more, Err *err) {
  if (b->cap - b->n >= more) return true;
  size_t cap = b->cap ? b->cap : 256;
  while (cap - b->n < more) {
    if (cap > SIZE_MAX / 4) return err_set(err, "out of memory: a buffer of %zu bytes", cap);
    cap *= 2;
  }
  char *s = mem_grow(b->s, b->n, cap, err);
  if (!s) return false;
  b->s = s;
  b->cap = cap;
  return true;
}

bool buf_put(Buf *b, const void *bytes, size_t n, Err *err) {
  if (!buf_reserve(b, n + 1, err)) return false; /* one more keeps b->s terminated */
  if (n) memcpy(b->s + b->n, bytes, n);
  b->n += n;
  b->s[b->n] = 0;
  return true;
}

bool buf_printf(Buf *b, Err *err, const char *format, ...) {
  va_list ap, again;
  va_start(ap, format);
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, format, ap);
  va_end(ap);
  bool ok = n >= 0 && buf_reserve(b, (size_t)n + 1, err);
  if (ok) {
    vsnprintf(b->s + b->n, (size_t)n + 1, format, again);
    b->n += (size_t)n;
  }
  va_end(again);
  return ok;
}

void buf_free(Buf *b) {
  mem_free(b->s);
  *b = (Buf){0};
}

struct StrMapSlot {
  Str key;
  int32_t value;
};

bool strmap_init(StrMap *m, size_t expected, Err *err) {
  size_t cap = 16;
  while (cap < expected * 2) cap *= 2;
  *m = (StrMap){mem_alloc(cap, sizeof *m->slot, err), cap, 0};
  return m->slot != NULL;
}

static struct StrMapSlot *strmap_find(const StrMap *m, Str key) {
  size_t i = (size_t)checksum64(key.s, key.n) & (m->cap - 1);
  while (m->slot[i].key.s && !str_eq(m->slot[i].key, key)) i = (i + 1) & (m->cap - 1);
  return &m->slot[i];
}

bool strmap_put(StrMap *m, Str key, int32_t value) {
  struct StrMapSlot *s = strmap_find(m, key);
  if (s->key.s) return false;
  *s = (struct StrMapSlot){{key.s ? key.s : "", key.n}, value};
  m->n++;
  return true;
}

int32_t strmap_get(const StrMap *m, Str key) {
  if (!m->slot) return -1;
  const struct StrMapSlot *s = strmap_find(m, key);
  return s->key.s ? s->value : -1;
}

void strmap_free(StrMap *m) {
  mem_free(m->slot);
  *m = (StrMap){0};
}
