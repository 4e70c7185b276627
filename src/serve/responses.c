/* serve/responses: OpenAI's Responses, as far as they need no memory of the server's: a request becomes a chat's, what comes of it a list
 * of items and the events that tell of them.
 */
#include "serve/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests ---- */

/* Content as a chat has it: a string, or parts of type text. */
static json_t *content_of(Call *c, const json_t *content) {
  size_t i;
  const json_t *part;
  if (json_is_string(content)) return json_incref((json_t *)(uintptr_t)content);
  if (!json_is_array(content)) {
    call_bad(c, "input", "input: content: expected a string or a list of parts");
    return NULL;
  }
  json_t *parts = json_array();
  json_array_foreach(content, i, part) {
    const char *type = json_text(part, "type");
    const json_t *text = json_object_get(part, text_is(type, "refusal") ? "refusal" : "text");
    if (!json_is_string(text) || !(text_is(type, "input_text") || text_is(type, "output_text") || text_is(type, "text") || text_is(type, "refusal"))) {
      call_bad(c, "input", "input: content: expected parts of type input_text or output_text, found '%.40s'", type ? type : "?");
      json_decref(parts);
      return NULL;
    }
    json_array_append_new(parts, text_part(text));
  }
  return parts;
}

/* The last message, if it is the assistant's; else a new one of its without words. */
static json_t *assistant_of(json_t *messages) {
  json_t *last = json_array_get(messages, json_array_size(messages) - 1);
  if (text_is(json_text(last, "role"), "assistant")) return last;
  json_array_append_new(messages, json_pack("{s:s,s:n}", "role", "assistant", "content"));
  return json_array_get(messages, json_array_size(messages) - 1);
}

