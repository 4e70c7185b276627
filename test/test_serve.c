/* test/test_serve: what constrained output accepts, masks against brute force, calls of functions in text, failing allocations. */
#include "unit.h"

#include "serve/parts.h"

#include <stdio.h>
#include <string.h>

/* ---- a vocabulary: all bytes, and some longer pieces ---- */
static const char *const longer[] = {"{\"", "\":", "name", "\", \"", "true", "tr", "12", "}}", " ", "\xC3\xA9", "\\\"", "<end>"};
enum { LONGER = sizeof longer / sizeof *longer, PIECES = 256 + LONGER };
static Str piece[PIECES];
static uint8_t type[PIECES];
static char spelled[PIECES][64];

static Vocab vocabulary(void) {
  for (int b = 0; b < PIECES; b++) {
    char byte = (char)b;
    Str s = b < 256 ? (Str){&byte, 1} : str_from(longer[b - 256]);
    size_t n = 0;
    bool end = b == PIECES - 1;
    for (size_t i = 0; i < s.n; i++) { /* the printable alphabet of byte-level vocabularies */
      uint32_t c = (uint8_t)s.s[i];
      if (!end && !((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || c >= 174)) {
        uint32_t k = c < 33 ? c : c < 161 ? c - 127 + 33 : 67;
        c = 256 + k;
      }
      if (c >= 128) spelled[b][n++] = (char)(0xC0 | c >> 6), spelled[b][n++] = (char)(0x80 | (c & 63));
      else spelled[b][n++] = (char)c;
    }
    piece[b] = (Str){spelled[b], n};
    type[b] = end ? PIECE_CONTROL : PIECE_NORMAL;
  }
  return (Vocab){.kind = VOCAB_BYTE_BPE, .pre = STR("gpt-2"), .n = PIECES, .piece = piece, .type = type, .bos = -1, .eos = PIECES - 1, .eot = -1, .unk = -1};
}

static Vocab vocab;
static Tokenizer *tokenizer;
static TokenTrie *trie;

static int setup(void **state) {
  (void)state;
  Err err = {0};
  vocab = vocabulary();
  tokenizer = tokenizer_new(&vocab, &err);
  trie = tokenizer ? token_trie_new(tokenizer, PIECES, &err) : NULL;
  return trie ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  token_trie_free(trie);
  tokenizer_free(tokenizer);
  return 0;
}

static bool accepts(Matcher *m, const char *text) {
  Err err = {0};
  int state = matcher_feed(m, MATCHER_START, text, strlen(text), &err);
  assert_false(err.set);
  return matcher_may_end(m, state);
}

static Matcher *of_regex(const char *pattern) {
  Err err = {0};
  Matcher *m = matcher_new(grammar_of_regex(str_from(pattern), &err), trie, &err);
  if (!m) fail_msg("%s: %s", pattern, err.text);
  return m;
}

static Matcher *of_schema(const char *text) {
  Err err = {0};
  json_error_t e;
  json_t *s = json_loads(text, 0, &e);
  Matcher *m = matcher_new(grammar_of_schema(s, &err), trie, &err);
  if (!m) fail_msg("%s: %s", text, err.text);
  json_decref(s);
  return m;
}

/* Up to four texts that a grammar takes whole, and four that it does not; takes the matcher. */
static void decides(Matcher *m, const char *what, const char *const *yes, const char *const *no) {
  for (int k = 0; k < 4 && yes[k]; k++)
    if (!accepts(m, yes[k])) fail_msg("%s: expected to accept '%s'", what, yes[k]);
  for (int k = 0; k < 4 && no[k]; k++)
    if (accepts(m, no[k])) fail_msg("%s: expected to refuse '%s'", what, no[k]);
  matcher_free(m);
}

/* ---- regular expressions ---- */

static void expressions_match_whole_texts(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *yes[4], *no[4];
  } c[] = {
      {"abc", {"abc"}, {"", "ab", "abcd"}},
      {"^abc$", {"abc"}, {"xabc"}},
      {"a|bc|", {"", "a", "bc"}, {"b", "abc"}},
      {"(ab)*c", {"c", "abc", "ababc"}, {"ab", "bc"}},
      {"a+b?", {"a", "aab", "ab"}, {"", "b", "abb"}},
      {"a{2,3}", {"aa", "aaa"}, {"a", "aaaa"}},
      {"a{2,}", {"aa", "aaaaaa"}, {"a"}},
      {"(a|b){0,2}", {"", "a", "ba"}, {"aba"}},
      {"[a-c\\d_-]+", {"b0_-", "a"}, {"d", ""}},
      {"[^a-c]", {"d", "\xC3\xA9", "\xF0\x9F\x98\x80"}, {"a", "dd", "\xC3"}},
      {"\\d{3}-\\d{4}", {"555-1234"}, {"5551234", "555-123"}},
      {".", {"x", "\xE2\x82\xAC"}, {"\n", ""}},
      {"\\x41\\u00e9\\.", {"A\xC3\xA9."}, {"A\xC3\xA9x"}},
      {"[\xC3\xA0-\xC3\xBF]+", {"\xC3\xA9\xC3\xBF"}, {"e", "\xC4\x80"}},
      {"(?:a*)*b", {"b", "aaab"}, {"a"}},
      {"\\s\\S\\w\\W\\D", {" aa-x"}, {"aaa-x", " aa-1"}},
      {"((a|ab)(c|bcd))(d*)", {"abcd", "acd", "abcddd"}, {"abd"}},
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) decides(of_regex(c[i].pattern), c[i].pattern, c[i].yes, c[i].no);
}

