/* cmd/runner: what the commands that run a chip share: opening, prompts, the generation loop. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool machine_options(const MachineOptions *m, EngineOptions *out, Err *err) {
  *out = (EngineOptions){isa_best(), m->threads};
  if (m->threads < 0) return err_set(err, "threads: expected 1 or more, found %d", m->threads);
  return !m->isa || isa_parse(m->isa, &out->isa, err);
}

bool sampling_settings(const SamplingOptions *s, SamplerSettings *out, Err *err) {
  return sampler_settings(out, s->temperature, s->top_k, s->top_p, s->min_p, s->repeat, s->frequency, s->presence, err);
}

/* ---- a model file where a chip is expected: cast once, then found in the cache by its hash ---- */

static bool cast_into_cache(const char *path, char *cached, size_t n, Err *err) {
  Model m;
  char dir[3000], hash[65];
  CastOptions o = {.isa = isa_best(), .seed = 1};
  CastReport report;
  if (!cast_parse_bits(&o, CAST_DEFAULT_BITS, err) || !model_open(&m, path, err)) return false;
  bool ok = cache_dir(dir, sizeof dir, err) && model_hash(&m, err);
  if (ok) {
    hex_of(m.hash, 32, hash);
    snprintf(cached, n, "%s/%.16s-" CAST_DEFAULT_BITS "bit-burin-%s-a%d-f%d.chip", dir, hash, BURIN_VERSION, CHIP_ARITHMETIC, CHIP_FORMAT);
    if (access(cached, R_OK) != 0) {
      fprintf(stderr, "casting %s at " CAST_DEFAULT_BITS " bits into %s\n", path, cached);
      ok = cast_model(&m, cached, &o, &report, err);
    }
  }
  model_close(&m);
  return ok;
}

bool chip_open_any(Chip *chip, const char *path, Err *err) {
  FileMap f;
  char cached[4096];
  if (!map_open(&f, path, err)) return false;
  bool is_model = model_is(&f), is_chip = chip_is(&f);
  map_close(&f);
  if (is_model) return cast_into_cache(path, cached, sizeof cached, err) && chip_open(chip, cached, err);
  if (!is_chip) return err_set(err, "%s:0: neither a chip (magic 'BURINCHP') nor a model (magic 'GGUF')", path);
  return chip_open(chip, path, err);
}

bool runner_open(Runner *r, const char *path, const MachineOptions *m, Err *err) {
  EngineOptions o;
  *r = (Runner){0};
  if (!machine_options(m, &o, err) || !chip_open_any(&r->chip, path, err)) return false;
  r->engine = engine_new(&r->chip, &o, err);
  if (r->engine && r->chip.vocab.kind != VOCAB_NONE) r->tokenizer = tokenizer_new(&r->chip.vocab, err);
  if (r->engine && (r->tokenizer || r->chip.vocab.kind == VOCAB_NONE)) return true;
  runner_close(r);
  return false;
}

bool runner_open_synthetic(Runner *r, const char *name, double bits, const MachineOptions *m, Err *err) {
  EngineOptions o;
  ChipShape shape;
  *r = (Runner){0};
  if (!machine_options(m, &o, err) || !chip_shape_of(name, &shape, err) || !chip_synthetic(&r->chip, &shape, bits, 1, err)) return false;
  r->engine = engine_new(&r->chip, &o, err);
  if (r->engine) return true;
  runner_close(r);
  return false;
}

void runner_close(Runner *r) {
  tokenizer_free(r->tokenizer);
  engine_free(r->engine);
  chip_close(&r->chip);
}

static Str piece_text(const Vocab *v, int id) { return id >= 0 ? v->piece[id] : STR(""); }

bool chat_tokens(const Runner *r, const ChatTemplate *t, const ChatMessage *m, int n, Tokens *out, Err *err) {
  const Vocab *v = &r->chip.vocab;
  Buf b = {0};
  bool ok = true;
  if (t) ok = template_render(t, m, n, true, piece_text(v, v->bos), piece_text(v, v->eos), &b, err);
  for (int i = 0; ok && !t && i < n; i++) ok = buf_put(&b, m[i].content.s, m[i].content.n, err) && buf_put(&b, "\n", 1, err);
  Str text = {b.s, b.n};
  ok = ok && (t ? tokenizer_encode_chat(r->tokenizer, text, out, err) : tokenizer_encode(r->tokenizer, text, false, true, out, err));
  buf_free(&b);
  return ok;
}

/* ---- generation ---- */

bool generate(const Runner *r, Session *s, const int *prompt, size_t n, int most, int chunk, const volatile int *cancel,
              WriteFn *write, void *arg, Generation *g, Err *err) {
  *g = (Generation){.prefill_tokens = (int)n};
  int room = session_context(s) - session_position(s);
  if (n > (size_t)room || (most >= 0 && n + (size_t)most > (size_t)room))
    return err_set(err, "context exceeded: the prompt has %zu tokens and %d may follow, but %d of %d are free", n, most < 0 ? 0 : most,
                   room, session_context(s));
  Buf text = {0};
  Detok d = {0};
  double start = now_seconds();
  bool ok = n == 0 || session_extend(s, prompt, (int)n, chunk, NULL, err);
  g->prefill_seconds = now_seconds() - start;
  start = now_seconds();
  while (ok && (most < 0 || g->decode_tokens < most) && !(cancel && *cancel)) {
    int id = session_sample(s, NULL);
    if (r->tokenizer && tokenizer_stops(r->tokenizer, id)) {
      g->stopped = true;
      break;
    }
    g->decode_tokens++;
    text.n = 0;
    ok = r->tokenizer ? detok_put(r->tokenizer, &d, id, &text, err) : buf_printf(&text, err, "%d\n", id);
    if (ok && text.n) write(arg, text.s, text.n);
    if (session_position(s) == session_context(s)) break;
    ok = ok && session_append(s, id, err);
  }
  g->decode_seconds = now_seconds() - start;
  text.n = 0;
  ok = ok && detok_end(&d, &text, err);
  if (ok && text.n) write(arg, text.s, text.n);
  buf_free(&text);
  return ok;
}

void write_stdout(void *arg, const char *s, size_t n) {
  (void)arg;
  fwrite(s, 1, n, stdout);
  fflush(stdout);
}

static double rate(int tokens, double seconds) { return seconds > 0 ? tokens / seconds : 0; }

void print_speed(const Generation *g) {
  fprintf(stderr, "prefill %d tokens, %.0f tokens/s; decode %d tokens, %.0f tokens/s\n", g->prefill_tokens,
          rate(g->prefill_tokens, g->prefill_seconds), g->decode_tokens, rate(g->decode_tokens, g->decode_seconds));
}
