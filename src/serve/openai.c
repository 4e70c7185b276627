/* serve/openai: chat completions, completions and embeddings as OpenAI's clients know them. */
#include "serve/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- parts of replies ---- */

json_t *usage_of(const Call *c) {
  int prompt = 0, cached = 0, written = 0, seen = -1;
  for (int i = 0; i < c->choices; i++) {
    const Choice *x = &c->choice[i];
    if (x->prompt != seen) prompt += x->counts.prompt, cached += x->counts.cached; /* of n choices the first counts */
    seen = x->prompt;
    written += x->counts.written;
  }
  return json_pack("{s:i,s:i,s:i,s:{s:i}}", "prompt_tokens", prompt, "completion_tokens", written, "total_tokens", prompt + written,
                   "prompt_tokens_details", "cached_tokens", cached);
}

static double rate(int n, double seconds) { return seconds > 0 ? n / seconds : 0; }

json_t *timings_of(const Choice *x) {
  const JobCounts *t = &x->counts;
  double end = t->ended > 0 ? t->ended : now_seconds(), first = t->first > 0 ? t->first : end, prefill = first - t->began, decode = end - first;
  int computed = t->prompt - t->cached, more = t->written > 1 ? t->written - 1 : 0; /* the first token belongs to the prefill */
  return json_pack("{s:i,s:i,s:f,s:f,s:i,s:f,s:f,s:f}", "cache_n", t->cached, "prompt_n", computed, "prompt_ms", prefill * 1e3, "prompt_per_second",
                   rate(computed, prefill), "predicted_n", t->written, "predicted_ms", decode * 1e3, "predicted_per_second", rate(more, decode),
                   "queue_ms", (t->began - t->queued) * 1e3);
}

const char *finish_name(const Choice *x) {
  if (x->finish == FINISH_LENGTH) return "length";
  return x->parser.on && x->parser.calls ? "tool_calls" : "stop";
}

/* {"token", "logprob"}, and with `bytes` {"id", "bytes"} */
json_t *token_json(const Call *c, int token, float logprob, bool bytes) {
  Buf raw = {0}, text = {0};
  Detok d = {.specials = true};
  Err err = {0};
  const Tokenizer *t = call_chip(c)->tokenizer;
  bool ok = tokenizer_bytes(t, token, true, &raw, &err) && detok_put(t, &d, token, &text, &err) && detok_end(&d, &text, &err);
  json_t *o = json_object();
  json_object_set_new(o, "token", json_stringn(ok && text.s ? text.s : "", ok ? text.n : 0));
  if (c->chances) json_object_set_new(o, "prob", json_real(exp((double)logprob)));
  else json_object_set_new(o, "logprob", json_real(logprob));
  if (bytes) {
    json_object_set_new(o, "id", json_integer(token));
    json_t *list = json_array();
    for (size_t i = 0; i < raw.n; i++) json_array_append_new(list, json_integer((uint8_t)raw.s[i]));
    json_object_set_new(o, "bytes", list);
  }
  buf_free(&raw);
  buf_free(&text);
  return o;
}

json_t *probs_json(const Call *c, const TokenProb *p, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) {
    json_t *o = token_json(c, p[i].token, p[i].logprob, true), *tops = json_array();
    for (int k = 0; k < p[i].tops; k++) json_array_append_new(tops, token_json(c, p[i].top[k].token, p[i].top[k].logprob, true));
    json_object_set_new(o, c->chances ? "top_probs" : "top_logprobs", tops);
    json_array_append_new(list, o);
  }
  return list;
}

static size_t characters(const char *s) {
  size_t n = 0;
  for (; *s; s++) n += ((uint8_t)*s & 0xC0) != 0x80;
  return n;
}