static bool put_call(Call *c, const json_t *item, json_t *messages) {
  const char *id = json_text(item, "call_id"), *name = json_text(item, "name"), *arguments = json_text(item, "arguments");
  if (!id || !name || !arguments) return call_bad(c, "input", "input: function_call: expected call_id, name and arguments, strings");
  json_t *m = assistant_of(messages);
  if (!json_object_get(m, "tool_calls")) json_object_set_new(m, "tool_calls", json_array());
  json_array_append_new(json_object_get(m, "tool_calls"),
                        json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", id, "type", "function", "function", "name", name, "arguments", arguments));
  return true;
}

static bool put_message(Call *c, const char *role, const json_t *content, const char *call_id, json_t *messages) {
  json_t *words = content_of(c, content);
  if (!words) return false;
  json_t *m = json_pack("{s:s,s:o}", "role", role, "content", words);
  if (call_id) json_object_set_new(m, "tool_call_id", json_string(call_id));
  json_array_append_new(messages, m);
  return true;
}

static bool put_item(Call *c, const json_t *item, json_t *messages) {
  const json_t *type_field = json_object_get(item, "type");
  const char *type = type_field ? json_string_value(type_field) : "message", *role = json_text(item, "role");
  if (!json_is_object(item) || !type) return call_bad(c, "input", "input: expected a string or a list of items");
  if (strcmp(type, "function_call") == 0) return put_call(c, item, messages);
  if (strcmp(type, "reasoning") == 0) return true; /* of another model: not for this one's eyes */
  if (strcmp(type, "function_call_output") == 0) {
    const char *id = json_text(item, "call_id");
    if (!id) return call_bad(c, "input", "input: function_call_output: expected call_id, a string");
    return put_message(c, "tool", json_object_get(item, "output"), id, messages);
  }
  if (strcmp(type, "item_reference") == 0) return call_bad(c, "input", "input: item_reference: nothing is stored here; send the items themselves (store: false)");
  if (strcmp(type, "message") != 0) return call_bad(c, "input", "input: items of type '%.40s' are not supported", type);
  if (!text_is(role, "user") && !text_is(role, "assistant") && !text_is(role, "system") && !text_is(role, "developer"))
    return call_bad(c, "input", "input: role: expected user, assistant, system or developer, found '%.40s'", role ? role : "?");
  return put_message(c, role, json_object_get(item, "content"), NULL, messages);
}

static json_t *messages_of(Call *c) {
  const json_t *input = field(c, "input"), *instructions = field(c, "instructions"), *item;
  json_t *messages = json_array();
  size_t i;
  if (instructions && !json_is_string(instructions)) call_bad(c, "instructions", "instructions: expected a string");
  else if (instructions) put_message(c, "system", instructions, NULL, messages);
  if (!input) call_bad(c, "input", "input is missing");
  else if (json_is_string(input)) put_message(c, "user", input, NULL, messages);
  else if (!json_is_array(input) || json_array_size(input) == 0) call_bad(c, "input", "input: expected a string or a list of at least one item");
  json_array_foreach(input, i, item) if (!put_item(c, item, messages)) break;
  if (!c->problem.status) return messages;
  json_decref(messages);
  return NULL;
}

/* What says "name", "parameters" and so on beside its type, as a chat has it: within a member called `key`. */
static json_t *nested(const json_t *o, const char *key) {
  json_t *inner = json_copy((json_t *)(uintptr_t)o), *out = json_object();
  json_object_set(out, "type", json_object_get(inner, "type"));
  json_object_del(inner, "type");
  json_object_set_new(out, key, inner);
  return out;
}

static bool set_tools(Call *c, json_t *chat) {
  const json_t *tools = field(c, "tools"), *choice = field(c, "tool_choice"), *tool;
  size_t i;
  if (tools && !json_is_array(tools)) return call_bad(c, "tools", "tools: expected a list");
  if (tools) json_object_set_new(chat, "tools", json_array());
  json_array_foreach(tools, i, tool) {
    const char *type = json_text(tool, "type");
    if (!text_is(type, "function")) return call_bad(c, "tools", "tools: expected type function, found '%.40s'", type ? type : "?");
    json_array_append_new(json_object_get(chat, "tools"), nested(tool, "function"));
  }
  if (choice && !json_is_string(choice) && !text_is(json_text(choice, "type"), "function"))
    return call_bad(c, "tool_choice", "tool_choice: expected none, auto, required or a function");
  if (json_is_object(choice)) json_object_set_new(chat, "tool_choice", nested(choice, "function"));
  return true;
}

static bool set_format(Call *c, json_t *chat) {
  const json_t *text = field(c, "text"), *format = json_object_get(text, "format");
  if (text && !json_is_object(text)) return call_bad(c, "text", "text: expected an object");
  if (!format || json_is_null(format)) return true;
  if (!json_is_object(format)) return call_bad(c, "text", "text.format: expected an object with a type");
  bool schema = text_is(json_text(format, "type"), "json_schema");
  json_object_set_new(chat, "response_format", schema ? nested(format, "json_schema") : json_incref((json_t *)(uintptr_t)format));
  return true;
}

/* What would need memory, other machines or other media is refused, not skipped. */
static bool check_rest(Call *c) {
  static const char *const kept[] = {"previous_response_id", "conversation", "prompt"};
  const char *truncation = "disabled";
  bool background = false;
  int tops = 0;
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (field(c, kept[i])) return call_bad(c, kept[i], "%s: nothing is stored here; send the items themselves", kept[i]);
  if (!field_bool(c, "background", &background) || !field_text(c, "truncation", &truncation) || !field_int(c, "top_logprobs", 0, MOST_LOGPROBS, &tops)) return false;
  if (background) return call_bad(c, "background", "background is not supported");
  if (strcmp(truncation, "disabled") != 0) return call_bad(c, "truncation", "truncation: expected disabled: nothing is cut here");
  return !field(c, "metadata") || json_is_object(field(c, "metadata")) || call_bad(c, "metadata", "metadata: expected an object");
}

/* logprobs and top_logprobs of a chat, from include. */
static bool set_logprobs(Call *c, json_t *chat) {
  const json_t *include = field(c, "include"), *one;
  bool wanted = false;
  size_t i;
  if (include && !json_is_array(include)) return call_bad(c, "include", "include: expected a list");
  json_array_foreach(include, i, one) {
    if (!json_is_string(one)) return call_bad(c, "include", "include: expected strings");
    wanted |= text_is(json_string_value(one), "message.output_text.logprobs");
  }
  json_object_set_new(chat, "logprobs", json_boolean(wanted));
  if (!wanted) json_object_del(chat, "top_logprobs");
  return true;
}

static json_t *or_else(const Call *c, const char *key, json_t *other) {
  json_t *v = json_object_get(c->body, key);
  if (!v || json_is_null(v)) return other;
  json_decref(other);
  return json_incref(v);
}

/* What the response says of its request. */
static json_t *told_of(const Call *c) {
  return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:n,s:s,s:b}", "instructions", or_else(c, "instructions", json_null()), "max_output_tokens",
                   or_else(c, "max_output_tokens", json_null()), "metadata", or_else(c, "metadata", json_object()), "parallel_tool_calls",
                   or_else(c, "parallel_tool_calls", json_true()), "temperature", or_else(c, "temperature", json_real(0.8)), "text",
                   or_else(c, "text", json_pack("{s:{s:s}}", "format", "type", "text")), "tool_choice", or_else(c, "tool_choice", json_string("auto")), "tools",
                   or_else(c, "tools", json_array()), "top_p", or_else(c, "top_p", json_real(0.95)), "previous_response_id", "truncation", "disabled", "store", 0);
}

