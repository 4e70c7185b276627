/* serve/llama: llama-server's own routes: /completion, /apply-template, and slots in files. */
#include "serve/parts.h"

#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- /apply-template ---- */

void run_apply_template(Call *c) {
  Buf text = {0};
  Wishes w = {0};
  ToolParser tools;
  bool rendered, forced;
  if (!call_model(c, "model") || !use_tools(c, &w, &tools, &forced) ||
      !text_of_messages(c, field(c, "messages"), c->tools ? field(c, "tools") : NULL, &text, &rendered)) {
    buf_free(&text);
    call_send_problem(c);
    return;
  }
  json_t *o = json_pack("{s:o}", "prompt", json_stringn(text.s ? text.s : "", text.n));
  buf_free(&text);
  call_send_json(c, 200, o);
}

/* ---- /completion ---- */

/* The tokens of some text where they are wanted, and with n_probs their probabilities. */
static void put_tokens(const Call *c, json_t *o, const TokenProb *p, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; c->ids && i < n; i++) json_array_append_new(list, json_integer(p[i].token));
  json_object_set_new(o, "tokens", list);
  if (c->logprobs > 0 && n) json_object_set_new(o, "completion_probabilities", probs_json(c, p, n));
}

/* A slot's number among those of all chips. */
static int slot_number(const Choice *x, int slot) { return x->job->chip * server_options(x->call->server)->slots + slot; }

/* What both a piece and the end of a reply say. */
static json_t *reply_json(const Choice *x, json_t *content, bool stop) {
  return json_pack("{s:i,s:o,s:b,s:i,s:i,s:i}", "index", x->job->index, "content", content, "stop", stop, "id_slot", slot_number(x, x->counts.slot), "tokens_predicted",
                   x->counts.written, "tokens_evaluated", x->counts.prompt);
}

static void put_end(Call *c, const Choice *x, json_t *o) {
  const Job *j = x->job;
  const char *type = x->finish == FINISH_LENGTH ? "limit" : x->finish == FINISH_STOP_STRING ? "word" : "eos";
  json_t *settings = json_deep_copy(c->settings), *prompt = json_array_get(c->echoed, (size_t)x->prompt);
  json_object_set_new(settings, "seed", json_integer((json_int_t)j->seed));
  json_object_update_new(o, json_pack("{s:s,s:o,s:O,s:b,s:b,s:s,s:s,s:i,s:o}", "model", call_chip(c)->name, "generation_settings", settings, "prompt", prompt,
                                      "has_new_line", x->new_line, "truncated", 0, "stop_type", type, "stopping_word",
                                      x->finish == FINISH_STOP_STRING ? j->stop[j->stopped_by] : "", "tokens_cached", x->counts.prompt + x->counts.written,
                                      "timings", timings_of(x)));
}

static void put_piece(Call *c, const Choice *x, const char *text, size_t n, const TokenProb *p, size_t probs) {
  json_t *o = reply_json(x, json_stringn(text, n), false);
  put_tokens(c, o, p, probs);
  if (c->timings) json_object_set_new(o, "timings", timings_of(x));
  call_event(c, NULL, o);
}

static void llama_piece(Call *c, Choice *x, const Made *m) {
  Err err = {0};
  if (m->finish == FINISH_ERROR || m->finish == FINISH_CANCELLED) return;
  if (m->text.n && memchr(m->text.s, '\n', m->text.n)) x->new_line = true;
  if (!c->stream) {
    if (m->text.n && !buf_put(&x->text, m->text.s, m->text.n, &err)) call_err(c, NULL, &err);
    json_t *o = json_object();
    put_tokens(c, o, m->prob, m->probs);
    choice_put_lists(x, o);
    return;
  }
  if (!c->streaming) call_stream_begin(c, "text/event-stream");
  if (c->logprobs > 0 && m->probs) { /* a token an event; what text is left goes with the last */
    for (size_t i = 0, at = 0, n; i < m->probs; i++, at += n) {
      n = m->text.n - at;
      if (i + 1 < m->probs && m->prob[i].bytes < n) n = m->prob[i].bytes;
      put_piece(c, x, m->text.s ? m->text.s + at : "", n, m->prob + i, 1);
    }
  } else if (m->text.n || m->probs) {
    put_piece(c, x, m->text.s ? m->text.s : "", m->text.n, m->prob, m->probs);
  }
  if (!m->finish) return;
  json_t *o = reply_json(x, json_string(""), true);
  put_tokens(c, o, NULL, 0);
  put_end(c, x, o);
  call_event(c, NULL, o);
}

static void llama_end(Call *c) {
  if (call_end_failed(c)) return;
  if (c->stream) {
    call_stream_end(c);
    return;
  }
  json_t *list = json_array();
  for (int i = 0; i < c->choices; i++) {
    const Choice *x = &c->choice[i];
    json_t *o = reply_json(x, json_stringn(x->text.s ? x->text.s : "", x->text.n), true);
    if (x->probs) json_object_update(o, x->probs);
    else put_tokens(c, o, NULL, 0);
    put_end(c, x, o);
    json_array_append_new(list, o);
  }
  if (c->choices > 1) {
    call_send_json(c, 200, list);
    return;
  }
  call_send_json(c, 200, json_incref(json_array_get(list, 0)));
  json_decref(list);
}

