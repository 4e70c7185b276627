/* serve/info: models, tokens, health, figures. */
#include "serve/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* With the members of OpenAI's, of llama-server's and of Anthropic's. */
static json_t *model_json(Call *c, int i) {
  int n;
  const ServeChip *chip = &server_chips(c->server, &n)[i];
  const ChipShape *s = &chip->chip->shape;
  char when[UTC_TEXT];
  utc_text(c->created, when);
  return json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:s,s:{s:i,s:i,s:s}}", "id", chip->name, "object", "model", "created", (json_int_t)c->created, "owned_by", "burin", "type",
                   "model", "display_name", chip->name, "created_at", when, "meta", "n_vocab", s->vocab, "n_ctx_train", s->context, "chip", server_hash(c->server, i));
}

void run_models(Call *c) {
  int n;
  const ServeChip *chip = server_chips(c->server, &n);
  json_t *list = json_array();
  for (int i = 0; i < n; i++) json_array_append_new(list, model_json(c, i));
  call_send_json(c, 200, json_pack("{s:s,s:o,s:b,s:s,s:s}", "object", "list", "data", list, "has_more", 0, "first_id", chip[0].name, "last_id", chip[n - 1].name));
}

void run_model(Call *c) {
  int n;
  const ServeChip *chip = server_chips(c->server, &n);
  char *name = evhttp_uridecode(evhttp_uri_get_path(evhttp_request_get_evhttp_uri(c->http)) + strlen("/v1/models/"), 0, NULL);
  int i = 0;
  while (name && i < n && strcmp(chip[i].name, name) != 0) i++;
  if (i == n) call_problem(c, 404, "invalid_request_error", "model", "the model '%.100s' does not exist", name ? name : "");
  free(name);
  if (c->problem.status) call_send_problem(c);
  else call_send_json(c, 200, model_json(c, i));
}

/* ---- tokens ---- */

void run_tokenize(Call *c) {
  const json_t *content = field(c, "content") ? field(c, "content") : field(c, "prompt");
  bool special = false, pieces = false, parse = true;
  Tokens t = {0};
  Err err = {0};
  if (call_model(c, "model") && field_bool(c, "add_special", &special) && field_bool(c, "with_pieces", &pieces) && field_bool(c, "parse_special", &parse)) {
    if (!json_is_string(content)) call_bad(c, "content", "content: expected a string");
    else if (!tokenizer_encode(call_chip(c)->tokenizer, (Str){json_string_value(content), json_string_length(content)}, parse, special, &t, &err))
      call_err(c, "content", &err);
  }
  if (c->problem.status) {
    tokens_free(&t);
    call_send_problem(c);
    return;
  }
  json_t *list = json_array();
  for (size_t i = 0; i < t.n; i++) {
    if (!pieces) {
      json_array_append_new(list, json_integer(t.id[i]));
      continue;
    }
    json_t *o = token_json(c, t.id[i], 0, false);
    json_array_append_new(list, json_pack("{s:i,s:O}", "id", t.id[i], "piece", json_object_get(o, "token")));
    json_decref(o);
  }
  json_t *o = json_pack("{s:o,s:i}", "tokens", list, "count", (int)t.n);
  tokens_free(&t);
  call_send_json(c, 200, o);
}

void run_detokenize(Call *c) {
  const json_t *tokens = field(c, "tokens"), *id;
  Buf text = {0};
  Err err = {0};
  Detok d = {.specials = true};
  size_t i;
  bool ok = call_model(c, "model") && (json_is_array(tokens) || call_bad(c, "tokens", "tokens: expected a list of token ids"));
  json_array_foreach(tokens, i, id) {
    if (!ok) break;
    json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
    if (v < 0 || v >= call_chip(c)->chip->shape.vocab) ok = call_bad(c, "tokens", "tokens: expected ids of 0 to %d", call_chip(c)->chip->shape.vocab - 1);
    else ok = detok_put(call_chip(c)->tokenizer, &d, (int)v, &text, &err) || call_err(c, "tokens", &err);
  }
  ok = ok && (detok_end(&d, &text, &err) || call_err(c, "tokens", &err));
  json_t *o = ok ? json_pack("{s:o}", "content", json_stringn(text.s ? text.s : "", text.n)) : NULL;
  buf_free(&text);
  if (ok) call_send_json(c, 200, o);
  else call_send_problem(c);
}

/* ---- health and figures ---- */

void run_health(Call *c) {
  SchedulerCounts k = scheduler_counts(server_scheduler(c->server));
  call_send_json(c, 200, json_pack("{s:s,s:i,s:i}", "status", "ok", "queue_size", k.queued, "running", k.running));
}

/* n_ctx of llama-server: tokens of a request at most. */
static int context_of(const Call *c, const ServeChip *chip) {
  int most = server_options(c->server)->context, context = chip->chip->shape.context;
  return most && most < context ? most : context;
}

