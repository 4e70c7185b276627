/* serve/messages: Anthropic's Messages: a request becomes a chat's, what comes of it a list of content blocks and the events that tell
 * of them.
 */
#include "serve/parts.h"

#include <stdio.h>
#include <string.h>

/* ---- requests ---- */

/* Content (a string, or blocks of type text) as a chat's parts; NULL after a problem. */
static json_t *parts_of(Call *c, const char *key, const json_t *content) {
  json_t *parts = json_array();
  const json_t *block;
  size_t i;
  if (json_is_string(content)) json_array_append_new(parts, text_part(content));
  else if (content && !json_is_array(content)) call_bad(c, key, "%s: content: expected a string or a list of blocks", key);
  json_array_foreach(content, i, block) {
    const json_t *text = json_object_get(block, "text");
    if (!text_is(json_text(block, "type"), "text") || !json_is_string(text)) {
      const char *type = json_text(block, "type");
      call_bad(c, key, "%s: content: expected blocks of type text, found '%.40s'", key, type ? type : "?");
      break;
    }
    json_array_append_new(parts, text_part(text));
  }
  if (!c->problem.status) return parts;
  json_decref(parts);
  return NULL;
}

/* A message of what `parts` holds so far, which is then empty; none where nothing is in it. */
static void put_words(json_t *messages, const char *role, json_t *parts) {
  if (json_array_size(parts) == 0) return;
  json_array_append_new(messages, json_pack("{s:s,s:o}", "role", role, "content", json_copy(parts)));
  json_array_clear(parts);
}

static bool put_result(Call *c, const json_t *block, json_t *messages) {
  const char *id = json_text(block, "tool_use_id");
  if (!id) return call_bad(c, "messages", "messages: tool_result: expected tool_use_id, a string");
  json_t *words = parts_of(c, "messages", json_object_get(block, "content"));
  if (!words) return false;
  json_array_append_new(messages, json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", id, "content", words));
  return true;
}

static bool put_use(Call *c, const json_t *block, json_t *calls) {
  const char *id = json_text(block, "id"), *name = json_text(block, "name");
  const json_t *input = json_object_get(block, "input");
  if (!id || !name || !json_is_object(input)) return call_bad(c, "messages", "messages: tool_use: expected id and name, strings, and input, an object");
  json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:O}}", "id", id, "type", "function", "function", "name", name, "arguments", input));
  return true;
}

static bool put_block(Call *c, const json_t *block, bool user, json_t *parts, json_t *calls, json_t *messages) {
  const char *type = json_text(block, "type");
  if (text_is(type, "text") && json_is_string(json_object_get(block, "text")))
    return json_array_append_new(parts, text_part(json_object_get(block, "text"))) == 0;
  if (!user && (text_is(type, "thinking") || text_is(type, "redacted_thinking"))) return true; /* of another model: not for this one's eyes */
  if (!user && text_is(type, "tool_use")) return put_use(c, block, calls);
  if (user && text_is(type, "tool_result")) {
    put_words(messages, "user", parts);
    return put_result(c, block, messages);
  }
  return call_bad(c, "messages", "messages: content: expected blocks of type text, tool_use (assistant) and tool_result (user), found '%.40s'", type ? type : "?");
}

static void put_message(Call *c, const json_t *message, json_t *messages) {
  const char *role = json_text(message, "role");
  const json_t *content = json_object_get(message, "content"), *block;
  bool user = text_is(role, "user");
  size_t i;
  if (!user && !text_is(role, "assistant")) call_bad(c, "messages", "messages: role: expected user or assistant, found '%.40s'", role ? role : "?");
  else if (!json_is_string(content) && !json_is_array(content)) call_bad(c, "messages", "messages: content: expected a string or a list of blocks");
  if (c->problem.status) return;
  if (json_is_string(content)) {
    json_array_append_new(messages, json_pack("{s:s,s:O}", "role", role, "content", content));
    return;
  }
  json_t *parts = json_array(), *calls = json_array();
  json_array_foreach(content, i, block) if (!put_block(c, block, user, parts, calls, messages)) break;
  if (json_array_size(calls)) {
    json_t *words = json_array_size(parts) ? json_incref(parts) : json_null();
    json_array_append_new(messages, json_pack("{s:s,s:o,s:O}", "role", role, "content", words, "tool_calls", calls));
  } else {
    put_words(messages, role, parts);
  }
  json_decref(parts);
  json_decref(calls);
}

