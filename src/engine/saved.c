/* engine/saved: a session in a file: its tokens and its KV cache, to go on from in another process.
 *
 *   head      64 bytes, see Head
 *   tokens    int32 [tokens]
 *   checksum  uint64 of head and tokens
 *   pages     of engine/kv.h, whole ones, each followed by its checksum (uint64); zeros behind the last token
 *
 * All integers are little-endian.  The file is the same whatever machine, kernels and threads made it.
 */
#include "engine/state.h"

#include <string.h>

enum { SESSION_FORMAT = 1 };
static const char MAGIC[8] = "BURINSES";

typedef struct {
  char magic[8];
  uint32_t format, arithmetic; /* SESSION_FORMAT, CHIP_ARITHMETIC */
  uint8_t chip[32];            /* its hash */
  uint64_t page_bytes;
  uint32_t page, tokens;       /* positions of a page; of the session */
} Head;
_Static_assert(sizeof(Head) == 64, "a layout of the file");

static size_t page_bytes(const Engine *e) { return kv_page_bytes(e->chip->shape.layers * e->chip->shape.kv_heads, e->chip->shape.head_dim); }

/* ---- writing ---- */

static void put_summed(Writer *w, const void *bytes, size_t n) {
  uint64_t sum = checksum64(bytes, n);
  writer_put(w, bytes, n);
  writer_put(w, &sum, sizeof sum);
}

bool session_save(const Session *s, const char *path, uint64_t *bytes, Err *err) {
  const Engine *e = s->engine;
  const ChipShape *c = &e->chip->shape;
  size_t page = page_bytes(e), ids = (size_t)s->position * sizeof(int32_t);
  Head head = {.format = SESSION_FORMAT, .arithmetic = CHIP_ARITHMETIC, .page_bytes = page, .page = KV_PAGE, .tokens = (uint32_t)s->position};
  memcpy(head.magic, MAGIC, sizeof head.magic);
  memcpy(head.chip, e->chip->hash, sizeof head.chip);
  uint8_t *front = mem_alloc(sizeof head + ids, 1, err), *last = mem_alloc(page, 1, err);
  Writer *w = front && last ? writer_open(path, err) : NULL;
  if (w) {
    int whole = s->position / KV_PAGE;
    memcpy(front, &head, sizeof head);
    if (ids) memcpy(front + sizeof head, s->token, ids);
    put_summed(w, front, sizeof head + ids);
    for (int i = 0; i < whole; i++) put_summed(w, s->page[i], page);
    if (s->position % KV_PAGE) { /* what stands behind its tokens may be another session's */
      memcpy(last, s->page[whole], page);
      for (int k = 0; k < c->layers * c->kv_heads; k++)
        for (int at = s->position % KV_PAGE; at < KV_PAGE; at++) kv_clear(last + (size_t)k * kv_cell_bytes(c->head_dim), c->head_dim, at);
      put_summed(w, last, page);
    }
    *bytes = writer_tell(w);
  }
  mem_free(front);
  mem_free(last);
  return w && writer_commit(w, err);
}

/* ---- reading: what no arithmetic here makes is refused ---- */

static const uint8_t *summed(Reader *r, size_t n) {
  size_t at = r->at;
  const uint8_t *p = rd_bytes(r, n);
  uint64_t sum = rd_u64(r);
  if (rd_ok(r) && checksum64(p, n) != sum) rd_fail(r, at, "expected checksum %016llx, found %016llx", (unsigned long long)sum, (unsigned long long)checksum64(p, n));
  return rd_ok(r) ? p : NULL;
}