static void expressions_that_cannot_be_exact_are_errors(void **state) {
  (void)state;
  static const char *const bad[] = {"(", ")", "a)", "[a", "*a", "a{3,2}", "a{99999}", "(?=a)", "(?<n>a)", "\\1", "a^b", "a$b", "^a|b$", "\\", "\\p{L}", "[z-a]",
                                    "\xFF", "\\u12"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Err err = {0};
    Matcher *m = matcher_new(grammar_of_regex(str_from(bad[i]), &err), trie, &err);
    if (m || !err.set) fail_msg("'%s' was taken", bad[i]);
  }
  char deep[300];
  Err err = {0};
  memset(deep, '(', sizeof deep);
  assert_null(grammar_of_regex((Str){deep, sizeof deep}, &err));
}

/* ---- GBNF ---- */

static void gbnf_grammars_match_whole_texts(void **state) {
  (void)state;
  static const struct {
    const char *text, *yes[4], *no[4];
  } c[] = {
      {"root ::= \"a\"{2,3}", {"aa", "aaa"}, {"a", "aaaa", ""}},
      {"root ::= x | \"c\" x\nx ::= [a-b]+ # letters\n", {"ab", "ca"}, {"c", "cc", ""}},
      {"# a list\n\nroot ::= \"[\" ws (item (\",\" ws item)*)? \"]\"\nws ::= [ \\t\\n]*\nitem ::= [0-9]+ ws\r\n", {"[]", "[1, 22 ,3]"}, {"[1,]", "[", "1"}},
      {"root ::= (\n  \"a\" |\n  \"b\" # or\n)\n", {"a", "b"}, {"", "ab"}},
      {"root ::=\n  \"a\" |\n  \"\"", {"a", ""}, {"b"}},
      {"expr ::= term (\"+\" term)*\nterm ::= \"(\" expr \")\" | [0-9]\nroot ::= expr", {"1", "1+(2+3)", "((4))"}, {"1+", "(1", ""}},
      {"root ::= list\nlist ::= \"x\" list | \"\"", {"", "xxxx"}, {"y"}},
      {"root ::= \"a\"+? .", {"a", "aab", "\xE2\x82\xAC", "\n"}, {"", "bb"}},
      {"root ::= \"\\\"\\x41\\u20ac\\U0001F600\\n\" [^\\]\\-]", {"\"A\xE2\x82\xAC\xF0\x9F\x98\x80\nq"}, {"\"A\xE2\x82\xAC\xF0\x9F\x98\x80\n]"}},
      {"root ::= a-1 a-1\na-1 ::= \"\" | \"k\"", {"", "k", "kk"}, {"kkk"}},
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    Err err = {0};
    Matcher *m = matcher_new(grammar_of_gbnf(str_from(c[i].text), &err), trie, &err);
    if (!m) fail_msg("%s: %s", c[i].text, err.text);
    decides(m, c[i].text, c[i].yes, c[i].no);
  }
}