/* The older form: lists side by side. */
static json_t *completion_probs(const Call *c, Choice *x, const TokenProb *p, size_t n) {
  json_t *tokens = json_array(), *probs = json_array(), *tops = json_array(), *offsets = json_array();
  for (size_t i = 0; i < n; i++) {
    json_t *o = token_json(c, p[i].token, p[i].logprob, false), *top = json_object();
    for (int k = 0; k < p[i].tops; k++) {
      json_t *t = token_json(c, p[i].top[k].token, p[i].top[k].logprob, false);
      json_object_set(top, json_string_value(json_object_get(t, "token")), json_object_get(t, "logprob"));
      json_decref(t);
    }
    json_array_append(tokens, json_object_get(o, "token"));
    json_array_append(probs, json_object_get(o, "logprob"));
    json_array_append_new(tops, top);
    json_array_append_new(offsets, json_integer((json_int_t)x->offset));
    x->offset += characters(json_string_value(json_object_get(o, "token")));
    json_decref(o);
  }
  return json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", probs, "top_logprobs", tops, "text_offset", offsets);
}

void choice_put_probs(Choice *x, json_t *probs) {
  if (!x->probs) x->probs = json_array();
  json_array_extend(x->probs, probs);
  json_decref(probs);
}

void choice_put_lists(Choice *x, json_t *lists) {
  json_t *list;
  const char *key;
  if (!x->probs) {
    x->probs = lists;
    return;
  }
  json_object_foreach(lists, key, list) {
    if (json_object_get(x->probs, key)) json_array_extend(json_object_get(x->probs, key), list);
    else json_object_set(x->probs, key, list);
  }
  json_decref(lists);
}

static json_t *head_of(const Call *c, const char *object) {
  char id[64];
  snprintf(id, sizeof id, "%s-%s", c->chat ? "chatcmpl" : "cmpl", c->id);
  return json_pack("{s:s,s:s,s:I,s:s,s:s}", "id", id, "object", object, "created", (json_int_t)c->created, "model", call_chip(c)->name,
                   "system_fingerprint", server_hash(c->server, c->chip));
}

/* ---- pieces ---- */

static void send_choice(Call *c, json_t *choice) {
  json_t *o = head_of(c, c->chat ? "chat.completion.chunk" : "text_completion");
  json_int_t index = json_integer_value(json_object_get(choice, "index"));
  json_object_set_new(o, "choices", json_pack("[o]", choice));
  if (c->timings) json_object_set_new(o, "timings", timings_of(&c->choice[index]));
  call_event(c, NULL, o);
}

static void send_delta(Choice *x, json_t *delta, json_t *probs) {
  if (!x->opened) json_object_set_new(delta, "role", json_string("assistant"));
  x->opened = true;
  json_t *logprobs = probs ? json_pack("{s:o}", "content", probs) : json_null();
  send_choice(x->call, json_pack("{s:i,s:o,s:o,s:n}", "index", x->job->index, "delta", delta, "logprobs", logprobs, "finish_reason"));
}

static json_t *call_json(const Call *c, int call, const char *name, size_t n) {
  char id[64];
  snprintf(id, sizeof id, "call_%s_%d", c->id, call);
  return json_pack("{s:s,s:s,s:{s:o,s:s}}", "id", id, "type", "function", "function", "name", json_stringn(name, n), "arguments", "");
}

static bool take_piece(void *arg, ToolPiece piece, int call, const char *s, size_t n) {
  Choice *x = arg;
  Call *c = x->call;
  Err err = {0};
  if (piece == TOOL_PIECE_TEXT) {
    if (!c->stream) return buf_put(&x->text, s, n, &err);
    send_delta(x, json_pack("{s:o}", "content", json_stringn(s, n)), x->probs);
    x->probs = NULL;
    return true;
  }
  if (c->stream) {
    json_t *o = piece == TOOL_PIECE_NAME ? call_json(c, call, s, n) : json_pack("{s:{s:o}}", "function", "arguments", json_stringn(s, n));
    json_object_set_new(o, "index", json_integer(call));
    send_delta(x, json_pack("{s:[o]}", "tool_calls", o), NULL);
    return true;
  }
  if (!x->tools) x->tools = json_array();
  if (piece == TOOL_PIECE_NAME) return json_array_append_new(x->tools, call_json(c, call, s, n)) == 0;
  json_t *function = json_object_get(json_array_get(x->tools, json_array_size(x->tools) - 1), "function");
  const json_t *old = json_object_get(function, "arguments");
  char *joined = malloc(json_string_length(old) + n + 1);
  if (!joined) return false;
  memcpy(joined, json_string_value(old), json_string_length(old));
  memcpy(joined + json_string_length(old), s, n);
  json_object_set_new(function, "arguments", json_stringn(joined, json_string_length(old) + n));
  free(joined);
  return true;
}

