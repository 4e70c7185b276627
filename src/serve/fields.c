/* serve/fields: what a request's body says, checked. */
#include "serve/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const json_t *field(const Call *c, const char *key) {
  const json_t *v = json_object_get(c->body, key);
  return json_is_null(v) ? NULL : v;
}

json_t *body_without(Call *c, const char *const *key, size_t n) {
  json_t *body = json_copy(c->body);
  if (!body) call_problem(c, 503, "server_error", NULL, "out of memory");
  for (size_t i = 0; body && i < n; i++) json_object_del(body, key[i]);
  return body;
}

bool field_int(Call *c, const char *key, json_int_t low, json_int_t high, int *out) {
  const json_t *v = field(c, key);
  if (!v) return true;
  double x = json_number_value(v);
  if (!json_is_number(v) || floor(x) != x || x < (double)low || x > (double)high)
    return call_bad(c, key, "%s: expected a whole number of %lld to %lld", key, (long long)low, (long long)high);
  *out = (int)x;
  return true;
}

bool field_number(Call *c, const char *key, double low, double high, double *out) {
  const json_t *v = field(c, key);
  if (!v) return true;
  double x = json_number_value(v);
  if (!json_is_number(v) || x < low || x > high) return call_bad(c, key, "%s: expected a number of %g to %g", key, low, high);
  *out = x;
  return true;
}

bool field_bool(Call *c, const char *key, bool *out) {
  const json_t *v = field(c, key);
  if (!v) return true;
  if (!json_is_boolean(v)) return call_bad(c, key, "%s: expected true or false", key);
  *out = json_is_true(v);
  return true;
}

bool field_text(Call *c, const char *key, const char **out) {
  const json_t *v = field(c, key);
  if (!v) return true;
  if (!json_is_string(v)) return call_bad(c, key, "%s: expected a string", key);
  *out = json_string_value(v);
  return true;
}

/* One chip answers to any name, as llama-server does; of several, the name decides. */
bool call_model(Call *c, const char *key) {
  int n;
  const ServeChip *chip = server_chips(c->server, &n);
  const char *name = NULL;
  c->chip = 0;
  if (!field_text(c, key, &name)) return false;
  if (!name || n == 1) return true;
  for (c->chip = 0; c->chip < n; c->chip++)
    if (strcmp(chip[c->chip].name, name) == 0) return true;
  c->chip = 0;
  return call_problem(c, 404, "invalid_request_error", key, "the model '%.100s' does not exist: /v1/models lists those that do", name);
}

/* ---- sampling ---- */

static bool read_seed(Call *c, Wishes *w) {
  const json_t *v = field(c, "seed");
  if (!v) return true;
  if (!json_is_integer(v)) return call_bad(c, "seed", "seed: expected a whole number");
  w->seeded = json_integer_value(v) != -1; /* -1 is llama.cpp's "any" */
  w->seed = (uint64_t)json_integer_value(v);
  return true;
}

static bool read_stops(Call *c, Wishes *w) {
  const json_t *v = field(c, "stop"), *one;
  size_t i, n = json_is_array(v) ? json_array_size(v) : v != NULL;
  if (n > MOST_STOPS) return call_bad(c, "stop", "stop: expected at most %d strings, found %zu", MOST_STOPS, n);
  for (i = 0; i < n; i++) {
    one = json_is_array(v) ? json_array_get(v, i) : v;
    if (!json_is_string(one) || json_string_length(one) > 1024) return call_bad(c, "stop", "stop: expected strings of at most 1024 bytes");
    if (json_string_length(one)) w->stop[w->stops++] = json_string_value(one);
  }
  return true;
}

static bool put_bias(Call *c, Wishes *w, json_int_t token, const json_t *value) {
  double x = json_number_value(value);
  if (json_is_false(value)) x = -100; /* llama.cpp: never */
  else if (!json_is_number(value) || x < -100 || x > 100) return call_bad(c, "logit_bias", "logit_bias: expected numbers of -100 to 100");
  if (token < 0 || token >= call_chip(c)->chip->shape.vocab)
    return call_bad(c, "logit_bias", "logit_bias: expected tokens of 0 to %d, found %lld", call_chip(c)->chip->shape.vocab - 1, (long long)token);
  if (w->biases == sizeof w->bias / sizeof *w->bias) return call_bad(c, "logit_bias", "logit_bias: at most 300 tokens");
  w->bias[w->biases++] = (LogitBias){(int)token, (int32_t)floor(x * (1 << FRAC_LOGIT) + 0.5)};
  return true;
}

/* As llama-server reads it: every token of a text. */
static bool put_text_bias(Call *c, Wishes *w, Str text, const json_t *value) {
  Tokens t = {0};
  Err err = {0};
  bool ok = tokenizer_encode(call_chip(c)->tokenizer, text, true, false, &t, &err) || call_err(c, "logit_bias", &err);
  for (size_t i = 0; ok && i < t.n; i++) ok = put_bias(c, w, t.id[i], value);
  tokens_free(&t);
  return ok;
}