static void gbnf_that_has_no_meaning_is_an_error(void **state) {
  (void)state;
  static const char *const bad[] = {"", "root", "root ::= this is (not valid", "x ::= \"a\"", "root ::= y", "root ::= \"a", "root ::= [a", "root ::= \"a\"\nroot ::= \"b\"",
                                    "root ::= root \"a\"", "root ::= a\na ::= \"\" b\nb ::= a \"x\" | \"y\"", "root ::= \"x\"? root", "root ::= *", "root ::= \"a\" )",
                                    "root ::= \"a\"{3,2}", "root ::= \"\\uD800\"", "root ::= \"\\d\"", "root ::= \"\\U00110000\"", "root ::= <[7]>", "root ::= \"a\" ::= b", "::= a",
                                    "root ::= \"\xFF\"", "root ::= ("};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Err err = {0};
    Matcher *m = matcher_new(grammar_of_gbnf(str_from(bad[i]), &err), trie, &err);
    if (m || !err.set) fail_msg("'%s' was taken", bad[i]);
  }
}

/* All characters of the boundaries of UTF-8's lengths, against the encoder of the text room's own rules. */
static void classes_are_exact_in_utf8(void **state) {
  (void)state;
  static const uint32_t edge[] = {0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x3FFFF, 0x40000, 0x10FFFF};
  enum { EDGES = sizeof edge / sizeof *edge };
  for (int i = 0; i < EDGES; i++)
    for (int k = i; k < EDGES; k++) {
      Err err = {0};
      CharRange r = {edge[i], edge[k]};
      Grammar *g = grammar_new(&err);
      g->start = g_set(g, &(CharSet){&r, 1, 1}, false, 0);
      Matcher *m = matcher_new(g, trie, &err);
      assert_non_null(m);
      for (int x = 0; x < EDGES; x++)
        for (int d = -1; d <= 1; d++) {
          uint32_t c = edge[x] + (uint32_t)d;
          if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) continue;
          char b[4];
          int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
          uint32_t v = c;
          for (int j = n - 1; j > 0; j--, v >>= 6) b[j] = (char)(0x80 | (v & 63));
          b[0] = (char)(n == 1 ? v : (0xF00u >> n & 0xF0) | v);
          int at = matcher_feed(m, MATCHER_START, b, (size_t)n, &err);
          assert_int_equal(matcher_may_end(m, at), c >= edge[i] && c <= edge[k]);
        }
      matcher_free(m);
    }
}

/* ---- schemas ---- */