static bool failed(const Made *m) { return m->finish == FINISH_ERROR || m->finish == FINISH_CANCELLED; }

static void chat_piece(Call *c, Choice *x, const Made *m) {
  Err err = {0};
  if (failed(m)) return;
  if (c->stream && !c->streaming) call_stream_begin(c, "text/event-stream");
  if (m->probs) choice_put_probs(x, probs_json(c, m->prob, m->probs));
  if (!tool_parse(&x->parser, m->text.s, m->text.n, m->finish != FINISH_NONE, take_piece, x, &err)) call_err(c, NULL, &err);
  if (!m->finish || !c->stream) return;
  if (!x->opened || x->probs) send_delta(x, json_pack("{s:s}", "content", ""), x->probs);
  x->probs = NULL;
  send_choice(c, json_pack("{s:i,s:{},s:n,s:s}", "index", x->job->index, "delta", "logprobs", "finish_reason", finish_name(x)));
}

static void completion_piece(Call *c, Choice *x, const Made *m) {
  Err err = {0};
  if (failed(m)) return;
  if (!c->stream) {
    if (m->text.n && !buf_put(&x->text, m->text.s, m->text.n, &err)) call_err(c, NULL, &err);
    if (m->probs) choice_put_lists(x, completion_probs(c, x, m->prob, m->probs));
    return;
  }
  if (!c->streaming) call_stream_begin(c, "text/event-stream");
  const char *echo = !x->opened && c->echoed ? json_string_value(json_array_get(c->echoed, (size_t)x->prompt)) : NULL;
  if (!m->text.n && !m->probs && !m->finish && !echo) return;
  x->opened = true;
  json_t *text = json_stringn(m->text.s ? m->text.s : "", m->text.n), *probs = m->probs ? completion_probs(c, x, m->prob, m->probs) : json_null();
  if (echo) {
    json_t *both = json_sprintf("%s%s", echo, json_string_value(text));
    json_decref(text);
    text = both;
  }
  json_t *finish = m->finish ? json_string(finish_name(x)) : json_null();
  send_choice(c, json_pack("{s:i,s:o,s:o,s:o}", "index", x->job->index, "text", text, "logprobs", probs, "finish_reason", finish));
}

/* ---- ends ---- */

bool call_end_failed(Call *c) {
  if (!call_failed(c)) return false;
  if (!c->streaming) {
    call_send_problem(c);
    return true;
  }
  call_event(c, NULL, json_pack("{s:{s:s,s:s,s:i}}", "error", "message", c->problem.text, "type", c->problem.type, "code", c->problem.status));
  call_stream_end(c);
  return true;
}

static void end_stream(Call *c) {
  json_t *o = head_of(c, c->chat ? "chat.completion.chunk" : "text_completion");
  json_object_set_new(o, "choices", json_array());
  json_object_set_new(o, "timings", timings_of(&c->choice[0]));
  if (c->usage) json_object_set_new(o, "usage", usage_of(c));
  call_event(c, NULL, o);
  call_stream_put(c, "data: [DONE]\n\n", 14);
  call_stream_end(c);
}