static bool read_bias(Call *c, Wishes *w) {
  json_t *v = json_object_get(c->body, "logit_bias"), *x;
  const char *key;
  size_t i;
  if (!v || json_is_null(v)) return true;
  if (!json_is_object(v) && !json_is_array(v)) return call_bad(c, "logit_bias", "logit_bias: expected an object of tokens");
  json_object_foreach(v, key, x) {
    char *end;
    long long token = strtoll(key, &end, 10);
    if (*end || end == key ? !put_text_bias(c, w, str_from(key), x) : !put_bias(c, w, token, x)) return false;
  }
  json_array_foreach(v, i, x) {
    const json_t *id = json_array_get(x, 0), *value = json_array_get(x, 1);
    if (!json_is_array(x) || json_array_size(x) != 2 || !(json_is_integer(id) || json_is_string(id)))
      return call_bad(c, "logit_bias", "logit_bias: expected pairs of token and number");
    if (json_is_string(id) ? !put_text_bias(c, w, (Str){json_string_value(id), json_string_length(id)}, value) : !put_bias(c, w, json_integer_value(id), value))
      return false;
  }
  return true;
}

/* llama-server's: which slot; -1: any. */
static bool read_slot(Call *c, Wishes *w) {
  int slots = server_options(c->server)->slots, first = c->chip * slots, slot = -1;
  if (!field_int(c, "id_slot", -1, INT32_MAX, &slot)) return false;
  if (slot >= 0 && (slot < first || slot >= first + slots)) return call_bad(c, "id_slot", "id_slot: expected a slot of the model, %d to %d, or -1", first, first + slots - 1);
  w->slot = slot < 0 ? -1 : slot - first;
  return true;
}

bool wishes_sampling(Call *c, Wishes *w) {
  *w = (Wishes){.temperature = 0.8, .top_p = 0.95, .top_k = 40, .repeat = 1, .n = 1, .most = -1, .slot = -1};
  return field_number(c, "temperature", 0, 100, &w->temperature) && field_number(c, "top_p", 0, 1, &w->top_p) &&
         field_number(c, "min_p", 0, 1, &w->min_p) && field_int(c, "top_k", -1, INT32_MAX, &w->top_k) &&
         field_number(c, "repeat_penalty", 0.1, 10, &w->repeat) && field_number(c, "repetition_penalty", 0.1, 10, &w->repeat) &&
         field_number(c, "frequency_penalty", -100, 100, &w->frequency) && field_number(c, "presence_penalty", -100, 100, &w->presence) &&
         field_bool(c, "ignore_eos", &w->ignore_end) && read_seed(c, w) && read_stops(c, w) && read_bias(c, w) && read_slot(c, w);
}

/* ---- what the text must be ---- */

static Grammar *make_schema(const json_t *of, Err *err) { return grammar_of_schema(of, err); }
static Grammar *make_regex(const json_t *of, Err *err) { return grammar_of_regex((Str){json_string_value(of), json_string_length(of)}, err); }
static Grammar *make_gbnf(const json_t *of, Err *err) { return grammar_of_gbnf((Str){json_string_value(of), json_string_length(of)}, err); }
static Grammar *make_object(const json_t *of, Err *err) { return (void)of, grammar_of_json(err); }

static Grammar *make_choice(const json_t *of, Err *err) {
  Grammar *g = grammar_new(err);
  int node = -1;
  for (size_t i = json_array_size(of); g && i-- > 0;) {
    const json_t *v = json_array_get(of, i);
    if (!json_is_string(v)) {
      err_set(err, "guided_choice: expected strings");
      break;
    }
    int one = g_text(g, (Str){json_string_value(v), json_string_length(v)}, 0);
    node = node < 0 ? one : g_split(g, one, node);
  }
  if (g && node < 0) err_set(err, "guided_choice: expected a list that is not empty");
  if (g) g->start = node;
  if (!err->set) return g;
  grammar_free(g);
  return NULL;
}

/* A schema as an object or as the text of one. */
static bool use_schema(Call *c, const char *key, const json_t *v, Wishes *w) {
  json_t *parsed = json_is_string(v) ? json_loads(json_string_value(v), JSON_REJECT_DUPLICATES, NULL) : NULL;
  const json_t *schema = parsed ? parsed : v;
  bool ok = json_is_object(schema) || json_is_boolean(schema) || call_bad(c, key, "%s: expected a JSON schema", key);
  ok = ok && (w->matcher = call_matcher(c, key, schema, make_schema)) != NULL;
  json_decref(parsed);
  return ok;
}