static bool set_messages(Call *c, json_t *chat) {
  const json_t *system = field(c, "system"), *list = field(c, "messages"), *message;
  json_t *messages = json_array(), *words;
  size_t i;
  if (!list) call_bad(c, "messages", "messages is missing");
  else if (!json_is_array(list) || json_array_size(list) == 0) call_bad(c, "messages", "messages: expected a list of at least one message");
  else if (system && (words = parts_of(c, "system", system))) {
    put_words(messages, "system", words);
    json_decref(words);
  }
  json_array_foreach(list, i, message) {
    if (c->problem.status) break;
    put_message(c, message, messages);
  }
  json_object_set_new(chat, "messages", messages);
  return !c->problem.status;
}

/* name, description and input_schema of a tool are those of a chat's function. */
static bool set_tools(Call *c, json_t *chat) {
  const json_t *tools = field(c, "tools"), *tool;
  size_t i;
  if (tools && !json_is_array(tools)) return call_bad(c, "tools", "tools: expected a list");
  if (tools) json_object_set_new(chat, "tools", json_array());
  json_array_foreach(tools, i, tool) {
    const json_t *type = json_object_get(tool, "type"), *schema = json_object_get(tool, "input_schema");
    if (type && !json_is_null(type) && !text_is(json_string_value(type), "custom"))
      return call_bad(c, "tools", "tools: expected tools of the client's (type custom), found '%.40s'", json_is_string(type) ? json_string_value(type) : "?");
    if (!json_is_object(schema)) return call_bad(c, "tools", "tools: expected input_schema, a JSON schema");
    json_t *function = json_pack("{s:O,s:O?,s:O,s:O?}", "name", json_object_get(tool, "name"), "description", json_object_get(tool, "description"), "parameters",
                                 schema, "strict", json_object_get(tool, "strict"));
    if (!function) return call_bad(c, "tools", "tools: expected a name");
    json_array_append_new(json_object_get(chat, "tools"), json_pack("{s:s,s:o}", "type", "function", "function", function));
  }
  return true;
}

static bool set_tool_choice(Call *c, json_t *chat) {
  const json_t *choice = field(c, "tool_choice"), *name = json_object_get(choice, "name"), *alone = json_object_get(choice, "disable_parallel_tool_use");
  const char *type = json_text(choice, "type");
  if (!choice) return true;
  if (alone && !json_is_null(alone) && !json_is_boolean(alone))
    return call_bad(c, "tool_choice", "tool_choice: disable_parallel_tool_use: expected true or false");
  if (json_is_true(alone)) json_object_set_new(chat, "parallel_tool_calls", json_false());
  if (text_is(type, "auto") || text_is(type, "none")) return json_object_set_new(chat, "tool_choice", json_string(type)) == 0;
  if (text_is(type, "any")) return json_object_set_new(chat, "tool_choice", json_string("required")) == 0;
  if (!text_is(type, "tool") || !json_is_string(name)) return call_bad(c, "tool_choice", "tool_choice: expected an object of type auto, any, none, or tool with a name");
  return json_object_set_new(chat, "tool_choice", json_pack("{s:s,s:{s:O}}", "type", "function", "function", "name", name)) == 0;
}