static void schemas_take_what_satisfies_them(void **state) {
  (void)state;
  static const struct {
    const char *schema, *yes[5], *no[6];
  } c[] = {
      {"{\"type\":\"string\"}", {"\"\"", "\"a\\n\\u00e9\xC3\xA9\"", "\"\\ud83d\\ude00\""}, {"", "\"", "a", "\"\n\"", "\"\\ud83d\"", "\"\\x\""}},
      {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", {"\"ab\"", "\"\\n\xC3\xA9\\u0041\""}, {"\"a\"", "\"abcd\""}},
      {"{\"type\":\"string\",\"pattern\":\"^a+$\"}", {"\"aa\""}, {"\"\"", "\"ab\""}},
      {"{\"type\":\"string\",\"pattern\":\"b\\\"\"}", {"\"ab\\\"c\""}, {"\"ab\"", "\"ab\"c\""}},
      {"{\"type\":\"string\",\"format\":\"date\"}", {"\"2024-01-31\"", "\"2023-02-28\""}, {"\"2023-02-30\"", "\"2023-13-01\"", "\"2023-04-31\""}},
      {"{\"type\":\"string\",\"format\":\"uuid\"}", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567\""}},
      {"{\"type\":\"integer\"}", {"0", "-7", "120"}, {"01", "1.0", "-", "1e3"}},
      {"{\"type\":\"number\"}", {"0", "-7.25", "1e9", "1.5E-3"}, {"01", "1.", ".5", "+1"}},
      {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":120}", {"3", "9", "10", "99", "120"}, {"2", "121", "0", "-3", "200", "1200"}},
      {"{\"type\":\"integer\",\"minimum\":-15,\"maximum\":7}", {"-15", "-9", "-1", "0", "7"}, {"-16", "8", "-20", "-0", "10"}},
      {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", {"1", "999999"}, {"0", "-1"}},
      {"{\"type\":\"integer\",\"minimum\":0.5,\"exclusiveMaximum\":2}", {"1"}, {"0", "2"}},
      {"{\"type\":\"integer\",\"maximum\":-5}", {"-5", "-123"}, {"-4", "0", "5"}},
      {"{\"type\":\"number\",\"minimum\":0}", {"0.5"}, {"-1"}},
      {"{\"type\":[\"boolean\",\"null\"]}", {"true", "false", "null"}, {"0", "\"true\""}},
      {"{\"enum\":[\"a\",1,null,{\"x\":[1]}]}", {"\"a\"", "1", "null", "{\"x\":[1]}"}, {"\"b\"", "2"}},
      {"{\"const\":\"\xC3\xA9\"}", {"\"\xC3\xA9\""}, {"\"e\""}},
      {"{\"type\":\"string\",\"enum\":[\"a\",1]}", {"\"a\""}, {"1"}},
      {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", {"1", "\"x\""}, {"true"}},
      {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}", {"[]", "[1]", "[1, 2,3]", "[\n  1,\n  2\n]"}, {"[1,]", "[\"a\"]", "[", "[1 2]"}},
      {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":2}", {"[1]", "[1,2]"}, {"[]", "[1,2,3]"}},
      {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
      {"{\"type\":\"array\",\"minItems\":2}", {"[1,\"a\"]", "[1,{},[]]"}, {"[1]"}},
      {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"}},\"required\":[\"b\"],\"additionalProperties\":false}",
       {"{\"b\":\"x\"}", "{\"a\":1,\"b\":\"\"}", "{ \"a\": 1, \"b\": \"\" }"}, {"{}", "{\"a\":1}", "{\"b\":\"x\",\"a\":1}", "{\"b\":\"x\",}", "{\"c\":1,\"b\":\"\"}"}},
      {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"}}}",
       {"{}", "{\"a\":null}", "{\"b\":null}", "{\"a\":null,\"b\":null}"}, {"{,}", "{\"a\":null\"b\":null}"}},
      {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}", {"{}", "{\"x\":1,\"y\":2}"}, {"{\"x\":\"a\"}"}},
      {"{}", {"{\"a\":[1,{\"b\":null}]}", "[]", "\"x\"", "-1.5e3"}, {"{\"a\":}", "{a:1}", "nul"}},
      {"{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"n\":{\"anyOf\":[{\"$ref\":\"#/$defs/t\"},"
       "{\"type\":\"null\"}]}},\"required\":[\"v\",\"n\"]}}}",
       {"{\"v\":1,\"n\":null}", "{\"v\":1,\"n\":{\"v\":2,\"n\":{\"v\":3,\"n\":null}}}"}, {"{\"v\":1}", "{\"v\":1,\"n\":{}}"}},
      {"{\"allOf\":[{\"type\":\"boolean\"}],\"description\":\"x\"}", {"true"}, {"1"}},
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
    Matcher *m = of_schema(c[i].schema);
    for (int k = 0; k < 5 && c[i].yes[k]; k++)
      if (!accepts(m, c[i].yes[k])) fail_msg("%s: expected to accept %s", c[i].schema, c[i].yes[k]);
    for (int k = 0; k < 6 && c[i].no[k]; k++)
      if (accepts(m, c[i].no[k])) fail_msg("%s: expected to refuse %s", c[i].schema, c[i].no[k]);
    matcher_free(m);
  }
}

