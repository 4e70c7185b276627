/* serve/call: one request: problems, replies whole and in pieces, its jobs, its end. */
#include "serve/server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const ServeChip *server_chips(const Server *s, int *n) { return *n = s->chips, s->chip; }
const ServeChip *call_chip(const Call *c) { return &c->server->chip[c->chip]; }
Scheduler *server_scheduler(const Server *s) { return s->scheduler; }
const ServeOptions *server_options(const Server *s) { return s->o; }
double server_started(const Server *s) { return s->started; }
const ChatTemplate *server_template(const Server *s, int chip) { return s->template[chip]; }
const char *server_hash(const Server *s, int chip) { return s->hash[chip]; }
uint64_t server_requests(const Server *s, int status_class) { return s->replies[status_class]; }

/* ---- problems ---- */

static bool set_problem(Call *c, int status, const char *type, const char *param, const char *format, va_list ap) {
  if (c->problem.status) return false;
  c->problem.status = status;
  c->problem.type = type;
  c->problem.param = param;
  vsnprintf(c->problem.text, sizeof c->problem.text, format, ap);
  return false;
}

bool call_bad(Call *c, const char *param, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  set_problem(c, 400, "invalid_request_error", param, format, ap);
  va_end(ap);
  return false;
}

bool call_problem(Call *c, int status, const char *type, const char *param, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  set_problem(c, status, type, param, format, ap);
  va_end(ap);
  return false;
}

bool call_err(Call *c, const char *param, const Err *err) {
  bool memory = strstr(err->text, "out of memory") != NULL;
  return call_problem(c, memory ? 503 : 400, memory ? "server_error" : "invalid_request_error", param, "%s", err->text);
}

/* Text that may hold bytes of the client's which are not UTF-8. */
static json_t *any_text(const char *s) {
  json_t *o = json_string(s);
  if (o) return o;
  char plain[800];
  size_t n = 0;
  for (; s[n] && n + 1 < sizeof plain; n++) plain[n] = (unsigned char)s[n] < 128 ? s[n] : '?';
  plain[n] = 0;
  return json_string(plain);
}

/* Anthropic's names of what goes wrong. */
static const char *anthropic_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return "invalid_request_error";
  }
}

json_t *call_problem_json(const Call *c) {
  json_t *param = c->problem.param ? json_string(c->problem.param) : json_null(), *text = any_text(c->problem.text), *o;
  if (c->route->dialect == DIALECT_NATIVE) {
    if (c->problem.status == 401) {
      json_decref(param);
      json_decref(text);
      return json_pack("{s:s}", "detail", "Unauthorized");
    }
    if (c->problem.status == 400 || c->problem.status == 422)
      return json_pack("{s:[{s:[s,o],s:o,s:s}]}", "detail", "loc", "body", json_is_null(param) ? json_string("body") : param, "msg", text, "type",
                       "value_error");
    json_decref(param);
    return json_pack("{s:o}", "detail", text);
  }
  bool anthropic = c->route->dialect == DIALECT_ANTHROPIC;
  const char *type = anthropic ? anthropic_type(c->problem.status) : c->problem.type;
  o = json_pack("{s:o,s:s,s:o,s:i}", "message", text, "type", type, "param", param, "code", c->problem.status);
  if (c->problem.more) json_object_update(o, c->problem.more);
  return anthropic ? json_pack("{s:s,s:o}", "type", "error", "error", o) : json_pack("{s:o}", "error", o);
}

void call_send_problem(Call *c) {
  int status = c->problem.status;
  if (c->route->dialect == DIALECT_NATIVE && status == 400) status = 422;
  if (c->http && status == 429) evhttp_add_header(evhttp_request_get_output_headers(c->http), "Retry-After", "1");
  if (c->http && status == 401) evhttp_add_header(evhttp_request_get_output_headers(c->http), "WWW-Authenticate", "Bearer");
  call_send_json(c, status, call_problem_json(c));
}

/* ---- replies ---- */

static const char *reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 422: return "Unprocessable Entity";
    case 429: return "Too Many Requests";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    default: return "Error";
  }
}

static void common_headers(Call *c, const char *type) {
  struct evkeyvalq *h = evhttp_request_get_output_headers(c->http);
  if (type) evhttp_add_header(h, "Content-Type", type);
  evhttp_add_header(h, "X-Content-Type-Options", "nosniff");
  if (c->server->o->cors) evhttp_add_header(h, "Access-Control-Allow-Origin", c->server->o->cors);
}