static json_t *chat_choice(Choice *x) {
  json_t *message = json_pack("{s:s,s:o,s:n}", "role", "assistant", "content",
                              x->tools && !x->text.n ? json_null() : json_stringn(x->text.s ? x->text.s : "", x->text.n), "refusal");
  if (x->tools) json_object_set(message, "tool_calls", x->tools);
  json_t *probs = x->probs ? json_pack("{s:O}", "content", x->probs) : json_null();
  return json_pack("{s:i,s:o,s:o,s:s}", "index", x->job->index, "message", message, "logprobs", probs, "finish_reason", finish_name(x));
}

static json_t *completion_choice(Choice *x) {
  const char *echo = x->call->echoed ? json_string_value(json_array_get(x->call->echoed, (size_t)x->prompt)) : "";
  json_t *text = json_stringn(x->text.s ? x->text.s : "", x->text.n), *both = json_sprintf("%s%s", echo, json_string_value(text));
  json_decref(text);
  json_t *probs = x->probs ? json_incref(x->probs) : json_null();
  return json_pack("{s:i,s:o,s:o,s:s}", "index", x->job->index, "text", both, "logprobs", probs, "finish_reason", finish_name(x));
}

static void end_text(Call *c) {
  if (call_end_failed(c)) return;
  if (c->stream) {
    end_stream(c);
    return;
  }
  json_t *list = json_array(), *o = head_of(c, c->chat ? "chat.completion" : "text_completion");
  for (int i = 0; i < c->choices; i++) json_array_append_new(list, c->chat ? chat_choice(&c->choice[i]) : completion_choice(&c->choice[i]));
  json_object_set_new(o, "choices", list);
  json_object_set_new(o, "usage", usage_of(c));
  json_object_set_new(o, "timings", timings_of(&c->choice[0]));
  json_object_set_new(o, "seed", json_integer((json_int_t)c->choice[0].job->seed));
  call_send_json(c, 200, o);
}

static const Style chat_style = {chat_piece, end_text};
const Style completion_style = {completion_piece, end_text};

/* ---- requests ---- */

bool read_stream(Call *c) {
  const json_t *options = field(c, "stream_options"), *usage = json_object_get(options, "include_usage");
  if (options && !json_is_object(options)) return call_bad(c, "stream_options", "stream_options: expected an object");
  if (usage && !json_is_boolean(usage) && !json_is_null(usage)) return call_bad(c, "stream_options", "stream_options: include_usage: expected true or false");
  c->usage = json_is_true(usage);
  return field_bool(c, "stream", &c->stream) && field_bool(c, "timings_per_token", &c->timings);
}

static bool absent(const json_t *v) { return !v || json_is_null(v); }

static bool check_function(Call *c, const json_t *tool) {
  const json_t *type = json_object_get(tool, "type"), *f = json_object_get(tool, "function"), *name = json_object_get(f, "name"),
               *about = json_object_get(f, "description"), *parameters = json_object_get(f, "parameters"), *strict = json_object_get(f, "strict");
  const char *s = json_is_string(name) ? json_string_value(name) : "";
  size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
  if (type && (!json_is_string(type) || strcmp(json_string_value(type), "function") != 0)) return call_bad(c, "tools", "tools: expected type function");
  if (n == 0 || s[n] || n > 128) return call_bad(c, "tools", "tools: expected function.name of letters, digits, _ and -");
  if (!absent(about) && !json_is_string(about)) return call_bad(c, "tools", "tools: %s: description: expected a string", s);
  if (!absent(parameters) && !json_is_object(parameters)) return call_bad(c, "tools", "tools: %s: parameters: expected a JSON schema", s);
  return absent(strict) || json_is_boolean(strict) || call_bad(c, "tools", "tools: %s: strict: expected true or false", s);
}

/* The functions of "tools", checked, as {"name", "description", "parameters"}. */
static json_t *functions_of(Call *c, const json_t *tools) {
  json_t *list = json_array();
  size_t i;
  const json_t *t;
  json_array_foreach(tools, i, t) if (check_function(c, t)) json_array_append(list, json_object_get(t, "function"));
  if (!c->problem.status && json_array_size(list)) return list;
  call_bad(c, "tools", "tools: expected a list of functions");
  json_decref(list);
  return NULL;
}

