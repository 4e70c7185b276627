/* test/tokens: the tokenizer as a filter, for comparison with other implementations.
 *
 *     tokens MODEL [--specials]    lines of hexadecimal bytes -> lines of token ids
 *     tokens MODEL --decode        lines of token ids -> lines of hexadecimal bytes, written token by token
 */

#include "model/model.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

static bool encode_line(const Tokenizer *t, const char *line, bool specials, Err *err) {
  size_t n = strspn(line, "0123456789abcdef") / 2;
  char *bytes = mem_alloc(n + 1, 1, err);
  Tokens ids = {0};
  for (size_t i = 0; bytes && i < n; i++) bytes[i] = (char)(digit(line[2 * i]) * 16 + digit(line[2 * i + 1]));
  bool ok = bytes && tokenizer_encode(t, (Str){bytes, n}, specials, false, &ids, err);
  for (size_t i = 0; ok && i < ids.n; i++) printf("%s%d", i ? " " : "", ids.id[i]);
  printf("\n");
  tokens_free(&ids);
  mem_free(bytes);
  return ok;
}

static bool decode_line(const Tokenizer *t, char *line, Err *err) {
  Detok d = {.specials = true, .strip_space = true};
  Buf out = {0};
  bool ok = true;
  for (char *p = strtok(line, " \n"); ok && p; p = strtok(NULL, " \n")) ok = detok_put(t, &d, atoi(p), &out, err);
  ok = ok && detok_end(&d, &out, err);
  for (size_t i = 0; i < out.n; i++) printf("%02x", (unsigned char)out.s[i]);
  printf("\n");
  buf_free(&out);
  return ok;
}

int main(int argc, char **argv) {
  Err err = {0};
  Model m;
  if (argc < 2) return 2;
  bool specials = argc > 2 && strcmp(argv[2], "--specials") == 0, decode = argc > 2 && strcmp(argv[2], "--decode") == 0;
  if (!model_open(&m, argv[1], &err)) return fprintf(stderr, "%s\n", err.text), 1;
  Tokenizer *t = tokenizer_new(&m.vocab, &err);
  char *line = NULL;
  size_t cap = 0;
  bool ok = t != NULL;
  while (ok && getline(&line, &cap, stdin) > 0) ok = decode ? decode_line(t, line, &err) : encode_line(t, line, specials, &err);
  if (!ok) fprintf(stderr, "%s\n", err.text);
  free(line);
  tokenizer_free(t);
  model_close(&m);
  return ok ? 0 : 1;
}
