/* chip/tile: single weights and groups of a matrix, in tiles or, for the embedding, row by row. */
#include "chip/chip.h"

#include <string.h>

size_t matrix_weight_bytes(const Matrix *m) {
  if (m->grouped) return (size_t)tiles_of(m->rows) * tile_bytes(m->groups, m->bits);
  return (size_t)m->rows * (size_t)m->groups * 8 * (size_t)m->bits;
}

/* ---- where a code's bits stand: up to three fields, low bits first ---- */

typedef struct {
  size_t byte;
  int shift, bits;
} Field;

/* Within the chunks of a half; byte: of a quad, 0 .. 63. */
static int tile_fields(int bits, int quad, int byte, Field f[3]) {
  size_t at = (size_t)(quad / chunk_quads(bits)) * 2 * (size_t)chunk_bytes(bits) + (size_t)byte;
  int k = quad % chunk_quads(bits);
  if (bits == 3 && k < 6) return f[0] = (Field){at + (size_t)(k / 2) * VECTOR, k % 2 * 3, 3}, 1;
  if (bits == 3) return f[0] = (Field){at + (size_t)(k - 6) * 2 * VECTOR, 6, 2}, f[1] = (Field){at + VECTOR, k, 1}, 2;
  if (bits == 6 && k < 3) return f[0] = (Field){at + (size_t)k * VECTOR, 0, 6}, 1;
  for (int i = 0; bits == 6 && i < 3; i++) f[i] = (Field){at + (size_t)i * VECTOR, 6, 2};
  return bits == 6 ? 3 : (f[0] = (Field){at, k * bits, bits}, 1);
}

/* Within a string of bits. */
static int string_fields(int bits, int col, Field f[3]) {
  int bit = col * bits, low = 8 - bit % 8 < bits ? 8 - bit % 8 : bits;
  f[0] = (Field){(size_t)(bit / 8), bit % 8, low};
  f[1] = (Field){(size_t)(bit / 8 + 1), 0, bits - low};
  return low == bits ? 1 : 2;
}

static size_t half_at(const Matrix *m, int row, int group) {
  return (size_t)(row / TILE) * tile_bytes(m->groups, m->bits) + group_at(group, m->bits) + (size_t)(row % TILE / HALF) * (size_t)chunk_bytes(m->bits);
}

static size_t string_at(const Matrix *m, int row, int group) { return ((size_t)row * (size_t)m->groups + (size_t)group) * (size_t)(8 * m->bits); }

static int fields_of(const Matrix *m, int row, int col, Field f[3], size_t *at) {
  int in = col % GROUP;
  *at = m->grouped ? half_at(m, row, col / GROUP) : string_at(m, row, col / GROUP);
  return m->grouped ? tile_fields(m->bits, in / 4, row % HALF * 4 + in % 4, f) : string_fields(m->bits, in, f);
}

int matrix_code(const Matrix *m, int row, int col) {
  Field f[3];
  size_t at;
  int code = 0, n = fields_of(m, row, col, f, &at);
  for (int i = 0, low = 0; i < n; low += f[i].bits, i++) code |= (m->weights[at + f[i].byte] >> f[i].shift & ((1 << f[i].bits) - 1)) << low;
  return code;
}

void matrix_put_code(const Matrix *m, uint8_t *weights, int row, int col, int code) {
  Field f[3];
  size_t at;
  int n = fields_of(m, row, col, f, &at);
  for (int i = 0; i < n; code >>= f[i].bits, i++) {
    uint8_t *p = weights + at + f[i].byte;
    int mask = ((1 << f[i].bits) - 1) << f[i].shift;
    *p = (uint8_t)((*p & ~mask) | (code << f[i].shift & mask));
  }
}

static size_t scale_at(const Matrix *m, int row, int group) {
  return (size_t)(row / TILE) * tile_bytes(m->groups, m->bits) + scales_at(group, m->bits) + (size_t)(row % TILE);
}