static Grammar *make_tools(const json_t *of, Err *err) {
  return grammar_of_tools(json_object_get(of, "functions"), (ToolFormat)json_integer_value(json_object_get(of, "format")),
                          json_is_true(json_object_get(of, "many")), err);
}

bool use_tools(Call *c, Wishes *w, ToolParser *parser, bool *forced) {
  const json_t *tools = field(c, "tools"), *choice = field(c, "tool_choice");
  const char *how = json_is_string(choice) ? json_string_value(choice) : choice ? "function" : "auto";
  bool native, parallel = true;
  *parser = (ToolParser){0};
  *forced = false;
  if (!field_bool(c, "parallel_tool_calls", &parallel)) return false;
  if (tools && !json_is_array(tools)) return call_bad(c, "tools", "tools: expected a list");
  if (json_array_size(tools) == 0) {
    if (choice && strcmp(how, "none") != 0 && strcmp(how, "auto") != 0) return call_bad(c, "tool_choice", "tool_choice without tools");
    return true;
  }
  c->tools = functions_of(c, tools);
  if (!c->tools) return false;
  if (strcmp(how, "none") == 0) return json_decref(c->tools), c->tools = NULL, true;
  if (w->matcher) return call_bad(c, "tools", "tools and a response format exclude each other");
  json_t *among = json_incref(c->tools);
  if (strcmp(how, "function") == 0) {
    const json_t *name = json_object_get(json_object_get(choice, "function"), "name"), *f;
    size_t i;
    json_decref(among);
    among = json_array();
    json_array_foreach(c->tools, i, f) if (json_is_string(name) && json_equal(json_object_get(f, "name"), (json_t *)(uintptr_t)name))
        json_array_append(among, (json_t *)(uintptr_t)f);
    if (json_array_size(among) == 0) call_bad(c, "tool_choice", "tool_choice: expected the name of one of the tools");
  } else if (strcmp(how, "auto") != 0 && strcmp(how, "required") != 0) {
    call_bad(c, "tool_choice", "tool_choice: expected none, auto, required or a function, found '%.40s'", how);
  }
  *forced = strcmp(how, "auto") != 0;
  parser->on = true;
  parser->format = tool_format_of(call_chip(c)->chip->vocab.chat_template, &native);
  parser->anywhere = parser->format == TOOLS_HERMES;
  json_t *key = json_pack("{s:o,s:i,s:b}", "functions", among, "format", (int)parser->format, "many", parallel);
  if (!c->problem.status) w->matcher = call_matcher(c, "tools", key, make_tools);
  json_decref(key);
  return w->matcher != NULL;
}

bool chat_request(Call *c) {
  Wishes w;
  ToolParser parser;
  bool forced, wanted = false;
  int tops = 0;
  c->chat = true;
  if (!call_model(c, "model") || !read_stream(c) || !call_wishes(c, &w) || !field_bool(c, "logprobs", &wanted) ||
      !field_int(c, "top_logprobs", 0, MOST_LOGPROBS, &tops) || !use_tools(c, &w, &parser, &forced))
    return false;
  if (tops && !wanted) return call_bad(c, "top_logprobs", "top_logprobs needs logprobs to be true");
  c->logprobs = wanted ? tops : -1;
  Tokens prompt = {0};
  Err err = {0};
  bool ok = prompt_of_messages(c, field(c, "messages"), c->tools ? field(c, "tools") : NULL, &prompt) && call_add_choices(c, w.n);
  uint64_t seed = wishes_seed(&w);
  for (int i = 0; ok && i < w.n; i++) {
    Tokens own = {0};
    for (size_t k = 0; ok && k < prompt.n; k++) ok = tokens_put(&own, prompt.id[k], &err);
    ok = ok ? call_job(c, i, &w, seed + (uint64_t)i, &own) : call_err(c, NULL, &err);
    tokens_free(&own);
    if (!ok) break;
    c->choice[i].parser = parser;
  }
  if (ok && parser.on && !forced) call_trigger(c, &parser);
  tokens_free(&prompt);
  return ok;
}