void utc_text(time_t t, char out[UTC_TEXT]) {
  struct tm tm;
  strftime(out, UTC_TEXT, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
}

/* One line a request; nothing of what was asked or answered. */
static void log_call(const Call *c) {
  char when[UTC_TEXT];
  int prompt = 0, written = 0;
  for (int i = 0; i < c->choices; i++) prompt += c->choice[i].counts.prompt, written += c->choice[i].counts.written;
  utc_text(time(NULL), when);
  fprintf(stderr, "%s %s %s %d %.1f ms", when, c->route->method[0] ? c->route->method : "-", c->route->path[0] ? c->route->path : "-", c->status,
          1e3 * (now_seconds() - c->began));
  if (prompt) fprintf(stderr, " %d+%d tokens", prompt, written);
  fputc('\n', stderr);
}

static void on_close(struct evhttp_connection *connection, void *arg) {
  Call *c = arg;
  (void)connection;
  if (!evhttp_request_get_connection(c->http)) evhttp_request_free(c->http); /* evhttp has let go of a request that was being answered */
  c->http = NULL;
  if (c->hangup) event_free(c->hangup); /* before the descriptor goes */
  c->hangup = NULL;
  c->status = 499; /* as nginx calls a client that left */
  for (int i = 0; i < c->choices; i++)
    if (c->choice[i].job) atomic_store(&c->choice[i].job->cancelled, true);
}

/* evhttp reads nothing while a request is answered, so it would see only at the end that the client has gone. */
static void on_hangup(evutil_socket_t fd, short what, void *arg) {
  Call *c = arg;
  (void)fd;
  (void)what;
  if (c->http) evhttp_connection_free(evhttp_request_get_connection(c->http)); /* comes back through on_close */
}

static void watch(Call *c, bool on) {
  struct evhttp_connection *connection = evhttp_request_get_connection(c->http);
  evhttp_connection_set_closecb(connection, on ? on_close : NULL, on ? c : NULL);
  if (on) {
    c->hangup = event_new(c->server->base, bufferevent_getfd(evhttp_connection_get_bufferevent(connection)), EV_CLOSED, on_hangup, c);
    if (c->hangup) event_add(c->hangup, NULL);
  } else if (c->hangup) {
    event_free(c->hangup);
    c->hangup = NULL;
  }
}

/* A reply is on its way until its last byte is written or its client is gone: the server does not end before. */
static void reply_gone(Server *s) {
  s->sending--;
  if (s->draining && s->active + s->sending == 0) event_base_loopbreak(s->base);
}

static void on_lost(struct evhttp_connection *connection, void *arg) {
  (void)connection;
  reply_gone(arg);
}

static void on_sent(struct evhttp_request *http, void *arg) {
  evhttp_connection_set_closecb(evhttp_request_get_connection(http), NULL, NULL);
  reply_gone(arg);
}

static void will_send(Call *c) {
  watch(c, false);
  c->server->sending++;
  evhttp_connection_set_closecb(evhttp_request_get_connection(c->http), on_lost, c->server);
  evhttp_request_set_on_complete_cb(c->http, on_sent, c->server);
}

void call_send(Call *c, int status, const char *type, const void *bytes, size_t n) {
  if (c->http) {
    struct evbuffer *b = evbuffer_new();
    will_send(c);
    common_headers(c, type);
    c->status = status;
    if (b) evbuffer_add(b, bytes, n);
    evhttp_send_reply(c->http, status, reason_of(status), b);
    if (b) evbuffer_free(b);
    c->http = NULL;
  }
  call_free(c);
}

void call_send_json(Call *c, int status, json_t *o) {
  char *s = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(o);
  if (s) call_send(c, status, "application/json", s, strlen(s));
  else call_send(c, 503, "text/plain", "out of memory", 13);
  free(s);
}

void call_stream_begin(Call *c, const char *type) {
  common_headers(c, type);
  evhttp_add_header(evhttp_request_get_output_headers(c->http), "Cache-Control", "no-cache");
  evhttp_add_header(evhttp_request_get_output_headers(c->http), "X-Accel-Buffering", "no");
  c->status = 200;
  c->streaming = true;
  evhttp_send_reply_start(c->http, 200, "OK");
}

void call_stream_put(Call *c, const char *s, size_t n) {
  struct evbuffer *b = n ? evbuffer_new() : NULL;
  if (!b) return;
  evbuffer_add(b, s, n);
  evhttp_send_reply_chunk(c->http, b);
  evbuffer_free(b);
}

void call_event(Call *c, const char *name, json_t *o) {
  char *s = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
  struct evbuffer *b = evbuffer_new();
  json_decref(o);
  if (s && b) {
    if (name) evbuffer_add_printf(b, "event: %s\n", name);
    evbuffer_add_printf(b, "data: %s\n\n", s);
    evhttp_send_reply_chunk(c->http, b);
  }
  if (b) evbuffer_free(b);
  free(s);
}

void call_stream_end(Call *c) {
  will_send(c);
  evhttp_send_reply_end(c->http);
  c->http = NULL;
  call_free(c);
}

/* ---- jobs ---- */

Choice *call_add_choices(Call *c, int n) {
  Err err = {0};
  c->choice = mem_alloc((size_t)n, sizeof *c->choice, &err);
  if (!c->choice) {
    call_err(c, NULL, &err);
    return NULL;
  }
  c->choices = n;
  for (int i = 0; i < n; i++) c->choice[i].call = c;
  return c->choice;
}

void call_trigger(Call *c, const ToolParser *p) {
  for (int i = 0; i < c->choices; i++) {
    c->choice[i].job->trigger = p->format == TOOLS_HERMES ? "<tool_call>" : tool_frame[TOOLS_LLAMA3].open;
    c->choice[i].job->trigger_anywhere = p->anywhere;
  }
}

bool call_failed(Call *c) {
  for (int i = 0; i < c->choices; i++) {
    const Choice *x = &c->choice[i];
    if (x->finish == FINISH_CANCELLED) call_problem(c, 503, "server_error", NULL, "the server is shutting down");
    else if (x->finish == FINISH_ERROR) call_err(c, NULL, &x->job->err);
  }
  return c->problem.status != 0;
}

void call_start(Call *c, const Style *style) {
  Err err = {0};
  Job **jobs = mem_alloc((size_t)c->choices, sizeof *jobs, &err);
  if (!jobs) {
    call_err(c, NULL, &err);
    call_send_problem(c);
    return;
  }
  for (int i = 0; i < c->choices; i++) jobs[i] = c->choice[i].job;
  c->style = style;
  c->open = c->choices;
  watch(c, true);
  bool room = scheduler_add(c->server->scheduler, jobs, c->choices);
  mem_free(jobs);
  if (room) return;
  call_problem(c, 429, "rate_limit_error", NULL, "the queue is full: %d requests wait", c->server->o->queue);
  call_send_problem(c);
}

void call_free(Call *c) {
  Server *s = c->server;
  log_call(c);
  s->replies[c->status / 100 < 6 ? c->status / 100 : 0]++;
  for (int i = 0; i < c->choices; i++) {
    Choice *x = &c->choice[i];
    job_free(x->job);
    buf_free(&x->text);
    json_decref(x->probs);
    json_decref(x->tools);
    json_decref(x->item);
    tool_parser_free(&x->parser);
  }
  mem_free(c->choice);
  if (c->matcher) release_matcher(s, c->matcher);
  json_decref(c->body);
  json_decref(c->tools);
  json_decref(c->echoed);
  json_decref(c->settings);
  json_decref(c->problem.more);
  *c->before = c->next;
  if (c->next) c->next->before = c->before;
  mem_free(c);
  s->active--;
  if (s->draining && s->active + s->sending == 0) event_base_loopbreak(s->base);
}

/* ---- matchers: kept while requests use them, and some longer, since the next request often asks for the same ---- */

enum { MATCHER_STATES = 20000 }; /* a matcher with more is not kept */

static void drop_matcher(KeptMatcher *k) {
  buf_free(&k->key);
  matcher_free(k->matcher);
  *k = (KeptMatcher){0};
}

void free_matchers(Server *s) {
  for (int i = 0; i < MATCHERS; i++) drop_matcher(&s->matcher[i]);
}

void release_matcher(Server *s, const Matcher *m) {
  for (int i = 0; i < MATCHERS; i++) {
    KeptMatcher *k = &s->matcher[i];
    if (k->matcher != m) continue;
    if (--k->users == 0 && matcher_states(m) > MATCHER_STATES) drop_matcher(k);
    return;
  }
}

Matcher *call_matcher(Call *c, const char *kind, const json_t *of, Grammar *(*make)(const json_t *of, Err *err)) {
  Server *s = c->server;
  Err err = {0};
  Buf key = {0};
  KeptMatcher *k = NULL;
  char *text = json_dumps(of, JSON_COMPACT | JSON_ENCODE_ANY);
  bool ok = text && buf_printf(&key, &err, "%d %s ", c->chip, kind) && buf_put(&key, text, strlen(text), &err);
  free(text);
  for (int i = 0; ok && i < MATCHERS; i++) {
    KeptMatcher *x = &s->matcher[i];
    if (x->matcher && str_eq((Str){x->key.s, x->key.n}, (Str){key.s, key.n})) {
      buf_free(&key);
      x->users++;
      x->used = ++s->clock;
      return c->matcher = x->matcher;
    }
    if (x->users == 0 && (!k || !x->matcher || (k->matcher && x->used < k->used))) k = x;
  }
  Grammar *g = ok && k ? make(of, &err) : NULL;
  Matcher *m = matcher_new(g, s->trie[c->chip], &err);
  if (!m) {
    buf_free(&key);
    if (!k) call_problem(c, 429, "rate_limit_error", kind, "too many grammars are in use");
    else call_err(c, kind, &err);
    return NULL;
  }
  drop_matcher(k);
  *k = (KeptMatcher){key, m, 1, ++s->clock};
  return c->matcher = m;
}