static bool use_format(Call *c, const json_t *v, Wishes *w) {
  const char *type = json_string_value(json_object_get(v, "type"));
  if (!type) return call_bad(c, "response_format", "response_format: expected an object with a type");
  if (strcmp(type, "text") == 0) return true;
  const json_t *inner = json_object_get(v, "json_schema"), *schema = json_object_get(inner ? inner : v, "schema");
  if (strcmp(type, "json_object") == 0 && !schema) return (w->matcher = call_matcher(c, "response_format", v, make_object)) != NULL;
  if (strcmp(type, "json_object") != 0 && strcmp(type, "json_schema") != 0)
    return call_bad(c, "response_format", "response_format: expected text, json_object or json_schema, found '%.40s'", type);
  if (!schema) return call_bad(c, "response_format", "response_format: json_schema.schema is missing");
  return use_schema(c, "response_format", schema, w);
}

bool wishes_format(Call *c, Wishes *w) {
  static const char *const key[] = {"response_format", "guided_json", "json_schema", "guided_regex", "grammar", "guided_choice"};
  const json_t *found = NULL, *v;
  size_t which = 0;
  for (size_t i = 0; i < sizeof key / sizeof *key; i++) {
    if (!(v = field(c, key[i]))) continue;
    if (i == 0 && strcmp(json_is_string(json_object_get(v, "type")) ? json_string_value(json_object_get(v, "type")) : "", "text") == 0) continue;
    if (i == 4 && json_is_string(v) && !json_string_length(v)) continue; /* clients of llama-server say so that there is none */
    if (found) return call_bad(c, key[i], "%s and %s exclude each other", key[which], key[i]);
    found = v;
    which = i;
  }
  if (!found) return true;
  if (which == 0) return use_format(c, found, w);
  if (which < 3) return use_schema(c, key[which], found, w);
  if (which < 5 && !json_is_string(found)) return call_bad(c, key[which], "%s: expected a string", key[which]);
  return (w->matcher = call_matcher(c, key[which], found, which == 3 ? make_regex : which == 4 ? make_gbnf : make_choice)) != NULL;
}

bool call_wishes(Call *c, Wishes *w) {
  if (!wishes_sampling(c, w) || !field_int(c, "n", 1, 64, &w->n) || !field_int(c, "max_tokens", -1, INT32_MAX, &w->most) ||
      !field_int(c, "max_completion_tokens", -1, INT32_MAX, &w->most) || !field_int(c, "min_tokens", 0, INT32_MAX, &w->least))
    return false;
  if (w->most == 0) w->most = -1; /* clients of the original API say "no limit" so */
  return wishes_format(c, w);
}

/* ---- jobs ---- */

uint64_t wishes_seed(const Wishes *w) { return w->seeded ? w->seed : random_seed() >> 11; /* 53 bits: every JSON reader keeps them */ }

bool job_of_prompt(Call *c, Choice *x, Tokens *prompt) {
  Err err = {0};
  const ServeOptions *o = server_options(c->server);
  int context = call_chip(c)->chip->shape.context;
  if (o->context && o->context < context) context = o->context;
  if (prompt->n == 0) return call_bad(c, NULL, "the prompt is empty");
  if (prompt->n + 1 > (size_t)context) {
    c->problem.more = json_pack("{s:i,s:i}", "n_prompt_tokens", (int)prompt->n, "n_ctx", context);
    return call_problem(c, 400, "exceed_context_size_error", NULL, "the prompt has %zu tokens, but the context holds %d and one at least must follow",
                        prompt->n, context);
  }
  x->job = job_new(&err);
  if (!x->job) return call_err(c, NULL, &err);
  x->job->prompt = *prompt;
  *prompt = (Tokens){0};
  x->job->most = context - (int)x->job->prompt.n;
  x->job->chip = c->chip;
  x->job->client = c->client;
  x->job->owner = c;
  x->job->index = (int)(x - c->choice);
  return true;
}

bool call_job(Call *c, int index, const Wishes *w, uint64_t seed, Tokens *prompt) {
  Err err = {0};
  Choice *x = &c->choice[index];
  if (!job_of_prompt(c, x, prompt)) return false;
  Job *j = x->job;
  if (w->most >= 0 && w->most < j->most) j->most = w->most;
  j->least = w->least;
  j->ignore_end = w->ignore_end;
  j->seed = seed;
  j->slot = w->slot;
  j->matcher = w->matcher;
  j->logprobs = c->logprobs;
  j->chances = c->chances;
  j->ids = c->ids;
  if (!sampler_settings(&j->settings, w->temperature, w->top_k < 0 ? 0 : w->top_k, w->top_p, w->min_p, w->repeat, w->frequency, w->presence, &err))
    return call_err(c, NULL, &err);
  if (w->biases) {
    j->bias = mem_alloc((size_t)w->biases, sizeof *j->bias, &err);
    if (!j->bias) return call_err(c, NULL, &err);
    memcpy(j->bias, w->bias, (size_t)w->biases * sizeof *j->bias);
    j->biases = w->biases;
  }
  for (int i = 0; i < w->stops; i++) {
    size_t n = strlen(w->stop[i]) + 1;
    if (!(j->stop[i] = mem_alloc(n, 1, &err))) return call_err(c, NULL, &err);
    memcpy(j->stop[i], w->stop[i], n);
    j->stops++;
  }
  return true;
}
