/* base/file: mapped files, bounded reading, writing by temporary and rename, the cache directory, digests. */
#define _GNU_SOURCE /* O_CLOEXEC, mkostemp, madvise */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* takes the widest instruction set at hand */
#else
#include <xxhash.h>
#endif

bool map_open(FileMap *m, const char *path, Err *err) {
  *m = (FileMap){0};
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return err_set(err, "%s: cannot open: %s", path, strerror(errno));
  struct stat st;
  bool ok = fstat(fd, &st) == 0;
  if (!ok) err_set(err, "%s: cannot stat: %s", path, strerror(errno));
  else if (!S_ISREG(st.st_mode)) ok = err_set(err, "%s: not a regular file", path);
  else if (st.st_size == 0) ok = err_set(err, "%s:0: empty file", path);
  char *copy = ok ? mem_alloc(strlen(path) + 1, 1, err) : NULL;
  if (copy) {
    strcpy(copy, path);
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
      err_set(err, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size, strerror(errno));
      mem_free(copy);
    } else {
      madvise(p, (size_t)st.st_size, MADV_HUGEPAGE); /* a hint: what is not in memory yet is read into huge pages where the system has them */
      *m = (FileMap){p, (size_t)st.st_size, copy};
    }
  }
  close(fd);
  return m->p != NULL;
}

void map_close(FileMap *m) {
  if (m->p) munmap((void *)(uintptr_t)m->p, m->n);
  mem_free(m->path);
  *m = (FileMap){0};
}

void map_forget(const FileMap *m) {
  if (m->p) madvise((void *)(uintptr_t)m->p, m->n, MADV_DONTNEED);
}

/* Temporaries of writers that are open: a signal that ends the program removes them first. */
enum { MOST_TEMPORARIES = 16 };
static const char *volatile temporaries[MOST_TEMPORARIES];

static void replace_temporary(const char *old, const char *fresh) {
  for (int i = 0; i < MOST_TEMPORARIES; i++)
    if (temporaries[i] == old) {
      temporaries[i] = fresh;
      return;
    }
}

