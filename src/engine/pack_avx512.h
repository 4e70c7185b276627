/* engine/pack_avx512: from a chip's codes to the tiles of kernel_avx512.c, 16 rows of a group at a time, and the checks of
 * matrix_check on the way.  Included by kernel_avx512.c.
 */

/* How the 8 * bits bytes of a group become 64 bytes: which byte goes where, and by how much each is shifted. */
typedef struct {
  V place, shift, mask;
  __mmask64 bytes;
  int bits;
} Spread;

static Spread spread_of(int bits) {
  uint8_t place[64], shift[64];
  for (int i = 0; i < 64; i++) place[i] = (uint8_t)(i / 8 * bits + i % 8 % bits), shift[i] = (uint8_t)(i % 8 * bits);
  return (Spread){_mm512_loadu_si512(place), _mm512_loadu_si512(shift), _mm512_set1_epi8((char)((1 << bits) - 1)),
                  bits == 8 ? ~(__mmask64)0 : ((__mmask64)1 << 8 * bits) - 1, bits};
}

static inline V spread(const Spread *s, const uint8_t *codes) {
  V v = _mm512_maskz_loadu_epi8(s->bytes, codes);
  return _mm512_and_si512(_mm512_multishift_epi64_epi8(s->shift, _mm512_permutexvar_epi8(s->place, v)), s->mask);
}

/* Levels of 64 codes, from a table of 256. */
static inline V levels_of(const int8_t *level, V codes) {
  V low = _mm512_permutex2var_epi8(_mm512_loadu_si512(level), codes, _mm512_loadu_si512(level + 64));
  V high = _mm512_permutex2var_epi8(_mm512_loadu_si512(level + 128), codes, _mm512_loadu_si512(level + 192));
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), low, high);
}

/* 16 rows of 16 words, transposed in place. */
static inline void transpose(V r[16]) {
  V t[16];
  for (int i = 0; i < 8; i++) t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]), t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 2; k++) {
      r[4 * i + 2 * k] = _mm512_unpacklo_epi64(t[4 * i + k], t[4 * i + 2 + k]);
      r[4 * i + 2 * k + 1] = _mm512_unpackhi_epi64(t[4 * i + k], t[4 * i + 2 + k]);
    }
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < 2; i++) {
      t[8 * i + k] = _mm512_shuffle_i32x4(r[8 * i + k], r[8 * i + 4 + k], 0x88);
      t[8 * i + 4 + k] = _mm512_shuffle_i32x4(r[8 * i + k], r[8 * i + 4 + k], 0xDD);
    }
  for (int k = 0; k < 8; k++) {
    r[k] = _mm512_shuffle_i32x4(t[k], t[8 + k], 0x88);
    r[8 + k] = _mm512_shuffle_i32x4(t[k], t[8 + k], 0xDD);
  }
}

static inline V up(V v, unsigned s) { return _mm512_slli_epi16(v, s); }
static inline V down(V v, unsigned s) { return _mm512_srli_epi16(v, s); }
static inline V any(V a, V b) { return _mm512_or_si512(a, b); }
static inline V low_bits(V v, int bits) { return _mm512_and_si512(v, _mm512_set1_epi8((char)((1 << bits) - 1))); }

/* One half of a group: 16 quads of codes into their chunks, 2 chunk_bytes apart. */
static inline void put_quads(int bits, const V q[QUADS], uint8_t *half) {
  size_t step = 2 * (size_t)chunk_bytes(bits);
  for (int i = 0; i < QUADS; i += chunk_quads(bits), half += step) {
    V a, b = _mm512_setzero_si512(), c = b;
    switch (bits) {
      case 2: a = any(any(q[i], up(q[i + 1], 2)), any(up(q[i + 2], 4), up(q[i + 3], 6))); break;
      case 4: a = any(q[i], up(q[i + 1], 4)); break;
      case 3:
        a = any(any(q[i], up(q[i + 1], 3)), up(low_bits(q[i + 6], 2), 6));
        b = any(any(q[i + 2], up(q[i + 3], 3)), any(up(low_bits(down(q[i + 6], 2), 1), 6), up(low_bits(down(q[i + 7], 2), 1), 7)));
        c = any(any(q[i + 4], up(q[i + 5], 3)), up(low_bits(q[i + 7], 2), 6));
        break;
      case 6:
        a = any(q[i], up(low_bits(q[i + 3], 2), 6));
        b = any(q[i + 1], up(low_bits(down(q[i + 3], 2), 2), 6));
        c = any(q[i + 2], up(low_bits(down(q[i + 3], 4), 2), 6));
        break;
      default: a = q[i]; break;
    }
    _mm512_storeu_si512(half, a);
    if (bits % 3 != 0) continue;
    _mm512_storeu_si512(half + 64, b);
    _mm512_storeu_si512(half + 128, c);
  }
}

/* Sums over one row: of scale * level for the correction, of scale * |level| for the check. */
typedef struct {
  int64_t level, magnitude;
} RowSums;

static inline V sum_bytes(V v) { return _mm512_sad_epu8(v, _mm512_setzero_si512()); }

/* Group g of 16 rows from `row` on; rows past the end are zeros.  Returns whether codes and scales are in range. */
static inline bool pack_half(const Matrix *m, const Spread *spread_codes, int row, int g, uint8_t *half, uint8_t *scale, RowSums *sums) {
  V q[HALF], most = _mm512_setzero_si512();
  int count = m->cols - g * GROUP < GROUP ? m->cols - g * GROUP : GROUP;
  __mmask64 used = count == GROUP ? ~(__mmask64)0 : ((__mmask64)1 << count) - 1;
  bool ok = true;
  for (int r = 0; r < HALF; r++) {
    q[r] = _mm512_setzero_si512();
    if (row + r >= m->rows) continue;
    V code = spread(spread_codes, m->codes + ((size_t)(row + r) * (size_t)m->groups + (size_t)g) * (size_t)(8 * m->bits));
    V level = levels_of(m->level, code);
    int s = matrix_group_scale(m, row + r, g);
    int64_t shifted = _mm512_reduce_add_epi64(sum_bytes(_mm512_xor_si512(level, _mm512_set1_epi8((char)0x80))));
    sums[r].level += s * (shifted - GROUP * 128);
    sums[r].magnitude += s * _mm512_reduce_add_epi64(sum_bytes(_mm512_maskz_abs_epi8(used, level)));
    most = _mm512_max_epu8(most, code);
    scale[r] = (uint8_t)s;
    ok = ok && s >= 1;
    q[r] = m->bits == 8 ? level : code;
  }
  ok = ok && _mm512_cmpgt_epu8_mask(most, _mm512_set1_epi8((char)(m->levels - 1))) == 0;
  transpose(q);
  put_quads(m->bits, q, half);
  return ok;
}

bool pack_tile_avx512(const Matrix *m, Packed *p, int t) {
  uint8_t *tile = p->tiles + (size_t)t * p->tile_bytes;
  Spread s = spread_of(m->bits);
  bool ok = true;
  for (int h = 0; h < 2; h++) {
    int first = t * TILE + h * HALF;
    RowSums sums[HALF] = {{0, 0}};
    for (int g = 0; g < m->groups; g++)
      ok = pack_half(m, &s, first, g, tile + group_at(g, m->bits) + h * chunk_bytes(m->bits), tile + scales_at(g, m->bits) + h * HALF, sums) && ok;
    for (int r = 0; r < HALF && first + r < m->rows; r++) {
      p->correction[first + r] = (int32_t)((uint32_t)sums[r].level << 7);
      ok = ok && 127 * sums[r].magnitude <= INT32_MAX;
    }
  }
  return ok;
}
