/* serve/prompt: from messages and tools to tokens. */
#include "serve/parts.h"

#include <stdlib.h>
#include <string.h>

bool prompt_of_text(Call *c, Str text, Tokens *out) {
  Err err = {0};
  return tokenizer_encode(call_chip(c)->tokenizer, text, true, true, out, &err) || call_err(c, "prompt", &err);
}

/* The content of a message as one text. */
static bool content_text(Call *c, const json_t *content, Buf *out) {
  Err err = {0};
  size_t i;
  const json_t *part;
  if (!content || json_is_null(content)) return true;
  if (json_is_string(content)) return buf_put(out, json_string_value(content), json_string_length(content), &err) || call_err(c, "messages", &err);
  if (!json_is_array(content)) return call_bad(c, "messages", "messages: content: expected a string or a list of parts");
  json_array_foreach(content, i, part) {
    const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
    if (!json_is_string(type) || strcmp(json_string_value(type), "text") != 0 || !json_is_string(text))
      return call_bad(c, "messages", "messages: content: expected parts of type text, found '%.40s'", json_is_string(type) ? json_string_value(type) : "?");
    if (!buf_put(out, json_string_value(text), json_string_length(text), &err)) return call_err(c, "messages", &err);
  }
  return true;
}

/* Whether a member is a string, null or absent. */
static bool text_or_none(Call *c, const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  return !v || json_is_null(v) || json_is_string(v) || call_bad(c, "messages", "messages: %s: expected a string", key);
}

/* A call of the assistant with its arguments as an object, as templates want it. */
static json_t *call_of(Call *c, const json_t *call) {
  const json_t *function = json_object_get(call, "function"), *name = json_object_get(function, "name"),
               *arguments = json_object_get(function, "arguments");
  if (!json_is_string(name)) {
    call_bad(c, "messages", "messages: tool_calls: expected function.name");
    return NULL;
  }
  if (arguments && !json_is_string(arguments) && !json_is_object(arguments))
    call_bad(c, "messages", "messages: tool_calls: arguments: expected an object, or one as text");
  const json_t *type = json_object_get(call, "type");
  if (type && (!json_is_string(type) || strcmp(json_string_value(type), "function") != 0)) call_bad(c, "messages", "messages: tool_calls: expected type function");
  if (c->problem.status || !text_or_none(c, call, "id")) return NULL;
  json_t *parsed = json_is_string(arguments) ? json_loads(json_string_value(arguments), 0, NULL) : NULL, *o = json_object(), *f = json_object();
  json_object_set(f, "name", (json_t *)(uintptr_t)name);
  if (parsed) json_object_set_new(f, "arguments", parsed);
  else if (json_is_object(arguments)) json_object_set(f, "arguments", (json_t *)(uintptr_t)arguments);
  else json_object_set_new(f, "arguments", json_object());
  json_object_set_new(o, "type", json_string("function"));
  if (json_is_string(json_object_get(call, "id"))) json_object_set(o, "id", json_object_get(call, "id"));
  json_object_set_new(o, "function", f);
  return o;
}

/* Calls as text, for templates that know nothing of them. */
static bool calls_as_text(Call *c, const json_t *calls, Buf *out) {
  Err err = {0};
  size_t i;
  const json_t *call;
  json_array_foreach(calls, i, call) {
    const ToolFrame *f = &tool_frame[TOOLS_HERMES];
    const json_t *function = json_object_get(call, "function");
    char *arguments = json_dumps(json_object_get(function, "arguments"), JSON_ENCODE_ANY);
    bool ok = arguments && buf_printf(out, &err, "%s%s%s%s%s%s", out->n ? "\n" : "", f->open, json_string_value(json_object_get(function, "name")),
                                      f->middle, arguments, f->close);
    free(arguments);
    if (!ok) return call_err(c, "messages", &err);
  }
  return true;
}

static json_t *calls_of(Call *c, const json_t *list) {
  json_t *out = json_array();
  size_t i;
  const json_t *one;
  json_array_foreach(list, i, one) {
    json_t *call = call_of(c, one);
    if (!call) {
      json_decref(out);
      return NULL;
    }
    json_array_append_new(out, call);
  }
  return out;
}

/* One message as the template gets it: role, content, and the fields of tools where the template takes them (`native`). */
static json_t *message_of(Call *c, const json_t *m, bool native) {
  static const char *const roles[] = {"system", "user", "assistant", "tool"};
  const json_t *role_field = json_object_get(m, "role"), *list = json_object_get(m, "tool_calls");
  const char *role = json_is_string(role_field) ? json_string_value(role_field) : "";
  Err err = {0};
  Buf text = {0};
  size_t r = 0;
  if (strcmp(role, "developer") == 0) role = "system";
  if (strcmp(role, "function") == 0) role = "tool";
  while (r < 4 && strcmp(roles[r], role) != 0) r++;
  if (r == 4) {
    call_bad(c, "messages", "messages: role: expected system, user, assistant or tool, found '%.40s'", role);
    return NULL;
  }
  if (!text_or_none(c, m, "name") || !text_or_none(c, m, "tool_call_id")) return NULL;
  if (list && !json_is_null(list) && !json_is_array(list)) {
    call_bad(c, "messages", "messages: tool_calls: expected a list");
    return NULL;
  }
  json_t *calls = json_array_size(list) ? calls_of(c, list) : NULL, *o = NULL;
  bool response = r == 3 && !native, ok = !c->problem.status;
  ok = ok && (!response || buf_printf(&text, &err, "<tool_response>\n")) && content_text(c, json_object_get(m, "content"), &text);
  ok = ok && (!response || buf_printf(&text, &err, "\n</tool_response>")) && (native || !calls || calls_as_text(c, calls, &text));
  if (err.set) call_err(c, "messages", &err);
  if (ok) {
    o = json_object();
    json_object_set_new(o, "role", json_string(response ? "user" : role));
    json_object_set_new(o, "content", json_stringn(text.s ? text.s : "", text.n));
    if (native && calls) json_object_set(o, "tool_calls", calls);
    if (native && r == 3) {
      const char *const keep[] = {"name", "tool_call_id"};
      for (int i = 0; i < 2; i++)
        if (json_is_string(json_object_get(m, keep[i]))) json_object_set(o, keep[i], json_object_get(m, keep[i]));
    }
  }
  json_decref(calls);
  buf_free(&text);
  return o;
}