static bool read_head(Reader *r, const Engine *e, Head *head) {
  const uint8_t *p = rd_bytes(r, sizeof *head);
  char of[65], here[65];
  if (!p) return false;
  memcpy(head, p, sizeof *head);
  hex_of(head->chip, sizeof head->chip, of);
  hex_of(e->chip->hash, sizeof e->chip->hash, here);
  if (memcmp(head->magic, MAGIC, sizeof MAGIC) != 0) return rd_fail(r, 0, "not a saved session: expected magic '%.8s'", MAGIC);
  if (head->format != SESSION_FORMAT) return rd_fail(r, 8, "format of a saved session: expected %d, found %u", SESSION_FORMAT, head->format);
  if (head->arithmetic != CHIP_ARITHMETIC) return rd_fail(r, 12, "arithmetic of the saved session: expected version %d, found %u", CHIP_ARITHMETIC, head->arithmetic);
  if (memcmp(head->chip, e->chip->hash, sizeof head->chip) != 0) return rd_fail(r, 16, "a session of another chip: expected hash %s, found %s", here, of);
  if (head->page_bytes != page_bytes(e)) return rd_fail(r, 48, "bytes of a page: expected %zu, found %llu", page_bytes(e), (unsigned long long)head->page_bytes);
  if (head->page != KV_PAGE) return rd_fail(r, 56, "positions of a page: expected %d, found %u", KV_PAGE, head->page);
  r->at = 0; /* its checksum goes over both */
  return true;
}

static bool step_is_valid(uint16_t packed) {
  Step s = step_unpack(packed);
  return s.u >= 130 && s.u <= 258 && s.e >= -14 && s.e <= 23;
}

static bool read_page(Reader *r, Session *s, int index) {
  const ChipShape *c = &s->engine->chip->shape;
  size_t at = r->at, cell = kv_cell_bytes(c->head_dim), codes = 2 * kv_part_bytes(c->head_dim);
  const uint8_t *p = summed(r, page_bytes(s->engine));
  if (!p) return false;
  uint8_t *page = s->page[index];
  memcpy(page, p, page_bytes(s->engine));
  int left = s->position - index * KV_PAGE, n = left < KV_PAGE ? left : KV_PAGE;
  for (int k = 0; k < c->layers * c->kv_heads; k++) {
    KvCell kv = kv_cell(page + (size_t)k * cell, c->head_dim);
    size_t start = at + (size_t)k * cell;
    if (memchr(kv.k, 0x80, codes)) return rd_fail(r, start, "keys and values: expected -127 to 127, found -128");
    for (int i = 0; i < n; i++)
      if (!step_is_valid(kv.k_step[i]) || !step_is_valid(kv.v_step[i])) return rd_fail(r, start + codes, "position %d: steps %04x and %04x do not exist", index * KV_PAGE + i, kv.k_step[i], kv.v_step[i]);
  }
  return true;
}

static bool read_session(Reader *r, Session *s, Err *err) {
  Head head;
  if (!read_head(r, s->engine, &head)) return false;
  if (head.tokens > (uint32_t)s->context) return rd_fail(r, 60, "%u tokens are saved, but the context holds %d", head.tokens, s->context);
  const uint8_t *p = summed(r, sizeof head + head.tokens * sizeof(int32_t));
  if (!p) return false;
  memcpy(s->token, p + sizeof head, head.tokens * sizeof(int32_t));
  if (head.tokens && (!session_check(s, s->token, (int)head.tokens, err) || !session_room(s, (int)head.tokens, err))) return false;
  s->position = (int)head.tokens;
  for (int i = 0; i < s->pages; i++)
    if (!read_page(r, s, i)) return false;
  return r->at == r->n || rd_fail(r, r->at, "expected the end of the file, found %zu bytes more", r->n - r->at);
}

Session *session_load(Engine *e, const char *path, int context, uint64_t *bytes, Err *err) {
  FileMap f;
  if (!map_open(&f, path, err)) return NULL;
  Reader r = {.p = f.p, .n = f.n, .name = path, .err = err};
  Session *s = session_new(e, context, err);
  *bytes = f.n;
  if (s && !read_session(&r, s, err)) {
    session_free(s);
    s = NULL;
  }
  map_close(&f);
  return s;
}