void run_chat(Call *c) {
  if (chat_request(c)) call_start(c, &chat_style);
  else call_send_problem(c);
}

/* One prompt: a text, or a list of token ids and texts. */
static bool one_prompt(Call *c, const char *key, const json_t *v, Tokens *out) {
  Err err = {0};
  size_t i;
  const json_t *id;
  int vocab = call_chip(c)->chip->shape.vocab;
  if (json_is_string(json_object_get(v, "prompt_string")) && json_object_size(v) == 1) v = json_object_get(v, "prompt_string"); /* llama-server's */
  if (json_is_string(v)) return prompt_of_text(c, (Str){json_string_value(v), json_string_length(v)}, out);
  if (!json_is_array(v)) return call_bad(c, key, "%s: expected a string, a list of tokens, or a list of these", key);
  json_array_foreach(v, i, id) {
    if (json_is_string(id)) {
      if (!tokenizer_encode(call_chip(c)->tokenizer, (Str){json_string_value(id), json_string_length(id)}, true, i == 0, out, &err))
        return call_err(c, key, &err);
      continue;
    }
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= vocab)
      return call_bad(c, key, "%s: expected tokens of 0 to %d", key, vocab - 1);
    if (!tokens_put(out, (int)json_integer_value(id), &err)) return call_err(c, "prompt", &err);
  }
  return true;
}

enum { MOST_PROMPTS = 2048 };

/* A list of prompts, or one: a list with a token id in it is one. */
static size_t prompts_of(const json_t *v, bool *list) {
  size_t i, n = json_array_size(v);
  const json_t *one;
  *list = n > 0;
  json_array_foreach(v, i, one) if (json_is_integer(one)) *list = false;
  return *list ? n : 1;
}

static bool echo_prompt(Call *c, const Tokens *prompt) {
  Buf text = {0};
  Err err = {0};
  Detok d = {0};
  bool ok = true;
  for (size_t i = 0; ok && i < prompt->n; i++) ok = detok_put(call_chip(c)->tokenizer, &d, prompt->id[i], &text, &err);
  ok = ok && detok_end(&d, &text, &err);
  if (ok) json_array_append_new(c->echoed, json_stringn(text.s ? text.s : "", text.n));
  buf_free(&text);
  return ok || call_err(c, "echo", &err);
}

bool completion_jobs(Call *c, const Wishes *w, const json_t *v, bool echo) {
  bool list;
  if (!v) return call_bad(c, "prompt", "prompt is missing");
  size_t prompts = prompts_of(v, &list);
  if (prompts * (size_t)w->n > MOST_PROMPTS) return call_bad(c, "prompt", "prompt: more than %d texts in one request", MOST_PROMPTS);
  if (echo) c->echoed = json_array();
  uint64_t seed = wishes_seed(w);
  bool ok = call_add_choices(c, (int)prompts * w->n) != NULL;
  for (int i = 0; ok && i < c->choices; i++) {
    Tokens prompt = {0};
    c->choice[i].prompt = i / w->n;
    ok = one_prompt(c, "prompt", list ? json_array_get(v, (size_t)(i / w->n)) : v, &prompt) && (!echo || i % w->n || echo_prompt(c, &prompt)) &&
         call_job(c, i, w, seed + (uint64_t)(i % w->n), &prompt);
    tokens_free(&prompt);
  }
  return ok;
}

static bool completion_request(Call *c) {
  Wishes w;
  const json_t *probs = field(c, "logprobs"), *suffix = field(c, "suffix");
  bool echo = false;
  int best = 1;
  if (!call_model(c, "model") || !read_stream(c) || !call_wishes(c, &w) || !field_bool(c, "echo", &echo) || !field_int(c, "best_of", 1, 64, &best) ||
      (!json_is_boolean(probs) && !field_int(c, "logprobs", 0, MOST_LOGPROBS, &c->logprobs)))
    return false;
  if (json_is_true(probs)) c->logprobs = 0;
  if (json_string_length(suffix)) return call_bad(c, "suffix", "suffix is not supported");
  if (best > w.n) return call_bad(c, "best_of", "best_of beyond n is not supported");
  if (echo && c->logprobs >= 0) return call_bad(c, "echo", "echo with logprobs is not supported");
  return completion_jobs(c, &w, field(c, "prompt"), echo);
}