/* How to call functions, for models whose template does not say. */
static json_t *tools_message(const json_t *tools, const json_t *first) {
  const ToolFrame *f = &tool_frame[TOOLS_HERMES];
  Buf b = {0};
  Err err = {0};
  char *list = json_dumps(tools, 0);
  const char *before = json_string_value(json_object_get(first, "content"));
  bool ok = list && buf_printf(&b, &err,
                               "%s%sYou can call these functions. Their names and the JSON schemas of their arguments:\n<tools>\n%s\n</tools>\n"
                               "To call one, write nothing but\n%sNAME%sARGUMENTS%s",
                               before ? before : "", before ? "\n\n" : "", list, f->open, f->middle, f->close);
  json_t *o = ok ? json_pack("{s:s,s:o}", "role", "system", "content", json_stringn(b.s, b.n)) : NULL;
  free(list);
  buf_free(&b);
  return o;
}

static bool has_role(const json_t *m, const char *role) { return m && strcmp(json_string_value(json_object_get(m, "role")), role) == 0; }

/* A list that ends with the assistant's words: the reply goes on from them, as llama-server does.  They are taken off the list. */
static json_t *take_begun(json_t *messages) {
  size_t n = json_array_size(messages);
  json_t *last = json_array_get(messages, n - 1);
  if (n < 2 || !has_role(last, "assistant") || json_object_get(last, "tool_calls")) return NULL;
  json_incref(last);
  json_array_remove(messages, n - 1);
  return last;
}

static bool render(Call *c, json_t *messages, const json_t *tools, Buf *out, bool *rendered) {
  const ChatTemplate *t = server_template(c->server, c->chip);
  const Vocab *v = &call_chip(c)->chip->vocab;
  Err err = {0};
  bool ok = true;
  size_t i;
  const json_t *m;
  *rendered = t != NULL;
  if (t) {
    json_t *begun = take_begun(messages);
    const json_t *words = json_object_get(begun, "content");
    json_t *bos = v->bos >= 0 ? json_stringn(v->piece[v->bos].s, v->piece[v->bos].n) : json_string(""),
           *eos = v->eos >= 0 ? json_stringn(v->piece[v->eos].s, v->piece[v->eos].n) : json_string("");
    json_t *vars = json_pack("{s:O,s:b,s:o,s:o}", "messages", messages, "add_generation_prompt", 1, "bos_token", bos, "eos_token", eos);
    if (tools) json_object_set(vars, "tools", (json_t *)(uintptr_t)tools);
    char *s = vars ? json_dumps(vars, JSON_COMPACT) : NULL;
    ok = s && template_render_json(t, str_from(s), out, &err) && (!begun || buf_put(out, json_string_value(words), json_string_length(words), &err));
    free(s);
    json_decref(vars);
    json_decref(begun);
  } else {
    json_array_foreach(messages, i, m) {
      const json_t *content = json_object_get(m, "content");
      ok = ok && buf_printf(out, &err, "%s%s", i ? "\n" : "", json_string_value(content));
    }
  }
  if (!ok && !err.set) err_set(&err, "out of memory");
  return ok || call_err(c, "messages", &err);
}

bool text_of_messages(Call *c, const json_t *messages, const json_t *tools, Buf *out, bool *rendered) {
  bool native;
  size_t i;
  const json_t *m;
  if (!json_is_array(messages) || json_array_size(messages) == 0) return call_bad(c, "messages", "messages: expected a list of at least one message");
  tool_format_of(call_chip(c)->chip->vocab.chat_template, &native);
  json_t *list = json_array();
  json_array_foreach(messages, i, m) {
    json_t *o = message_of(c, m, native);
    if (!o) {
      json_decref(list);
      return false;
    }
    json_array_append_new(list, o);
  }
  if (tools && !native) {
    const json_t *first = json_array_get(list, 0);
    bool system = has_role(first, "system");
    json_t *o = tools_message(tools, system ? first : NULL);
    if (system) json_array_set_new(list, 0, o);
    else json_array_insert_new(list, 0, o);
  }
  bool ok = render(c, list, native ? tools : NULL, out, rendered);
  json_decref(list);
  return ok;
}

bool prompt_of_messages(Call *c, const json_t *messages, const json_t *tools, Tokens *out) {
  const Tokenizer *t = call_chip(c)->tokenizer;
  Buf text = {0};
  Err err = {0};
  bool rendered, ok = text_of_messages(c, messages, tools, &text, &rendered);
  if (ok && !(rendered ? tokenizer_encode_chat(t, (Str){text.s, text.n}, out, &err) : tokenizer_encode(t, (Str){text.s, text.n}, false, true, out, &err)))
    ok = call_err(c, "messages", &err);
  buf_free(&text);
  return ok;
}
