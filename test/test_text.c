/* test/test_text: characters, streaming, bounds of the template interpreter, failing allocations. */
#include "unit.h"

#include "text/parts.h"

#include <stdio.h>
#include <string.h>

static void decoding_follows_the_standard(void **s) {
  (void)s;
  static const struct {
    const char *bytes;
    int n, length;
    uint32_t cp;
    bool valid;
  } c[] = {{"a", 1, 1, 'a', true}, {"\xC3\xA9", 2, 2, 0xE9, true}, {"\xE2\x82\xAC", 3, 3, 0x20AC, true}, {"\xF0\x9F\x98\x80", 4, 4, 0x1F600, true},
           {"\x80", 1, 1, 0xFFFD, false}, {"\xC0\x80", 2, 1, 0xFFFD, false}, {"\xE0\x80\x80", 3, 1, 0xFFFD, false},
           {"\xED\xA0\x80", 3, 1, 0xFFFD, false}, {"\xF4\x90\x80\x80", 4, 1, 0xFFFD, false}, {"\xE2\x82", 2, 2, 0xFFFD, false},
           {"\xE2\x82" "a", 3, 2, 0xFFFD, false}, {"\xF0\x9F\x98", 3, 3, 0xFFFD, false}, {"\xFF", 1, 1, 0xFFFD, false}};
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    uint32_t cp;
    bool valid;
    assert_int_equal(utf8_decode((const uint8_t *)c[i].bytes, (size_t)c[i].n, &cp, &valid), c[i].length);
    assert_int_equal(cp, c[i].cp);
    assert_int_equal(valid, c[i].valid);
  }
  for (uint32_t cp = 0; cp < 0x110000; cp += cp < 0x3000 ? 1 : 97) {
    if (cp >= 0xD800 && cp < 0xE000) continue;
    char b[4];
    uint32_t back;
    bool valid;
    int n = utf8_encode(cp, b);
    assert_int_equal(utf8_decode((uint8_t *)b, (size_t)n, &back, &valid), n);
    assert_true(valid && back == cp);
  }
}

static void byte_alphabet_is_a_bijection(void **s) {
  (void)s;
  for (int b = 0; b < 256; b++) assert_int_equal(char_to_byte(byte_to_char((uint8_t)b)), b);
  assert_int_equal(char_to_byte(0x144), -1);
  assert_int_equal(char_to_byte(' '), -1);
}

/* A vocabulary of single bytes, two special tokens and a few merges. */
enum { PIECES = 256 + 5 };
static Str piece[PIECES];
static uint8_t type[PIECES];
static uint32_t merge[3][3];
static char spelled[256][4];

static Vocab byte_vocab(void) {
  for (int b = 0; b < 256; b++) {
    piece[b] = (Str){spelled[b], (size_t)utf8_encode(byte_to_char((uint8_t)b), spelled[b])};
    type[b] = PIECE_NORMAL;
  }
  piece[256] = STR("ab");
  piece[257] = STR("abab");
  piece[258] = STR("ba");
  piece[259] = STR("<|end|>");
  piece[260] = STR("<user>");
  memset(type + 256, PIECE_NORMAL, 3);
  type[259] = PIECE_CONTROL;
  type[260] = PIECE_USER;
  uint32_t m[3][3] = {{'a', 'b', 256}, {256, 256, 257}, {'b', 'a', 258}};
  memcpy(merge, m, sizeof merge);
  return (Vocab){.kind = VOCAB_BYTE_BPE, .pre = STR("gpt-2"), .n = PIECES, .piece = piece, .type = type, .merges = 3, .merge = merge,
                 .bos = -1, .eos = 259, .eot = -1, .unk = -1};
}

static void merges_go_by_rank_then_position(void **s) {
  (void)s;
  Err e = {0};
  Vocab v = byte_vocab();
  Tokenizer *t = tokenizer_new(&v, &e);
  Tokens ids = {0};
  assert_non_null(t);
  assert_true(tokenizer_encode(t, STR("babab<|end|>abab<user>"), true, false, &ids, &e));
  static const int expected[] = {'b', 257, 259, 257, 260};
  assert_int_equal(ids.n, 5);
  assert_memory_equal(ids.id, expected, sizeof expected);
  ids.n = 0;
  assert_true(tokenizer_encode(t, STR("<|end|><user>"), false, false, &ids, &e)); /* control tokens only when asked for */
  assert_true(ids.n == 8 && ids.id[7] == 260);
  assert_true(tokenizer_stops(t, 259) && !tokenizer_stops(t, 260) && !tokenizer_stops(t, -1));
  tokens_free(&ids);
  tokenizer_free(t);
}