static void on_end(int signal_number) {
  for (int i = 0; i < MOST_TEMPORARIES; i++)
    if (temporaries[i]) unlink(temporaries[i]);
  if (signal_number == SIGBUS) {
    static const char text[] = "burin: a mapped file became shorter while it was read, or its disk failed (SIGBUS)\n";
    ssize_t n = write(2, text, sizeof text - 1);
    (void)n;
    _exit(1);
  }
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void guard_install(void) {
  static const int ends[] = {SIGBUS, SIGINT, SIGTERM, SIGHUP};
  struct sigaction sa = {.sa_handler = on_end}, before;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) /* what the caller ignores (nohup, a job in the background) stays so */
    if (sigaction(ends[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(ends[i], &sa, NULL);
}

bool file_read_all(const char *path, size_t limit, Buf *out, Err *err) {
  bool standard_input = strcmp(path, "-") == 0;
  int fd = standard_input ? 0 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return err_set(err, "%s: cannot open: %s", path, strerror(errno));
  char chunk[65536];
  bool ok = true;
  for (ssize_t n; ok && (n = read(fd, chunk, sizeof chunk)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ok = err_set(err, "%s: cannot read: %s", path, strerror(errno));
    else if (out->n + (size_t)n > limit) ok = err_set(err, "%s: longer than the limit of %zu bytes", path, limit);
    else ok = buf_put(out, chunk, (size_t)n, err);
  }
  if (ok && !out->s) ok = buf_put(out, "", 0, err);
  if (!standard_input) close(fd);
  return ok;
}

/* ---- bounded reader ---- */

bool rd_ok(const Reader *r) { return !r->err->set; }

bool rd_fail(Reader *r, size_t offset, const char *format, ...) {
  char text[600];
  va_list ap;
  va_start(ap, format);
  vsnprintf(text, sizeof text, format, ap);
  va_end(ap);
  return err_set(r->err, "%s:%zu: %s", r->name, offset, text);
}

const uint8_t *rd_bytes(Reader *r, uint64_t n) {
  if (r->err->set) return NULL;
  if (n > r->n - r->at) {
    rd_fail(r, r->at, "file too short: expected %llu more bytes, found %zu", (unsigned long long)n, r->n - r->at);
    return NULL;
  }
  const uint8_t *p = r->p + r->at;
  r->at += (size_t)n;
  return p;
}

#define RD_FIXED(name, type)                   \
  type name(Reader *r) {                       \
    type v = 0;                                \
    const uint8_t *p = rd_bytes(r, sizeof v);  \
    if (p) memcpy(&v, p, sizeof v);            \
    return v;                                  \
  }
RD_FIXED(rd_u8, uint8_t)
RD_FIXED(rd_u16, uint16_t)
RD_FIXED(rd_u32, uint32_t)
RD_FIXED(rd_u64, uint64_t)
RD_FIXED(rd_f32, float)
RD_FIXED(rd_f64, double)

/* ---- writer ---- */

struct Writer {
  Err err;
  int fd;
  char *path, *temporary;
  uint64_t at; /* bytes put so far */
  size_t n;    /* bytes in buf */
  uint8_t buf[2 << 20]; /* the size of a huge page: what is written so lies in such pages, and is mapped by them */
};

static void write_all(Writer *w, const uint8_t *p, size_t n, off_t at) {
  while (n && !w->err.set) {
    ssize_t k = fault_hit() ? (errno = ENOSPC, -1) : pwrite(w->fd, p, n, at);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) {
      err_set(&w->err, "%s: cannot write: %s", w->temporary, strerror(errno));
      return;
    }
    p += k;
    at += k;
    n -= (size_t)k;
  }
}

static void flush(Writer *w) {
  write_all(w, w->buf, w->n, (off_t)(w->at - w->n));
  w->n = 0;
}

Writer *writer_open(const char *path, Err *err) {
  Writer *w = mem_alloc(1, sizeof *w, err);
  if (!w) return NULL;
  size_t n = strlen(path);
  w->fd = -1;
  w->path = mem_alloc(n + 1, 1, err);
  w->temporary = mem_alloc(n + 16, 1, err);
  if (w->path && w->temporary) {
    memcpy(w->path, path, n + 1);
    snprintf(w->temporary, n + 16, "%s.tmp-XXXXXX", path);
    w->fd = mkostemp(w->temporary, O_CLOEXEC);
    if (w->fd < 0) err_set(err, "%s: cannot create: %s", w->temporary, strerror(errno));
    else {
      mode_t mask = umask(0);
      umask(mask);
      fchmod(w->fd, 0666 & ~mask);
      replace_temporary(NULL, w->temporary);
    }
  }
  if (w->fd < 0) {
    writer_abort(w);
    return NULL;
  }
  return w;
}

void writer_put(Writer *w, const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  while (n) {
    size_t k = sizeof w->buf - w->n < n ? sizeof w->buf - w->n : n;
    memcpy(w->buf + w->n, p, k);
    w->n += k;
    w->at += k;
    p += k;
    n -= k;
    if (w->n == sizeof w->buf) flush(w);
  }
}

void writer_align(Writer *w, size_t alignment) {
  static const uint8_t zero[64];
  while (w->at % alignment) {
    size_t k = alignment - w->at % alignment;
    writer_put(w, zero, k < sizeof zero ? k : sizeof zero);
  }
}

uint64_t writer_tell(const Writer *w) { return w->at; }

void writer_rewrite(Writer *w, uint64_t at, const void *bytes, size_t n) {
  flush(w);
  write_all(w, bytes, n, (off_t)at);
}

static bool sync_directory(const char *path, Err *err) {
  char copy[4096];
  if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) return err_set(err, "%s: path too long", path);
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return err_set(err, "%s: cannot open its directory: %s", path, strerror(errno));
  bool ok = fsync(fd) == 0 || errno == EINVAL; /* EINVAL: this file system has no directory sync */
  if (!ok) err_set(err, "%s: cannot sync its directory: %s", path, strerror(errno));
  close(fd);
  return ok;
}

bool writer_commit(Writer *w, Err *err) {
  flush(w);
  if (!w->err.set && (fault_hit() || fsync(w->fd) != 0))
    err_set(&w->err, "%s: cannot sync: %s", w->temporary, strerror(errno));
  if (!w->err.set && rename(w->temporary, w->path) != 0)
    err_set(&w->err, "%s: cannot rename to %s: %s", w->temporary, w->path, strerror(errno));
  if (w->err.set) {
    err_set(err, "%s", w->err.text);
    writer_abort(w);
    return false;
  }
  close(w->fd);
  w->fd = -1;
  bool ok = sync_directory(w->path, err);
  writer_abort(w);
  return ok;
}

void writer_abort(Writer *w) {
  if (!w) return;
  if (w->fd >= 0) {
    close(w->fd);
    unlink(w->temporary);
  }
  if (w->temporary) replace_temporary(w->temporary, NULL);
  mem_free(w->path);
  mem_free(w->temporary);
  mem_free(w);
}

/* ---- cache directory ---- */

static bool make_directories(char *path, Err *err) {
  for (char *p = path + 1;; p++) {
    if (*p && *p != '/') continue;
    char c = *p;
    *p = 0;
    bool ok = mkdir(path, 0777) == 0 || errno == EEXIST;
    if (!ok) err_set(err, "%s: cannot make directory: %s", path, strerror(errno));
    *p = c;
    if (!ok) return false;
    if (!c) return true;
  }
}

bool cache_dir(char *out, size_t n, Err *err) {
  const char *own = getenv("BURIN_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int k = own && *own     ? snprintf(out, n, "%s", own)
          : xdg && *xdg   ? snprintf(out, n, "%s/burin", xdg)
          : home && *home ? snprintf(out, n, "%s/.cache/burin", home)
                          : -1;
  if (k < 0) return err_set(err, "no cache directory: set BURIN_CACHE or HOME");
  if ((size_t)k >= n) return err_set(err, "the path of the cache directory is longer than %zu bytes", n);
  return make_directories(out, err);
}

/* ---- digests ---- */

bool sha256(const void *bytes, size_t n, uint8_t out[32], Err *err) {
  if (EVP_Digest(bytes, n, out, NULL, EVP_sha256(), NULL) == 1) return true;
  return err_set(err, "SHA-256 is not available in this libcrypto");
}

uint64_t checksum64(const void *bytes, size_t n) { return XXH3_64bits(bytes, n); }