int matrix_group_scale(const Matrix *m, int row, int group) { return m->grouped ? m->weights[scale_at(m, row, group)] : 1; }

void matrix_put_group_scale(const Matrix *m, uint8_t *weights, int row, int group, int s) { weights[scale_at(m, row, group)] = (uint8_t)s; }

/* ---- whole groups ---- */

/* `bytes` bytes hold `codes` codes of `bits` bits; constants where it is called, so that the loops unroll */
static inline void unpack_string(const uint8_t *g, int bytes, int codes, int bits, uint8_t *out) {
  for (int i = 0; i < GROUP / codes; i++) {
    uint32_t word = 0;
    for (int k = 0; k < bytes; k++) word |= (uint32_t)g[i * bytes + k] << 8 * k;
    for (int k = 0; k < codes; k++) out[i * codes + k] = (uint8_t)(word >> bits * k & ((1u << bits) - 1));
  }
}

static inline uint32_t four_at(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

/* The quads of a chunk, four codes a word: one row's. */
static inline void unpack_quads(int bits, const uint8_t *w, uint32_t *q) {
  const uint32_t each = 0x01010101;
  uint32_t a = four_at(w), b = bits % 3 ? 0 : four_at(w + VECTOR), c = bits % 3 ? 0 : four_at(w + 2 * VECTOR);
  if (bits == 2 || bits == 4) {
    for (int k = 0; k < 8 / bits; k++) q[k] = a >> bits * k & ((1u << bits) - 1) * each;
  } else if (bits == 3) {
    q[0] = a & 7 * each, q[1] = a >> 3 & 7 * each, q[2] = b & 7 * each, q[3] = b >> 3 & 7 * each, q[4] = c & 7 * each, q[5] = c >> 3 & 7 * each;
    q[6] = (a >> 6 & 3 * each) | (b >> 4 & 4 * each), q[7] = (c >> 6 & 3 * each) | (b >> 5 & 4 * each);
  } else if (bits == 6) {
    q[0] = a & 63 * each, q[1] = b & 63 * each, q[2] = c & 63 * each;
    q[3] = (a >> 6 & 3 * each) | (b >> 4 & 12 * each) | (c >> 2 & 48 * each);
  } else {
    q[0] = a;
  }
}

static inline void unpack_row(int bits, const uint8_t *w, uint8_t *out) {
  uint32_t q[8];
  for (int i = 0; i < QUADS; i += chunk_quads(bits), w += 2 * chunk_bytes(bits), out += 4 * chunk_quads(bits)) {
    unpack_quads(bits, w, q);
    memcpy(out, q, 4 * (size_t)chunk_quads(bits));
  }
}

void matrix_group_codes(const Matrix *m, int row, int group, uint8_t out[GROUP]) {
  const uint8_t *g = m->weights + (m->grouped ? half_at(m, row, group) + (size_t)(row % HALF * 4) : string_at(m, row, group));
  switch (m->bits) {
    case 2: m->grouped ? unpack_row(2, g, out) : unpack_string(g, 1, 4, 2, out); break;
    case 3: m->grouped ? unpack_row(3, g, out) : unpack_string(g, 3, 8, 3, out); break;
    case 4: m->grouped ? unpack_row(4, g, out) : unpack_string(g, 1, 2, 4, out); break;
    case 6: m->grouped ? unpack_row(6, g, out) : unpack_string(g, 3, 4, 6, out); break;
    default: m->grouped ? unpack_row(8, g, out) : (void)memcpy(out, g, GROUP); break;
  }
}

void matrix_group_levels(const Matrix *m, int row, int group, int8_t out[GROUP]) {
  uint8_t code[GROUP];
  matrix_group_codes(m, row, group, code);
  for (int i = 0; i < GROUP; i++) out[i] = m->level[code[i]];
}

/* ---- checks ---- */

int matrix_max_level(int bits) { return bits <= 4 ? 31 : bits == 6 ? 63 : 127; }

bool matrix_book_is_even(const Matrix *m) {
  for (int i = 1; i < m->levels; i++)
    if (m->level[i] != m->level[0] + i * (m->level[1] - m->level[0])) return false;
  return m->levels < 2 || m->level[1] - m->level[0] <= (m->bits == 6 ? 2 : 1);
}

/* Whether all bytes hold codes of the book, where it does not use every code; constants where it is called. */
static inline bool codes_below(const uint8_t *p, size_t n, int bits, int levels) {
  uint8_t most = 0;
  for (size_t i = 0; i < n; i++)
    for (int s = 0; s < 8; s += bits) {
      uint8_t code = p[i] >> s & ((1u << bits) - 1);
      most = code > most ? code : most;
    }
  return most < levels;
}

static bool group_in_book(const Matrix *m, int t, int g) {
  const uint8_t *p = m->weights + (size_t)t * tile_bytes(m->groups, m->bits) + group_at(g, m->bits);
  switch (m->bits) {
    case 2: return codes_below(p, codes_bytes(2), 2, m->levels);
    case 4: return codes_below(p, codes_bytes(4), 4, m->levels);
    case 8: return codes_below(p, codes_bytes(8), 8, m->levels);
    default: break;
  }
  bool ok = true;
  for (int r = t * TILE; r < m->rows && r < (t + 1) * TILE; r++) {
    uint8_t code[GROUP];
    matrix_group_codes(m, r, g, code);
    ok = codes_below(code, GROUP, 8, m->levels) && ok;
  }
  return ok;
}

bool matrix_tile_in_range(const Matrix *m, int t) {
  int rows = m->rows - t * TILE < TILE ? m->rows - t * TILE : TILE;
  bool ok = true;
  for (int g = 0; g < m->groups; g++) {
    const uint8_t *s = m->weights + scale_at(m, t * TILE, g);
    uint8_t least = 255, most = 0;
    for (int r = 0; r < rows; r++) least = s[r] < least ? s[r] : least, most = s[r] > most ? s[r] : most;
    ok = ok && least >= 1 && most <= MAX_GROUP_SCALE && (m->levels == 1 << m->bits || group_in_book(m, t, g));
  }
  return ok;
}

static bool check_row(const Matrix *m, int r, const uint8_t *magnitude, const char *name, Err *err) {
  int64_t sum = 0;
  for (int g = 0; g < m->groups; g++) {
    int s = matrix_group_scale(m, r, g), level = 0, count = m->cols - g * GROUP < GROUP ? m->cols - g * GROUP : GROUP;
    uint8_t code[GROUP], largest = 0;
    if (s < 1 || s > MAX_GROUP_SCALE) return err_set(err, "matrix %s: group scale of row %d, group %d: expected 1 to %d, found %d", name, r, g, MAX_GROUP_SCALE, s);
    matrix_group_codes(m, r, g, code);
    for (int i = 0; i < GROUP; i++) largest = code[i] > largest ? code[i] : largest;
    if (largest >= m->levels) return err_set(err, "matrix %s: row %d, group %d: expected codes of 0 to %d, found %d", name, r, g, m->levels - 1, largest);
    for (int i = 0; i < count; i++) level += magnitude[code[i]];
    sum += (int64_t)s * level;
  }
  return 127 * sum <= INT32_MAX || err_set(err, "matrix %s: row %d may overflow its 32-bit accumulator", name, r);
}

bool matrix_check(const Matrix *m, const char *name, Err *err) {
  uint8_t magnitude[256] = {0}; /* of an embedding: none, since its rows meet no activations */
  if (!m->grouped && m->levels == 1 << m->bits) return true;
  for (int i = 0; m->grouped && i < m->levels; i++) magnitude[i] = (uint8_t)(m->level[i] < 0 ? -m->level[i] : m->level[i]);
  for (int r = 0; r < m->rows; r++)
    if (!check_row(m, r, magnitude, name, err)) return false;
  return true;
}