/* Whatever the cuts between tokens, output is whole characters; broken ones become U+FFFD. */
static void streams_never_split_a_character(void **s) {
  (void)s;
  Err e = {0};
  Vocab v = byte_vocab();
  Tokenizer *t = tokenizer_new(&v, &e);
  static const char text[] = "h\xC3\xA9\xF0\x9F\x98\x80\xE2\x82\xE2\x82\xAC\xFFz\xF0\x9F";
  static const char expected[] = "h\xC3\xA9\xF0\x9F\x98\x80\xEF\xBF\xBD\xE2\x82\xAC\xEF\xBF\xBDz\xEF\xBF\xBD";
  Detok d = {0};
  Buf out = {0};
  for (size_t i = 0; i < sizeof text - 1; i++) {
    size_t before = out.n;
    assert_true(detok_put(t, &d, (unsigned char)text[i], &out, &e));
    for (size_t k = before; k < out.n;) {
      uint32_t cp;
      bool valid;
      k += (size_t)utf8_decode((uint8_t *)out.s + k, out.n - k, &cp, &valid);
      assert_true(valid);
    }
  }
  assert_true(detok_end(&d, &out, &e));
  assert_int_equal(out.n, sizeof expected - 1);
  assert_memory_equal(out.s, expected, out.n);
  assert_false(detok_put(t, &d, PIECES, &out, &e));
  buf_free(&out);
  tokenizer_free(t);
}

static bool render(const char *source, const char *json, Buf *out, Err *e) {
  ChatTemplate *t = template_new(str_from(source), e);
  bool ok = t && template_render_json(t, str_from(json), out, e);
  template_free(t);
  return ok;
}

static void templates_are_bounded(void **s) {
  (void)s;
  static const char *const endless[] = {
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
      "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
      "{% set n = namespace(l=[1]) %}{% for i in range(60) %}{% set n.l = n.l + n.l %}{% endfor %}",
      "{% for i in range(100000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' | replace('x', 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy') }}{% endfor %}",
  };
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
    Err e = {0};
    Buf out = {0};
    assert_false(render(endless[i], "{}", &out, &e));
    assert_true(e.set);
    buf_free(&out);
  }
}

static void unknown_constructs_are_errors(void **s) {
  (void)s;
  static const char *const wrong[] = {
      "{% include 'x' %}", "{{ x | nofilter }}", "{{ 1 is notest }}", "{{ nofunction() }}", "{{ 'a'.nomethod() }}", "{{ undefined_thing.x }}",
      "{{ 'a' * 3 }}", "{{ 1 / 0 }}", "{{ 7 % 0 }}", "{{ 'open", "{{ 1 +", "{% if x %}", "{% endif %}", "{% for x %}{% endfor %}", "{# open", "{{ ) }}",
      "{{ [1, 2 }}", "{{ {'a' 1} }}", "{{ 9223372036854775807 + 1 }}", "{{ 'a' | replace('', 'b') }}", "{{ 1(2) }}", "{{ $ }}", "{{ '\\q' }}",
      "{% set x.y = 1 %}", "{{ x[1:2:0] }}", "{{ 99999999999999999999 }}"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    Err e = {0};
    Buf out = {0};
    if (render(wrong[i], "{\"x\": [1]}", &out, &e)) fail_msg("accepted: %s -> %s", wrong[i], out.s ? out.s : "");
    assert_non_null(strstr(e.text, "chat template"));
    buf_free(&out);
  }
}

/* The k-th allocation fails, for every k: an error each time, and nothing leaks (the sanitized run looks). */
static void failing_allocations_are_errors(void **s) {
  (void)s;
  bool done = false;
  for (long k = 1; !done && k < 3000; k++) {
    Err e = {0};
    Buf out = {0};
    Tokens ids = {0};
    Vocab v = byte_vocab();
    fault_arm(k);
    Tokenizer *t = tokenizer_new(&v, &e);
    done = t && tokenizer_encode(t, STR("hello abab <|end|> \xFF"), true, false, &ids, &e) &&
           render("{% for m in messages %}{{ m.a | upper ~ [1, 2] | tojson }}{% endfor %}", "{\"messages\": [{\"a\": \"x\"}, {\"a\": \"y\"}]}", &out, &e);
    fault_arm(0);
    assert_int_equal(done, !e.set);
    tokens_free(&ids);
    buf_free(&out);
    tokenizer_free(t);
  }
  assert_true(done);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(decoding_follows_the_standard), cmocka_unit_test(byte_alphabet_is_a_bijection),
      cmocka_unit_test(merges_go_by_rank_then_position), cmocka_unit_test(streams_never_split_a_character),
      cmocka_unit_test(templates_are_bounded), cmocka_unit_test(unknown_constructs_are_errors),
      cmocka_unit_test(failing_allocations_are_errors)};
  return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
