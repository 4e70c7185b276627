/* engine/kv: pages of the KV cache: counted owners, and a list of free ones. */
#include "engine/kv.h"

#include <assert.h>

enum { HEADER = 64, SLAB_PAGES = 8 }; /* the header stands before a page's bytes, which start on a cache line */

typedef struct Header {
  struct Header *next; /* free */
  int owners;
} Header;

/* Pages come eight at a time, so that they can lie on the system's huge pages. */
typedef struct Slab {
  struct Slab *next;
  _Alignas(64) uint8_t pages[];
} Slab;

struct KvPool {
  size_t page_bytes; /* with its header */
  Slab *slab;
  Header *free;
};

static Header *header_of(uint8_t *page) { return (Header *)(void *)(page - HEADER); }

KvPool *kv_pool_new(size_t page_bytes, Err *err) {
  KvPool *p = mem_alloc(1, sizeof *p, err);
  if (p) p->page_bytes = HEADER + (page_bytes + 63) / 64 * 64;
  return p;
}

void kv_pool_free(KvPool *p) {
  if (!p) return;
  while (p->slab) {
    Slab *s = p->slab;
    p->slab = s->next;
    mem_free(s);
  }
  mem_free(p);
}

static bool more_pages(KvPool *p, Err *err) {
  Slab *s = mem_alloc(1, sizeof *s + SLAB_PAGES * p->page_bytes, err);
  if (!s) return false;
  s->next = p->slab;
  p->slab = s;
  for (int i = SLAB_PAGES; i-- > 0;) {
    Header *h = (Header *)(void *)(s->pages + (size_t)i * p->page_bytes);
    h->next = p->free;
    p->free = h;
  }
  return true;
}

uint8_t *kv_page_new(KvPool *p, Err *err) {
  if (!p->free && !more_pages(p, err)) return NULL;
  Header *h = p->free;
  p->free = h->next;
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