/* llama-server's: no word of prompts or replies. */
void run_slots(Call *c) {
  int chips;
  const ServeChip *chip = server_chips(c->server, &chips);
  const ServeOptions *o = server_options(c->server);
  if (o->hide_slots) {
    call_problem(c, 501, "not_supported_error", NULL, "this server does not tell its slots (--no-slots)");
    call_send_problem(c);
    return;
  }
  json_t *list = json_array();
  for (int i = 0; i < chips * o->slots; i++) {
    const ServeChip *of = &chip[i / o->slots];
    SlotState s = scheduler_slot(server_scheduler(c->server), i / o->slots, i % o->slots);
    json_t *slot = json_pack("{s:i,s:s,s:i,s:b}", "id", i, "model", of->name, "n_ctx", context_of(c, of), "is_processing", s.taken);
    if (s.taken) {
      json_object_set_new(slot, "n_prompt_tokens", json_integer(s.counts.prompt));
      json_object_set_new(slot, "n_prompt_tokens_cache", json_integer(s.counts.cached));
      json_object_set_new(slot, "next_token", json_pack("[{s:b,s:i,s:i}]", "has_next_token", 1, "n_decoded", s.counts.written, "n_remain", s.most - s.counts.written));
    }
    json_array_append_new(list, slot);
  }
  call_send_json(c, 200, list);
}

static json_t *chip_props(Call *c, int i) {
  int n;
  const ServeChip *s = &server_chips(c->server, &n)[i];
  json_t *model = s->modelled_tps > 0 ? json_pack("{s:f,s:s,s:s}", "tokens_per_second", s->modelled_tps, "class", "derived", "how", s->modelled_how)
                                      : json_null();
  return json_pack("{s:s,s:s,s:i,s:i,s:s,s:i,s:b,s:o}", "name", s->name, "hash", server_hash(c->server, i), "n_ctx", s->chip->shape.context, "n_vocab",
                   s->chip->shape.vocab, "isa", isa_name(engine_isa(s->engine)), "threads", engine_threads(s->engine), "chat_template",
                   s->chip->vocab.chat_template.n > 0, "hard_wired", model);
}

void run_props(Call *c) {
  int n;
  const ServeChip *chip = server_chips(c->server, &n);
  const ServeOptions *o = server_options(c->server);
  Str t = chip[0].chip->vocab.chat_template;
  json_t *chips = json_array(), *source = json_stringn(t.n ? t.s : "", t.n);
  for (int i = 0; i < n; i++) json_array_append_new(chips, chip_props(c, i));
  call_send_json(c, 200, json_pack("{s:i,s:s,s:o,s:{s:i,s:{s:f,s:f,s:i,s:f}},s:o}", "total_slots", o->slots, "model_alias", chip[0].name, "chat_template",
                                   source ? source : json_string(""), "default_generation_settings", "n_ctx", context_of(c, &chip[0]), "params", "temperature", 0.8,
                                   "top_p", 0.95, "top_k", 40, "min_p", 0.0, "chips", chips));
}

void run_metrics(Call *c) {
  SchedulerCounts k = scheduler_counts(server_scheduler(c->server));
  Buf b = {0};
  Err err = {0};
  const struct {
    const char *name, *kind, *help;
    double value;
  } figure[] = {
      {"burin_prompt_tokens_total", "counter", "Tokens of prompts.", (double)k.prompt_tokens},
      {"burin_prompt_tokens_cached_total", "counter", "Of them, found in the KV cache.", (double)k.cached_tokens},
      {"burin_generated_tokens_total", "counter", "Tokens written.", (double)k.written_tokens},
      {"burin_replies_total", "counter", "Replies asked for.", (double)k.requests},
      {"burin_replies_cancelled_total", "counter", "Replies whose client left.", (double)k.cancelled},
      {"burin_replies_failed_total", "counter", "Replies that failed.", (double)k.failed},
      {"burin_steps_total", "counter", "Passes through the engine.", (double)k.steps},
      {"burin_step_rows_total", "counter", "Tokens in these passes.", (double)k.step_rows},
      {"burin_prefill_seconds_total", "counter", "Seconds of passes with prompts in them.", k.prefill_seconds},
      {"burin_decode_seconds_total", "counter", "Seconds of passes without.", k.decode_seconds},
      {"burin_busy_seconds_total", "counter", "Seconds of passes, sampling and text.", k.busy_seconds},
      {"burin_replies_running", "gauge", "Replies being written.", k.running},
      {"burin_replies_queued", "gauge", "Replies that wait.", k.queued},
      {"burin_cached_sessions", "gauge", "Ended sessions that are kept.", k.cached_sessions},
      {"burin_uptime_seconds", "gauge", "Seconds since the start.", now_seconds() - server_started(c->server)},
  };
  bool ok = true;
  for (size_t i = 0; ok && i < sizeof figure / sizeof *figure; i++)
    ok = buf_printf(&b, &err, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", figure[i].name, figure[i].help, figure[i].name, figure[i].kind,
                    figure[i].name, figure[i].value);
  ok = ok && buf_printf(&b, &err, "# HELP burin_http_replies_total HTTP replies by the first digit of their status.\n# TYPE burin_http_replies_total counter\n");
  for (int i = 2; ok && i < 6; i++)
    ok = buf_printf(&b, &err, "burin_http_replies_total{status=\"%dxx\"} %llu\n", i, (unsigned long long)server_requests(c->server, i));
  if (ok) {
    char *s = b.s;
    size_t n = b.n;
    call_send(c, 200, "text/plain; version=0.0.4; charset=utf-8", s, n);
  } else {
    call_err(c, NULL, &err);
    call_send_problem(c);
  }
  buf_free(&b);
}