/* output_config.format, and output_format as it was called before. */
static bool set_format(Call *c, json_t *chat) {
  const json_t *config = field(c, "output_config"), *format = field(c, "output_format");
  if (config && !json_is_object(config)) return call_bad(c, "output_config", "output_config: expected an object");
  if (config && json_object_get(config, "format")) format = json_object_get(config, "format");
  if (!format || json_is_null(format)) return true;
  const json_t *schema = json_object_get(format, "schema");
  if (!text_is(json_text(format, "type"), "json_schema") || !json_is_object(schema))
    return call_bad(c, "output_config", "output_config.format: expected type json_schema and a schema");
  json_object_set_new(chat, "response_format", json_pack("{s:s,s:{s:O}}", "type", "json_schema", "json_schema", "schema", schema));
  return true;
}

static bool set_stops(Call *c, json_t *chat) {
  json_t *stops = json_object_get(c->body, "stop_sequences"), *one;
  size_t i;
  if (!stops || json_is_null(stops)) return true;
  if (!json_is_array(stops) || json_array_size(stops) > MOST_STOPS)
    return call_bad(c, "stop_sequences", "stop_sequences: expected a list of at most %d strings", MOST_STOPS);
  json_array_foreach(stops, i, one) if (!json_is_string(one)) return call_bad(c, "stop_sequences", "stop_sequences: expected strings");
  json_object_set(chat, "stop", stops);
  return true;
}

/* The body becomes a chat's. */
static bool chat_of_messages(Call *c) {
  static const char *const other[] = {"system", "tools", "tool_choice", "parallel_tool_calls", "stop", "stop_sequences", "n", "max_completion_tokens",
                                      "stream_options", "response_format", "output_config", "output_format", "logprobs", "top_logprobs"};
  json_t *chat = body_without(c, other, sizeof other / sizeof *other);
  if (!chat || !set_messages(c, chat) || !set_tools(c, chat) || !set_tool_choice(c, chat) || !set_format(c, chat) || !set_stops(c, chat)) {
    json_decref(chat);
    return false;
  }
  json_decref(c->body);
  c->body = chat;
  return true;
}

/* ---- replies ---- */

/* Tokens that were read from the cache are not among input_tokens. */
static json_t *message_usage(const Call *c) {
  const JobCounts *t = &c->choice[0].counts;
  return json_pack("{s:i,s:i,s:i,s:i}", "input_tokens", t->prompt - t->cached, "cache_creation_input_tokens", 0, "cache_read_input_tokens", t->cached,
                   "output_tokens", t->written);
}

/* stop_reason and stop_sequence */
static json_t *stop_of(const Choice *x) {
  const char *why = x->finish == FINISH_NONE ? NULL
                    : x->finish == FINISH_LENGTH ? "max_tokens"
                    : x->finish == FINISH_STOP_STRING ? "stop_sequence"
                    : x->parser.calls ? "tool_use" : "end_turn";
  return json_pack("{s:s?,s:s?}", "stop_reason", why, "stop_sequence", x->finish == FINISH_STOP_STRING ? x->job->stop[x->job->stopped_by] : NULL);
}

static json_t *message_of(const Call *c, json_t *content) {
  const Choice *x = &c->choice[0];
  char id[64];
  snprintf(id, sizeof id, "msg_%s", c->id);
  json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:s,s:I}", "id", id, "type", "message", "role", "assistant", "model", call_chip(c)->name, "content", content,
                        "usage", message_usage(c), "system_fingerprint", server_hash(c->server, c->chip), "seed", (json_int_t)x->job->seed),
         *stop = stop_of(x);
  json_object_update(o, stop);
  json_decref(stop);
  return o;
}

/* Takes o, whose type is set here. */
static void tell(Call *c, const char *type, json_t *o) {
  if (!c->stream) {
    json_decref(o);
    return;
  }
  json_object_set_new(o, "type", json_string(type));
  call_event(c, type, o);
}

static int block_index(const Choice *x) { return (int)json_array_size(x->tools); }

/* What the open block has of text or arguments goes into it. */
static void close_block(Choice *x) {
  if (!x->item) return;
  bool words = text_is(json_text(x->item, "type"), "text");
  json_t *input = words ? NULL : json_loadb(x->text.s ? x->text.s : "", x->text.n, 0, NULL);
  if (words) json_object_set_new(x->item, "text", json_stringn(x->text.s ? x->text.s : "", x->text.n));
  else if (input) json_object_set_new(x->item, "input", input); /* cut off by max_tokens it is no object: as it was opened */
  tell(x->call, "content_block_stop", json_pack("{s:i}", "index", block_index(x)));
  json_array_append_new(x->tools, x->item);
  x->item = NULL;
  x->text.n = 0;
}