static bool responses_request(Call *c) {
  static const char *const other[] = {"input", "instructions", "text", "tools", "n", "max_tokens", "max_completion_tokens", "stream_options", "response_format"};
  int most = -1;
  if (!check_rest(c) || !field_int(c, "max_output_tokens", 1, INT32_MAX, &most)) return false;
  json_t *messages = messages_of(c), *chat = messages ? body_without(c, other, sizeof other / sizeof *other) : NULL;
  if (chat) json_object_set(chat, "messages", messages);
  json_decref(messages);
  if (most >= 0) json_object_set_new(chat, "max_tokens", json_integer(most));
  if (!chat || !set_tools(c, chat) || !set_format(c, chat) || !set_logprobs(c, chat)) {
    json_decref(chat);
    return false;
  }
  c->settings = told_of(c);
  json_decref(c->body);
  c->body = chat;
  return chat_request(c);
}

/* ---- replies: the same items and events, told as they come or at the end ---- */

static json_t *response_of(const Call *c, const char *status) {
  const Choice *x = &c->choice[0];
  char id[64];
  snprintf(id, sizeof id, "resp_%s", c->id);
  json_t *o = json_pack("{s:s,s:s,s:I,s:s,s:s,s:s,s:n,s:n,s:O,s:n}", "id", id, "object", "response", "created_at", (json_int_t)c->created, "status", status, "model",
                        call_chip(c)->name, "system_fingerprint", server_hash(c->server, c->chip), "error", "incomplete_details", "output", x->tools, "usage");
  json_object_update(o, c->settings);
  return o;
}

/* Takes o, whose type and number are set here. */
static void tell(Choice *x, const char *type, json_t *o) {
  Call *c = x->call;
  if (!c->stream) {
    json_decref(o);
    return;
  }
  json_object_set_new(o, "type", json_string(type));
  json_object_set_new(o, "sequence_number", json_integer(c->events++));
  call_event(c, type, o);
}

static int item_index(const Choice *x) { return (int)json_array_size(x->tools); }
static json_t *part_of(json_t *text, json_t *probs) { return json_pack("{s:s,s:o,s:[],s:o}", "type", "output_text", "text", text, "annotations", "logprobs", probs); }
static json_t *text_so_far(const Choice *x) { return json_stringn(x->text.s ? x->text.s : "", x->text.n); }

/* An event about the open item; `more` (taken) is added. */
static void tell_item(Choice *x, const char *type, json_t *more) {
  json_object_set(more, "item_id", json_object_get(x->item, "id"));
  json_object_set_new(more, "output_index", json_integer(item_index(x)));
  tell(x, type, more);
}

static void tell_part(Choice *x, const char *type, json_t *more) {
  json_object_set_new(more, "content_index", json_integer(0));
  tell_item(x, type, more);
}

/* Those that no event has told yet. */
static json_t *fresh_probs(Choice *x) {
  json_t *list = json_array();
  for (; x->told < json_array_size(x->probs); x->told++) json_array_append(list, json_array_get(x->probs, x->told));
  return list;
}

static void tell_words(Choice *x, const char *s, size_t n) {
  tell_part(x, "response.output_text.delta", json_pack("{s:o,s:o}", "delta", json_stringn(s, n), "logprobs", fresh_probs(x)));
}

static void close_item(Choice *x, const char *status) {
  if (!x->item) return;
  bool message = text_is(json_text(x->item, "type"), "message");
  if (message && x->told < json_array_size(x->probs)) tell_words(x, "", 0); /* tokens that gave no words of their own */
  json_t *text = text_so_far(x), *probs = x->probs ? x->probs : json_array();
  x->probs = NULL;
  x->told = 0;
  if (message) {
    tell_part(x, "response.output_text.done", json_pack("{s:O,s:O}", "text", text, "logprobs", probs));
    tell_part(x, "response.content_part.done", json_pack("{s:o}", "part", part_of(json_incref(text), json_incref(probs))));
    json_array_append_new(json_object_get(x->item, "content"), part_of(json_incref(text), json_incref(probs)));
  } else {
    tell_item(x, "response.function_call_arguments.done", json_pack("{s:O,s:O}", "arguments", text, "name", json_object_get(x->item, "name")));
    json_object_set(x->item, "arguments", text);
  }
  json_object_set_new(x->item, "status", json_string(status));
  tell(x, "response.output_item.done", json_pack("{s:i,s:O}", "output_index", item_index(x), "item", x->item));
  json_array_append_new(x->tools, x->item);
  x->item = NULL;
  x->text.n = 0;
  json_decref(text);
  json_decref(probs);
}