void run_completion(Call *c) {
  if (completion_request(c)) call_start(c, &completion_style);
  else call_send_problem(c);
}

/* ---- embeddings ---- */

static void embedding_piece(Call *c, Choice *x, const Made *m) { (void)c, (void)x, (void)m; }

/* Little-endian floats in base64. */
static json_t *base64_of(const float *v, int n) {
  static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t bytes = (size_t)n * 4, at = 0;
  const uint8_t *b = (const uint8_t *)v;
  char *out = malloc(bytes / 3 * 4 + 5);
  if (!out) return json_null();
  for (size_t i = 0; i < bytes; i += 3) {
    uint32_t w = (uint32_t)b[i] << 16 | (i + 1 < bytes ? (uint32_t)b[i + 1] << 8 : 0) | (i + 2 < bytes ? b[i + 2] : 0);
    for (int k = 0; k < 4; k++) out[at++] = i + (size_t)k > bytes ? '=' : digit[w >> (18 - 6 * k) & 63];
  }
  json_t *o = json_stringn(out, at);
  free(out);
  return o;
}

static void end_embeddings(Call *c) {
  if (call_end_failed(c)) return;
  const json_t *encoding = field(c, "encoding_format");
  bool base64 = json_is_string(encoding) && strcmp(json_string_value(encoding), "base64") == 0;
  json_t *list = json_array();
  int dim = call_chip(c)->chip->shape.dim, tokens = 0;
  for (int i = 0; i < c->choices; i++) {
    const Choice *x = &c->choice[i];
    json_t *v = base64 ? base64_of(x->job->vector, dim) : json_array();
    for (int k = 0; !base64 && k < dim; k++) json_array_append_new(v, json_real(x->job->vector[k]));
    json_array_append_new(list, json_pack("{s:s,s:i,s:o}", "object", "embedding", "index", i, "embedding", v));
    tokens += x->counts.prompt;
  }
  call_send_json(c, 200, json_pack("{s:s,s:o,s:s,s:{s:i,s:i}}", "object", "list", "data", list, "model", call_chip(c)->name, "usage", "prompt_tokens",
                                   tokens, "total_tokens", tokens));
}

static bool embeddings_request(Call *c) {
  const json_t *v = field(c, "input");
  const char *encoding = "float";
  bool list, ok = true;
  int dims;
  if (!call_model(c, "model") || !field_text(c, "encoding_format", &encoding)) return false;
  if (!v) return call_bad(c, "input", "input is missing");
  if (strcmp(encoding, "float") != 0 && strcmp(encoding, "base64") != 0) return call_bad(c, "encoding_format", "encoding_format: expected float or base64");
  dims = call_chip(c)->chip->shape.dim;
  if (!field_int(c, "dimensions", dims, dims, &dims)) return false;
  size_t n = prompts_of(v, &list);
  if (n > MOST_PROMPTS) return call_bad(c, "input", "input: more than %d texts in one request", MOST_PROMPTS);
  ok = call_add_choices(c, (int)n) != NULL;
  for (size_t i = 0; ok && i < n; i++) {
    Tokens prompt = {0};
    ok = one_prompt(c, "input", list ? json_array_get(v, i) : v, &prompt) && job_of_prompt(c, &c->choice[i], &prompt);
    if (ok) c->choice[i].job->kind = JOB_EMBED;
    tokens_free(&prompt);
  }
  return ok;
}

void run_embeddings(Call *c) {
  static const Style style = {embedding_piece, end_embeddings};
  if (embeddings_request(c)) call_start(c, &style);
  else call_send_problem(c);
}