/* Takes block. */
static void open_block(Choice *x, json_t *block) {
  close_block(x);
  x->item = block;
  tell(x->call, "content_block_start", json_pack("{s:i,s:o}", "index", block_index(x), "content_block", json_deep_copy(block)));
}

static bool take_piece(void *arg, ToolPiece piece, int call, const char *s, size_t n) {
  Choice *x = arg;
  Err err = {0};
  char id[64];
  if (piece == TOOL_PIECE_NAME) {
    snprintf(id, sizeof id, "toolu_%s_%d", x->call->id, call);
    open_block(x, json_pack("{s:s,s:s,s:o,s:{}}", "type", "tool_use", "id", id, "name", json_stringn(s, n), "input"));
    return true;
  }
  bool words = piece == TOOL_PIECE_TEXT;
  if (words && !text_is(json_text(x->item, "type"), "text")) open_block(x, json_pack("{s:s,s:s}", "type", "text", "text", ""));
  json_t *delta = json_pack("{s:s,s:o}", "type", words ? "text_delta" : "input_json_delta", words ? "text" : "partial_json", json_stringn(s, n));
  tell(x->call, "content_block_delta", json_pack("{s:i,s:o}", "index", block_index(x), "delta", delta));
  return buf_put(&x->text, s, n, &err);
}

static void messages_piece(Call *c, Choice *x, const Made *m) {
  Err err = {0};
  if (m->finish == FINISH_ERROR || m->finish == FINISH_CANCELLED) return;
  if (!x->tools) x->tools = json_array();
  if (c->stream && !c->streaming) {
    call_stream_begin(c, "text/event-stream");
    tell(c, "message_start", json_pack("{s:o}", "message", message_of(c, json_array())));
  }
  if (!tool_parse(&x->parser, m->text.s, m->text.n, m->finish != FINISH_NONE, take_piece, x, &err)) call_err(c, NULL, &err);
  if (m->finish) close_block(x);
}

static void messages_end(Call *c) {
  Choice *x = &c->choice[0];
  bool failed = call_failed(c);
  if (failed && !c->streaming) {
    call_send_problem(c);
    return;
  }
  if (!c->streaming) {
    json_t *o = message_of(c, json_incref(x->tools));
    json_object_set_new(o, "timings", timings_of(x));
    call_send_json(c, 200, o);
    return;
  }
  if (failed) {
    tell(c, "error", call_problem_json(c));
  } else {
    tell(c, "message_delta", json_pack("{s:o,s:o,s:o}", "delta", stop_of(x), "usage", message_usage(c), "timings", timings_of(x)));
    tell(c, "message_stop", json_object());
  }
  call_stream_end(c);
}

void run_messages(Call *c) {
  static const Style style = {messages_piece, messages_end};
  int most = 0;
  bool ok = field_int(c, "max_tokens", 1, INT32_MAX, &most) && (most || call_bad(c, "max_tokens", "max_tokens is missing"));
  if (ok && chat_of_messages(c) && chat_request(c)) call_start(c, &style);
  else call_send_problem(c);
}

void run_count_tokens(Call *c) {
  Wishes w = {0};
  ToolParser parser;
  Tokens prompt = {0};
  bool forced;
  bool ok = chat_of_messages(c) && call_model(c, "model") && use_tools(c, &w, &parser, &forced) &&
            prompt_of_messages(c, field(c, "messages"), c->tools ? field(c, "tools") : NULL, &prompt);
  json_t *o = ok ? json_pack("{s:i}", "input_tokens", (int)prompt.n) : NULL;
  tokens_free(&prompt);
  if (ok) call_send_json(c, 200, o);
  else call_send_problem(c);
}
