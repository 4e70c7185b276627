/* serve/native: the two surfaces of the published chip: its inference API (/generate) and its chatbot (/api/chat). */
#include "serve/parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- /generate: completions with fields of its own, greedy unless asked otherwise ---- */

static bool generate_request(Call *c) {
  Wishes w;
  ToolParser tools; /* calls stay in the text here */
  bool echo = false, probs = false, forced;
  int tops = 0, stops_most = 4;
  const json_t *prompt = field(c, "prompt");
  if (!call_model(c, "model") || !read_stream(c) || !wishes_sampling(c, &w)) return false;
  w.top_k = 1;
  if (!field_number(c, "temperature", 0, 100, &w.temperature) || !field_int(c, "topk", 1, 8, &w.top_k) ||
      !field_int(c, "min_output_tokens", 0, INT32_MAX, &w.least) || !field_int(c, "max_output_tokens", 0, INT32_MAX, &w.most) ||
      !field_bool(c, "echo", &echo) || !field_bool(c, "logprobs", &probs) || !field_int(c, "top_logprobs", 0, MOST_LOGPROBS, &tops) ||
      !wishes_format(c, &w))
    return false;
  if (w.stops > stops_most) return call_bad(c, "stop", "stop: expected at most %d strings, found %d", stops_most, w.stops);
  if (w.most == 0) w.most = -1;
  if (probs) c->logprobs = tops;
  if (echo && probs) return call_bad(c, "echo", "echo with logprobs is not supported");
  if (!use_tools(c, &w, &tools, &forced) || !completion_jobs(c, &w, prompt, echo)) return false;
  if (tools.on && !forced) call_trigger(c, &tools);
  return true;
}

void run_generate(Call *c) {
  if (generate_request(c)) call_start(c, &completion_style);
  else call_send_problem(c);
}

void run_native_models(Call *c) {
  int n;
  const ServeChip *chip = server_chips(c->server, &n);
  json_t *list = json_array();
  for (int i = 0; i < n; i++) json_array_append_new(list, json_string(chip[i].name));
  call_send_json(c, 200, json_pack("{s:o}", "models", list));
}

void run_native_health(Call *c) {
  SchedulerCounts k = scheduler_counts(server_scheduler(c->server));
  call_send_json(c, 200, json_pack("{s:s,s:i,s:n}", "status", "ok", "queue_size", k.queued, "current_adapter"));
}

void run_talk_models(Call *c) {
  int n;
  const ServeChip *chip = server_chips(c->server, &n);
  json_t *list = json_array();
  for (int i = 0; i < n; i++) json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "id", chip[i].name, "object", "model", "owned_by", "burin"));
  call_send_json(c, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

/* ---- /api/chat: text as it comes, and figures behind it ---- */

static void talk_piece(Call *c, Choice *x, const Made *m) {
  (void)x;
  if (m->finish == FINISH_ERROR || m->finish == FINISH_CANCELLED) return;
  if (!c->streaming) call_stream_begin(c, "text/plain; charset=utf-8");
  call_stream_put(c, m->text.s, m->text.n);
}

static void talk_end(Call *c) {
  const Choice *x = &c->choice[0];
  const JobCounts *k = &x->counts;
  if (!c->streaming) {
    call_failed(c);
    call_send_problem(c);
    return;
  }
  double first = k->first > 0 ? k->first : k->ended, prefill = first - k->began, decode = k->ended - first;
  const char *reason = x->finish == FINISH_LENGTH ? "length" : x->finish == FINISH_ERROR ? "error" : "stop";
  int more = k->written > 1 ? k->written - 1 : 0;
  json_t *o = json_pack("{s:f,s:i,s:f,s:i,s:f,s:i,s:f,s:f,s:s,s:i,s:s,s:I}", "ttft", first - k->queued, "prefill_tokens", k->prompt, "prefill_rate",
                        prefill > 0 ? (k->prompt - k->cached) / prefill : 0, "decode_tokens", k->written, "decode_rate", decode > 0 ? more / decode : 0,
                        "total_tokens", k->prompt + k->written, "total_time", k->ended - k->queued, "queue_time", k->began - k->queued, "done_reason",
                        reason, "cached_tokens", k->cached, "model", call_chip(c)->name, "seed", (json_int_t)x->job->seed);
  char *s = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(o);
  if (s) {
    call_stream_put(c, "<|stats|>", 9);
    call_stream_put(c, s, strlen(s));
    call_stream_put(c, "<|/stats|>", 10);
  }
  free(s);
  call_stream_end(c);
}

/* The messages with the system prompt before them and the attachment at the end of the last one. */
static json_t *talk_messages(Call *c, const json_t *options) {
  const json_t *messages = field(c, "messages"), *system = json_object_get(options, "systemPrompt"), *attachment = field(c, "attachment"), *m;
  const json_t *text = json_object_get(attachment, "content"), *name = json_object_get(attachment, "name");
  json_t *list = json_array();
  size_t i;
  if (attachment && (!json_is_object(attachment) || (text && !json_is_string(text)) || (name && !json_is_string(name))))
    call_bad(c, "attachment", "attachment: expected an object with name and content as strings");
  if (system && !json_is_string(system) && !json_is_null(system)) call_bad(c, "chatOptions", "chatOptions: systemPrompt: expected a string");
  if (!json_is_array(messages) || !json_array_size(messages)) call_bad(c, "messages", "messages: expected a list of at least one message");
  if (json_string_length(system)) json_array_append_new(list, json_pack("{s:s,s:O}", "role", "system", "content", system));
  json_array_foreach(messages, i, m) {
    const json_t *content = json_object_get(m, "content");
    json_t *role = json_object_get(m, "role");
    if (!json_is_string(content) || !json_is_string(role)) {
      call_bad(c, "messages", "messages: expected role and content as strings");
      break;
    }
    json_t *whole = i + 1 == json_array_size(messages) && json_string_length(text)
                        ? json_sprintf("%s\n\n%s:\n%s", json_string_value(content), json_is_string(name) ? json_string_value(name) : "attachment",
                                       json_string_value(text))
                        : json_incref((json_t *)(uintptr_t)content);
    json_array_append_new(list, json_pack("{s:O,s:o}", "role", role, "content", whole));
  }
  if (!c->problem.status) return list;
  json_decref(list);
  return NULL;
}

static bool talk_request(Call *c) {
  Wishes w;
  Tokens prompt = {0};
  const json_t *options = field(c, "chatOptions");
  if (options && !json_is_object(options)) return call_bad(c, "chatOptions", "chatOptions: expected an object");
  json_t *messages = talk_messages(c, options), *own = messages ? json_copy((json_t *)(uintptr_t)options) : NULL;
  bool ok = messages != NULL;
  if (ok) { /* the fields of chatOptions stand where those of other routes stand */
    json_t *model = json_object_get(options, "selectedModel"), *top_k = json_object_get(options, "topK");
    json_t *body = own ? own : json_object();
    if (model) json_object_set(body, "model", model);
    if (top_k) json_object_set(body, "top_k", top_k);
    json_decref(c->body);
    c->body = body;
    ok = call_model(c, "model") && call_wishes(c, &w) && prompt_of_messages(c, messages, NULL, &prompt) && call_add_choices(c, 1) &&
         call_job(c, 0, &w, wishes_seed(&w), &prompt);
  }
  json_decref(messages);
  tokens_free(&prompt);
  return ok;
}

void run_talk(Call *c) {
  static const Style style = {talk_piece, talk_end};
  if (talk_request(c)) call_start(c, &style);
  else call_send_problem(c);
}