static void bounds_of_integers_are_exact(void **state) {
  (void)state;
  Pcg p = pcg_seed(3, 0);
  for (int n = 0; n < 60; n++) {
    int low = random_in(&p, -1200, 1200), high = low + random_in(&p, 0, 1500);
    char text[100];
    snprintf(text, sizeof text, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", low, high);
    Matcher *m = of_schema(text);
    for (int v = -3000; v <= 3000; v += 1) {
      snprintf(text, sizeof text, "%d", v);
      if (accepts(m, text) != (v >= low && v <= high)) fail_msg("%d within %d .. %d", v, low, high);
    }
    matcher_free(m);
  }
}

static void schemas_that_cannot_be_exact_are_errors(void **state) {
  (void)state;
  static const char *const bad[] = {
      "{\"not\":{}}", "{\"oneOf\":[{\"type\":\"string\"}]}", "{\"type\":\"string\",\"format\":\"color\"}", "{\"type\":\"thing\"}", "{\"type\":\"number\",\"minimum\":1.5}",
      "{\"type\":\"integer\",\"multipleOf\":3}", "{\"$ref\":\"#/$defs/none\"}", "{\"$ref\":\"http://x/y\"}", "{\"enum\":[]}", "{\"allOf\":[{},{}]}",
      "{\"type\":\"object\",\"patternProperties\":{}}", "{\"type\":\"object\",\"properties\":{\"a\":{}},\"required\":[\"b\"]}",
      "{\"type\":\"string\",\"pattern\":\"(?=a)\"}", "{\"type\":\"array\",\"uniqueItems\":true}", "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}",
      "{\"type\":\"string\",\"minLength\":-1}", "{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "[]", "3", "{\"type\":\"string\",\"pattern\":\"a\",\"minLength\":1}",
      "{\"type\":[]}", "{\"minimum\":3}", "{\"anyOf\":[{\"type\":\"string\"}],\"properties\":{}}", "{\"$ref\":\"#\"}", "{\"type\":\"string\",\"maxLength\":99999}",
      "{\"enum\":[1],\"type\":\"string\"}", "false"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    Err err = {0};
    json_t *s = json_loads(bad[i], JSON_DECODE_ANY, NULL);
    Matcher *m = matcher_new(grammar_of_schema(s, &err), trie, &err);
    if (m || !err.set) fail_msg("%s was taken", bad[i]);
    json_decref(s);
  }
}

/* ---- masks ---- */

/* At every state along a text, the mask holds exactly the tokens whose bytes lead on. */
static void masks_equal_brute_force(void **state) {
  (void)state;
  const char *text = "{\"name\": \"a\\\"\xC3\xA9\", \"on\": true, \"n\": 120}";
  Matcher *m = of_schema("{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"on\":{\"type\":\"boolean\"},\"n\":{\"type\":\"integer\"}},"
                         "\"required\":[\"name\",\"on\",\"n\"]}");
  Err err = {0};
  int at = MATCHER_START;
  for (size_t i = 0;; i++) {
    int fit, seen = 0;
    const uint8_t *banned = matcher_banned(m, at, &fit, &err);
    assert_non_null(banned);
    for (int id = 0; id < PIECES; id++) {
      Buf b = {0};
      assert_true(tokenizer_bytes(tokenizer, id, false, &b, &err));
      bool may = tokenizer_stops(tokenizer, id) ? matcher_may_end(m, at) : b.n > 0 && matcher_feed(m, at, b.s, b.n, &err) >= 0;
      if (may == (banned[id] != 0)) fail_msg("token %d at byte %zu", id, i);
      seen += may;
      buf_free(&b);
    }
    assert_int_equal(seen, fit);
    if (i == strlen(text)) break;
    at = matcher_feed(m, at, text + i, 1, &err);
    assert_true(at >= 0);
  }
  assert_true(matcher_complete(m, at));
  matcher_free(m);
}

/* ---- calls of functions ---- */

typedef struct {
  char out[600];
} Heard;

static bool hear(void *arg, ToolPiece what, int call, const char *s, size_t n) {
  static const char mark[] = "tna";
  static ToolPiece last;
  Heard *h = arg;
  size_t at = strlen(h->out);
  if (at == 0 || last != what) at += (size_t)snprintf(h->out + at, sizeof h->out - at, "[%c%d]", mark[what], call);
  snprintf(h->out + at, sizeof h->out - at, "%.*s", (int)n, s);
  last = what;
  return true;
}

static void calls_are_found_however_text_is_cut(void **state) {
  (void)state;
  static const struct {
    ToolFormat format;
    bool anywhere;
    const char *text, *heard;
  } c[] = {
      {TOOLS_HERMES, true, "hello", "[t0]hello"},
      {TOOLS_HERMES, true, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}\\\"\"}}\n</tool_call>", "[n0]f[a0]{\"a\": \"}\\\"\"}"},
      {TOOLS_HERMES, true,
       "Well:\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"x\": [1, {}]}}\n</tool_call>",
       "[t0]Well:\n[n0]f[a0]{}[n1]g[a1]{\"x\": [1, {}]}"},
      {TOOLS_HERMES, true, "a <tool_ b <tool_call> c", "[t0]a <tool_ b <tool_call> c"},
      {TOOLS_LLAMA3, false, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}; {\"name\": \"g\", \"parameters\": {}}", "[n0]f[a0]{\"a\": 1}[n1]g[a1]{}"},
      {TOOLS_LLAMA3, false, "text {\"name\": \"f\", \"parameters\": {}}", "[t0]text {\"name\": \"f\", \"parameters\": {}}"},
      {TOOLS_LLAMA3, false, "{\"name\": \"f\", \"parameters\": {\"a\": ", "[n0]f[a0]{\"a\": "},
      {TOOLS_LLAMA3, false, "{\"name\": \"nothing more", "[t0]{\"name\": \"nothing more"},
  };
  for (size_t i = 0; i < sizeof c / sizeof *c; i++)
    for (size_t step = 1; step < 40; step++) {
      ToolParser p = {.on = true, .anywhere = c[i].anywhere, .format = c[i].format};
      Heard h = {{0}};
      Err err = {0};
      size_t n = strlen(c[i].text);
      for (size_t at = 0; at < n; at += step)
        assert_true(tool_parse(&p, c[i].text + at, n - at < step ? n - at : step, false, hear, &h, &err));
      assert_true(tool_parse(&p, NULL, 0, true, hear, &h, &err));
      assert_string_equal(h.out, c[i].heard);
      tool_parser_free(&p);
    }
}

static void calls_satisfy_their_schemas(void **state) {
  (void)state;
  Err err = {0};
  json_t *f = json_loads("[{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]}},"
                         "{\"name\":\"g\"}, {\"name\":\"h\",\"parameters\":{\"not\":{}}}]", 0, NULL);
  Matcher *one = matcher_new(grammar_of_tools(f, TOOLS_LLAMA3, false, &err), trie, &err), *many = matcher_new(grammar_of_tools(f, TOOLS_HERMES, true, &err), trie, &err);
  assert_true(one && many);
  assert_true(accepts(one, "{\"name\": \"f\", \"parameters\": {\"a\":1}}"));
  assert_true(accepts(one, "{\"name\": \"g\", \"parameters\": {\"anything\":[]}}"));
  assert_true(accepts(one, "{\"name\": \"h\", \"parameters\": {}}"));
  assert_false(accepts(one, "{\"name\": \"f\", \"parameters\": {}}"));
  assert_false(accepts(one, "{\"name\": \"x\", \"parameters\": {}}"));
  const char *call = "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  char two[200];
  snprintf(two, sizeof two, "%s\n%s", call, call);
  assert_true(accepts(many, call) && accepts(many, two));
  json_object_set_new(json_array_get(f, 2), "strict", json_true());
  assert_null(grammar_of_tools(f, TOOLS_LLAMA3, false, &err));
  assert_true(err.set);
  matcher_free(one);
  matcher_free(many);
  json_decref(f);
}

/* ---- failing allocations ---- */

static void allocations_may_fail(void **state) {
  (void)state;
  json_t *s = json_loads("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(x|y)+\"},\"b\":{}},\"required\":[\"a\"]}", 0, NULL);
  long k = 1;
  for (;; k++) {
    Err err = {0};
    int fit;
    fault_arm(k);
    TokenTrie *t = token_trie_new(tokenizer, PIECES, &err);
    Matcher *m = t ? matcher_new(grammar_of_schema(s, &err), t, &err) : NULL;
    int at = m ? matcher_feed(m, MATCHER_START, "{\"a\":\"x", 7, &err) : -2;
    const uint8_t *banned = at >= 0 ? matcher_banned(m, at, &fit, &err) : NULL;
    fault_arm(0);
    assert_true(banned || err.set);
    matcher_free(m);
    token_trie_free(t);
    if (banned) break;
  }
  assert_true(k > 20);
  json_decref(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(expressions_match_whole_texts), cmocka_unit_test(expressions_that_cannot_be_exact_are_errors),
      cmocka_unit_test(gbnf_grammars_match_whole_texts), cmocka_unit_test(gbnf_that_has_no_meaning_is_an_error), cmocka_unit_test(classes_are_exact_in_utf8),
      cmocka_unit_test(schemas_take_what_satisfies_them), cmocka_unit_test(bounds_of_integers_are_exact),
      cmocka_unit_test(schemas_that_cannot_be_exact_are_errors), cmocka_unit_test(masks_equal_brute_force),
      cmocka_unit_test(calls_are_found_however_text_is_cut), cmocka_unit_test(calls_satisfy_their_schemas), cmocka_unit_test(allocations_may_fail),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
