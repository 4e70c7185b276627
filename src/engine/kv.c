/* engine/kv: pages of the KV cache: counted owners, and a list of free ones. */
#include "engine/kv.h"

#include <assert.h>

enum { HEADER = 64 }; /* before the page's bytes, which start on a cache line */

typedef struct Header {
  struct Header *next; /* free */
  int owners;
} Header;

struct KvPool {
  size_t page_bytes;
  Header *free;
};

static Header *header_of(uint8_t *page) { return (Header *)(void *)(page - HEADER); }

KvPool *kv_pool_new(size_t page_bytes, Err *err) {
  KvPool *p = mem_alloc(1, sizeof *p, err);
  if (p) p->page_bytes = page_bytes;
  return p;
}

void kv_pool_free(KvPool *p) {
  if (!p) return;
  while (p->free) {
    Header *h = p->free;
    p->free = h->next;
    mem_free(h);
  }
  mem_free(p);
}

uint8_t *kv_page_new(KvPool *p, Err *err) {
  Header *h = p->free;
  if (h) p->free = h->next;
  else h = mem_alloc(HEADER + p->page_bytes, 1, err);
  if (!h) return NULL;
  h->owners = 1;
  return (uint8_t *)h + HEADER;
}

void kv_page_share(KvPool *p, uint8_t *page) {
  (void)p;
  header_of(page)->owners++;
}

bool kv_page_is_shared(KvPool *p, uint8_t *page) {
  (void)p;
  return header_of(page)->owners > 1;
}

void kv_page_drop(KvPool *p, uint8_t *page) {
  Header *h = header_of(page);
  assert(h->owners > 0);
  if (--h->owners > 0) return;
  h->next = p->free;
  p->free = h;
}