/* Takes item; none is open. */
static void open_item(Choice *x, const char *prefix, json_t *item) {
  char id[64];
  snprintf(id, sizeof id, "%s_%s_%d", prefix, x->call->id, item_index(x));
  json_object_set_new(item, "id", json_string(id));
  json_object_set_new(item, "status", json_string("in_progress"));
  x->item = item;
  tell(x, "response.output_item.added", json_pack("{s:i,s:o}", "output_index", item_index(x), "item", json_deep_copy(item)));
}

static void open_message(Choice *x) {
  close_item(x, "completed");
  open_item(x, "msg", json_pack("{s:s,s:s,s:[]}", "type", "message", "role", "assistant", "content"));
  tell_part(x, "response.content_part.added", json_pack("{s:o}", "part", part_of(json_string(""), json_array())));
}

static void open_call(Choice *x, const char *name, size_t n) {
  char id[64];
  close_item(x, "completed");
  snprintf(id, sizeof id, "call_%s_%d", x->call->id, item_index(x));
  open_item(x, "fc", json_pack("{s:s,s:s,s:o,s:s}", "type", "function_call", "call_id", id, "name", json_stringn(name, n), "arguments", ""));
}

static bool take_piece(void *arg, ToolPiece piece, int call, const char *s, size_t n) {
  Choice *x = arg;
  Err err = {0};
  (void)call;
  if (piece == TOOL_PIECE_NAME) {
    open_call(x, s, n);
    return true;
  }
  bool words = piece == TOOL_PIECE_TEXT;
  if (words && !text_is(json_text(x->item, "type"), "message")) open_message(x);
  if (!buf_put(&x->text, s, n, &err)) return false;
  if (words) tell_words(x, s, n);
  else tell_item(x, "response.function_call_arguments.delta", json_pack("{s:o}", "delta", json_stringn(s, n)));
  return true;
}

static void begin_stream(Choice *x) {
  Call *c = x->call;
  call_stream_begin(c, "text/event-stream");
  tell(x, "response.created", json_pack("{s:o}", "response", response_of(c, "in_progress")));
  tell(x, "response.in_progress", json_pack("{s:o}", "response", response_of(c, "in_progress")));
}

static void responses_piece(Call *c, Choice *x, const Made *m) {
  Err err = {0};
  if (m->finish == FINISH_ERROR || m->finish == FINISH_CANCELLED) return;
  if (!x->tools) x->tools = json_array();
  if (c->stream && !c->streaming) begin_stream(x);
  if (m->probs) choice_put_probs(x, probs_json(c, m->prob, m->probs));
  if (!tool_parse(&x->parser, m->text.s, m->text.n, m->finish != FINISH_NONE, take_piece, x, &err)) call_err(c, NULL, &err);
  if (!m->finish) return;
  if (!x->item && item_index(x) == 0) open_message(x);
  close_item(x, m->finish == FINISH_LENGTH ? "incomplete" : "completed");
}

static void responses_end(Call *c) {
  Choice *x = &c->choice[0];
  bool failed = call_failed(c), cut = x->finish == FINISH_LENGTH;
  if (failed && !c->streaming) {
    call_send_problem(c);
    return;
  }
  json_t *o = response_of(c, failed ? "failed" : cut ? "incomplete" : "completed"), *usage = usage_of(c);
  if (failed) json_object_set_new(o, "error", json_pack("{s:s,s:s}", "code", "server_error", "message", c->problem.text));
  if (cut && !failed) json_object_set_new(o, "incomplete_details", json_pack("{s:s}", "reason", "max_output_tokens"));
  json_object_set_new(o, "usage", json_pack("{s:O,s:O,s:O,s:{s:i},s:O}", "input_tokens", json_object_get(usage, "prompt_tokens"), "output_tokens",
                                            json_object_get(usage, "completion_tokens"), "input_tokens_details", json_object_get(usage, "prompt_tokens_details"),
                                            "output_tokens_details", "reasoning_tokens", 0, "total_tokens", json_object_get(usage, "total_tokens")));
  json_object_set_new(o, "timings", timings_of(x));
  json_object_set_new(o, "seed", json_integer((json_int_t)x->job->seed));
  json_decref(usage);
  if (!c->streaming) {
    call_send_json(c, 200, o);
    return;
  }
  tell(x, failed ? "response.failed" : cut ? "response.incomplete" : "response.completed", json_pack("{s:o}", "response", o));
  call_stream_end(c);
}

void run_responses(Call *c) {
  static const Style style = {responses_piece, responses_end};
  if (responses_request(c)) call_start(c, &style);
  else call_send_problem(c);
}
