/* engine/kv (private to engine): the KV cache.
 *
 * It is made of pages of KV_PAGE positions that sessions may share.  A page has a cell for every layer and key-value head:
 *   keys    [KV_PAGE / 16][quads][16 positions][4 dimensions]
 *   values  [KV_PAGE / 4][quads * 4 dimensions][4 positions]
 *   steps   [KV_PAGE] of the keys, [KV_PAGE] of the values, packed
 * with quads = ceil(head_dim / 4): a vector of 4-byte lanes meets 16 keys at once, or 16 dimensions of four values.
 */
#ifndef BURIN_ENGINE_KV_H
#define BURIN_ENGINE_KV_H

#include "chip/chip.h"

#include <string.h>

enum { KV_PAGE = 64, KV_BLOCK = 16 };

static inline size_t kv_quads(int head_dim) { return ((size_t)head_dim + 3) / 4; }
static inline size_t kv_part_bytes(int head_dim) { return KV_PAGE * 4 * kv_quads(head_dim); } /* of the keys, and of the values */
static inline size_t kv_cell_bytes(int head_dim) { return 2 * kv_part_bytes(head_dim) + 2 * KV_PAGE * sizeof(uint16_t); }
/* cells: layers times key-value heads */
static inline size_t kv_page_bytes(int cells, int head_dim) { return (size_t)cells * kv_cell_bytes(head_dim); }

typedef struct {
  const int8_t *k, *v;
  const uint16_t *k_step, *v_step;
} KvCell;

static inline KvCell kv_cell(const uint8_t *cell, int head_dim) {
  size_t part = kv_part_bytes(head_dim);
  const uint16_t *step = (const uint16_t *)(const void *)(cell + 2 * part);
  return (KvCell){(const int8_t *)cell, (const int8_t *)cell + part, step, step + KV_PAGE};
}

/* Where the key and the value of position `at` begin in a cell: dimensions stand 16 positions and 4 apart. */
static inline uint8_t *kv_key_at(uint8_t *cell, int head_dim, int at) { return cell + (size_t)(at / KV_BLOCK) * kv_quads(head_dim) * 64 + at % KV_BLOCK * 4; }
static inline uint8_t *kv_value_at(uint8_t *cell, int head_dim, int at) {
  return cell + kv_part_bytes(head_dim) + (size_t)(at / 4) * kv_quads(head_dim) * 16 + at % 4;
}
static inline void kv_put_steps(uint8_t *cell, int head_dim, int at, uint16_t k, uint16_t v) {
  uint16_t *step = (uint16_t *)(void *)(cell + 2 * kv_part_bytes(head_dim));
  step[at] = k;
  step[KV_PAGE + at] = v;
}

/* Puts the key and the value of position `at` (0 .. KV_PAGE - 1) into a cell. */
static inline void kv_store(uint8_t *cell, int head_dim, int at, const int8_t *k, Step k_step, const int8_t *v, Step v_step) {
  uint8_t *key = kv_key_at(cell, head_dim, at), *value = kv_value_at(cell, head_dim, at);
  for (size_t d = 0; d < (size_t)head_dim; d++) value[4 * d] = (uint8_t)v[d];
  for (size_t d = 0; d < (size_t)head_dim; d += 4) memcpy(key + 16 * d, k + d, (size_t)head_dim - d < 4 ? (size_t)head_dim - d : 4);
  kv_put_steps(cell, head_dim, at, step_pack(k_step), step_pack(v_step));
}

/* Zeros in place of what stands at position `at`. */
static inline void kv_clear(uint8_t *cell, int head_dim, int at) {
  uint8_t *key = kv_key_at(cell, head_dim, at), *value = kv_value_at(cell, head_dim, at);
  for (size_t q = 0; q < kv_quads(head_dim); q++) {
    memset(key + 64 * q, 0, 4);
    for (size_t d = 4 * q; d < 4 * q + 4; d++) value[4 * d] = 0;
  }
  kv_put_steps(cell, head_dim, at, 0, 0);
}

/* One head of one layer through the pages of a session. */
typedef struct {
  uint8_t *const *page; /* (ceil(n / KV_PAGE)) */
  size_t offset;        /* of the cell in each */
  int head_dim;
} KvCells;

static inline KvCell kv_page_cell(const KvCells *kv, int page) { return kv_cell(kv->page[page] + kv->offset, kv->head_dim); }

/* ---- pages ---- */
typedef struct KvPool KvPool;

KvPool *kv_pool_new(size_t page_bytes, Err *err);
void kv_pool_free(KvPool *p); /* when no session has a page left */
/* A page with one owner; its contents are undefined but for the bytes past the last position, which may be anything. */
uint8_t *kv_page_new(KvPool *p, Err *err);
void kv_page_share(KvPool *p, uint8_t *page); /* one owner more */
bool kv_page_is_shared(KvPool *p, uint8_t *page);
void kv_page_drop(KvPool *p, uint8_t *page);  /* one owner less; pages that nobody owns are used again */

#endif