static bool llama_request(Call *c) {
  Wishes w;
  int probs = 0;
  bool tokens = false;
  if (!call_model(c, "model") || !read_stream(c) || !wishes_sampling(c, &w) || !field_int(c, "max_tokens", -1, INT32_MAX, &w.most) ||
      !field_int(c, "n_predict", -1, INT32_MAX, &w.most) || !field_int(c, "min_tokens", 0, INT32_MAX, &w.least) ||
      !field_int(c, "n_probs", 0, MOST_LOGPROBS, &probs) || !field_bool(c, "return_tokens", &tokens) || !field_bool(c, "post_sampling_probs", &c->chances) ||
      !wishes_format(c, &w))
    return false;
  if (probs) c->logprobs = probs;
  c->ids = tokens || c->stream;
  json_t *stops = json_array();
  for (int i = 0; i < w.stops; i++) json_array_append_new(stops, json_string(w.stop[i]));
  c->settings = json_pack("{s:f,s:i,s:f,s:f,s:i,s:f,s:f,s:f,s:i,s:i,s:b,s:b,s:i,s:o}", "temperature", w.temperature, "top_k", w.top_k, "top_p", w.top_p,
                          "min_p", w.min_p, "repeat_last_n", 64, "repeat_penalty", w.repeat, "presence_penalty", w.presence, "frequency_penalty",
                          w.frequency, "max_tokens", w.most, "n_predict", w.most, "ignore_eos", w.ignore_end, "stream", c->stream, "n_probs", probs,
                          "stop", stops);
  return completion_jobs(c, &w, field(c, "prompt"), true);
}

void run_llama_completion(Call *c) {
  static const Style style = {llama_piece, llama_end};
  if (llama_request(c)) call_start(c, &style);
  else call_send_problem(c);
}

/* ---- /slots/N?action=save, restore or erase ---- */

enum { MOST_NAME = 128 };

static void slot_piece(Call *c, Choice *x, const Made *m) { (void)c, (void)x, (void)m; }

static void slot_end(Call *c) {
  const Choice *x = &c->choice[0];
  const Job *j = x->job;
  if (x->finish == FINISH_ERROR) { /* requests know names, not where they lie */
    const char *folder = server_options(c->server)->slot_folder;
    size_t n = strlen(folder);
    call_bad(c, NULL, "%s", strncmp(j->err.text, folder, n) == 0 && j->err.text[n] == '/' ? j->err.text + n + 1 : j->err.text);
  }
  if (call_end_failed(c)) return;
  json_t *o = json_pack("{s:i}", "id_slot", slot_number(x, j->slot));
  if (j->kind == JOB_ERASE) {
    json_object_set_new(o, "n_erased", json_integer(j->slot_tokens));
  } else {
    bool save = j->kind == JOB_SAVE;
    json_object_update_new(o, json_pack("{s:O,s:i,s:I,s:{s:f}}", "filename", field(c, "filename"), save ? "n_saved" : "n_restored", j->slot_tokens,
                                        save ? "n_written" : "n_read", (json_int_t)j->file_bytes, "timings", save ? "save_ms" : "restore_ms",
                                        1e3 * (x->counts.ended - x->counts.began)));
  }
  call_send_json(c, 200, o);
}

/* A file of the folder for slots: a name without a path; nothing is erased there. */
static bool slot_path(Call *c, Job *j) {
  const char *folder = server_options(c->server)->slot_folder, *name = NULL;
  Err err = {0};
  if (!field_text(c, "filename", &name)) return false;
  if (j->kind == JOB_ERASE && !name) return true;
  size_t n = name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") : 0;
  if (n == 0 || name[n] || n > MOST_NAME || name[0] == '.')
    return call_bad(c, "filename", "filename: expected a name of at most %d letters, digits, _, - and ., which does not begin with .", MOST_NAME);
  size_t room = strlen(folder) + n + 2;
  if (!(j->path = mem_alloc(room, 1, &err))) return call_err(c, NULL, &err);
  snprintf(j->path, room, "%s/%s", folder, name);
  return true;
}

static bool slot_request(Call *c) {
  const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(c->http);
  const ServeOptions *o = server_options(c->server);
  const char *id = evhttp_uri_get_path(uri) + strlen(c->route->path), *query = evhttp_uri_get_query(uri);
  int chips, kind = -1;
  char *end;
  Err err = {0};
  struct evkeyvalq pairs = {0};
  if (!o->slot_folder) return call_problem(c, 501, "not_supported_error", NULL, "this server keeps no slots in files (--slot-save-path)");
  server_chips(c->server, &chips);
  long slot = strtol(id, &end, 10);
  if (*end || end == id || *id == '-' || slot < 0 || slot >= (long)chips * o->slots) return call_bad(c, NULL, "slot: expected a number of 0 to %d", chips * o->slots - 1);
  if (query && evhttp_parse_query_str(query, &pairs) == 0) {
    const char *action = evhttp_find_header(&pairs, "action");
    kind = text_is(action, "save") ? JOB_SAVE : text_is(action, "restore") ? JOB_RESTORE : text_is(action, "erase") ? JOB_ERASE : -1;
    evhttp_clear_headers(&pairs);
  }
  if (kind < 0) return call_bad(c, "action", "action: expected save, restore or erase in the query");
  if (!call_add_choices(c, 1)) return false;
  Job *j = c->choice[0].job = job_new(&err);
  if (!j) return call_err(c, NULL, &err);
  j->kind = (JobKind)kind;
  j->chip = (int)(slot / o->slots);
  j->slot = (int)(slot % o->slots);
  j->client = c->client;
  j->owner = c;
  return slot_path(c, j);
}

void run_slot(Call *c) {
  static const Style style = {slot_piece, slot_end};
  if (slot_request(c)) call_start(c, &style);
  else call_send_problem(c);
}
