/* serve/server: the HTTP side's loop: connections, routes, keys, limits, the embedded page, signals. */
#include "serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  MOST_HEADERS = 32 << 10, MOST_BODY = 16 << 20, MOST_DEPTH = 64, SILENCE_SECONDS = 60, ARRIVE_SECONDS = 30, ARRIVE_RATE = 32 << 10,
  DRAIN_SECONDS = 30,
};
static const double DRAIN_APART = 0.004; /* seconds between two deliveries of text, so that fast chips do not drown in packets */

static const Route route[] = {
    {"POST", "/v1/chat/completions", DIALECT_OPENAI, false, run_chat, false},
    {"POST", "/chat/completions", DIALECT_OPENAI, false, run_chat, false},
    {"POST", "/v1/responses", DIALECT_OPENAI, false, run_responses, false},
    {"POST", "/responses", DIALECT_OPENAI, false, run_responses, false},
    {"POST", "/v1/messages", DIALECT_ANTHROPIC, false, run_messages, false},
    {"POST", "/v1/messages/count_tokens", DIALECT_ANTHROPIC, false, run_count_tokens, false},
    {"POST", "/v1/completions", DIALECT_OPENAI, false, run_completion, false},
    {"POST", "/completions", DIALECT_OPENAI, false, run_completion, false},
    {"POST", "/v1/embeddings", DIALECT_OPENAI, false, run_embeddings, false},
    {"POST", "/embeddings", DIALECT_OPENAI, false, run_embeddings, false},
    {"GET", "/v1/models", DIALECT_OPENAI, false, run_models, false},
    {"GET", "/v1/models/", DIALECT_OPENAI, false, run_model, false},
    {"POST", "/completion", DIALECT_OPENAI, false, run_llama_completion, false},
    {"POST", "/apply-template", DIALECT_OPENAI, false, run_apply_template, false},
    {"POST", "/tokenize", DIALECT_OPENAI, false, run_tokenize, false},
    {"POST", "/detokenize", DIALECT_OPENAI, false, run_detokenize, false},
    {"GET", "/health", DIALECT_OPENAI, true, run_health, false},
    {"GET", "/v1/health", DIALECT_OPENAI, true, run_health, false},
    {"GET", "/props", DIALECT_OPENAI, false, run_props, false},
    {"GET", "/slots", DIALECT_OPENAI, false, run_slots, false},
    {"POST", "/slots/", DIALECT_OPENAI, false, run_slot, true},
    {"GET", "/metrics", DIALECT_OPENAI, false, run_metrics, false},
    {"POST", "/generate", DIALECT_NATIVE, false, run_generate, false},
    {"GET", "/models", DIALECT_NATIVE, false, run_native_models, false},
    {"POST", "/api/chat", DIALECT_NATIVE, false, run_talk, false},
    {"GET", "/api/models", DIALECT_NATIVE, false, run_talk_models, false},
    {"GET", "/api/health", DIALECT_NATIVE, true, run_native_health, false},
};
enum { ROUTES = sizeof route / sizeof *route };

/* The files of web/, put into the program by tools/embed.sh. */
typedef struct {
  const char *name;
  const char *from, *to;
} WebFile;
extern const WebFile web_file[];
extern const int web_files;

/* ---- keys: compared as digests, in constant time ---- */

static bool read_keys(Server *s, Err *err) {
  Buf text = {0};
  uint8_t(*key)[32] = NULL;
  size_t n = 0;
  if (!s->o->key_file) return true;
  bool ok = file_read_all(s->o->key_file, 1 << 20, &text, err);
  for (size_t i = 0, end; ok && i < text.n; i = end + 1) {
    for (end = i; end < text.n && text.s[end] != '\n'; end++) {}
    size_t m = end - i;
    while (m && strchr(" \t\r", text.s[i + m - 1])) m--;
    if (m == 0 || text.s[i] == '#') continue;
    uint8_t(*more)[32] = mem_grow(key, n * 32, (n + 1) * 32, err);
    ok = more && sha256(text.s + i, m, more[n], err);
    if (more) key = more;
    n += ok;
  }
  if (ok && n == 0) ok = err_set(err, "%s: expected one API key a line, found none", s->o->key_file);
  if (text.s) OPENSSL_cleanse(text.s, text.n);
  buf_free(&text);
  if (!ok) {
    mem_free(key);
    return false;
  }
  mem_free(s->key);
  s->key = key;
  s->keys = n;
  return true;
}

static const char *key_of(const struct evkeyvalq *headers) {
  const char *h = evhttp_find_header(headers, "Authorization");
  if (h && strncasecmp(h, "Bearer ", 7) == 0) return h + 7;
  h = evhttp_find_header(headers, "X-API-Key");
  return h ? h : evhttp_find_header(headers, "api-key");
}

/* Also tells clients apart: by key, else by address. */
static bool allowed(Call *c) {
  const Server *s = c->server;
  const char *key = key_of(evhttp_request_get_input_headers(c->http));
  char *address = NULL;
  ev_uint16_t port;
  uint8_t digest[32];
  Err err = {0};
  if (s->keys == 0) {
    evhttp_connection_get_peer(evhttp_request_get_connection(c->http), &address, &port);
    c->client = address ? checksum64(address, strlen(address)) : 0;
    return true;
  }
  bool known = false;
  if (!key || !sha256(key, strlen(key), digest, &err)) return false;
  for (size_t i = 0; i < s->keys; i++) known |= CRYPTO_memcmp(s->key[i], digest, 32) == 0;
  memcpy(&c->client, digest, sizeof c->client);
  return known;
}

/* ---- requests that arrive too slowly: evhttp's timeout counts from the last byte, this one from the first ---- */

static Arrival *arrival_of(Server *s, const struct bufferevent *bev) {
  return &s->arrival[(size_t)((uintptr_t)bev >> 4) * 2654435761u % ARRIVALS];
}

static void on_bytes(struct evbuffer *buffer, const struct evbuffer_cb_info *info, void *arg) {
  struct bufferevent *bev = arg;
  (void)buffer;
  if (!info->n_added || !the_server) return;
  Arrival *a = arrival_of(the_server, bev);
  double now = now_seconds();
  if (a->who != bev || a->began == 0) *a = (Arrival){bev, now, 0};
  a->bytes += info->n_added;
  if (now - a->began > ARRIVE_SECONDS + (double)a->bytes / ARRIVE_RATE) shutdown(bufferevent_getfd(bev), SHUT_RDWR);
}

static struct bufferevent *new_connection(struct event_base *base, void *arg) {
  (void)arg;
  struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
  if (bev) {
    *arrival_of(the_server, bev) = (Arrival){0};
    evbuffer_add_cb(bufferevent_get_input(bev), on_bytes, bev);
  }
  return bev;
}

/* ---- the page ---- */

static bool send_file(Call *c, const char *path) {
  static const char *const type[][2] = {{".html", "text/html; charset=utf-8"}, {".css", "text/css; charset=utf-8"},
                                        {".js", "text/javascript; charset=utf-8"}, {".svg", "image/svg+xml"},
                                        {".json", "application/json"}};
  const char *name = strcmp(path, "/") == 0 ? "index.html" : path + 1;
  for (int i = 0; i < web_files; i++) {
    if (strcmp(web_file[i].name, name) != 0) continue;
    const char *kind = "application/octet-stream";
    for (size_t k = 0; k < sizeof type / sizeof *type; k++)
      if (str_ends(str_from(name), str_from(type[k][0]))) kind = type[k][1];
    struct evkeyvalq *h = evhttp_request_get_output_headers(c->http);
    evhttp_add_header(h, "Content-Security-Policy",
                      "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    evhttp_add_header(h, "Referrer-Policy", "no-referrer");
    evhttp_add_header(h, "Cache-Control", "no-cache");
    call_send(c, 200, kind, web_file[i].from, (size_t)(web_file[i].to - web_file[i].from));
    return true;
  }
  return false;
}

/* ---- from request to handler ---- */

static const char *method_of(const struct evhttp_request *r) {
  switch (evhttp_request_get_command(r)) {
    case EVHTTP_REQ_GET: return "GET";
    case EVHTTP_REQ_HEAD: return "HEAD";
    case EVHTTP_REQ_POST: return "POST";
    case EVHTTP_REQ_OPTIONS: return "OPTIONS";
    case EVHTTP_REQ_PUT: return "PUT";
    case EVHTTP_REQ_DELETE: return "DELETE";
    case EVHTTP_REQ_PATCH: return "PATCH";
    case EVHTTP_REQ_TRACE: return "TRACE";
    default: return "CONNECT";
  }
}

/* NULL: none; *other: a route of that path has another method, which is this. */
static const Route *find_route(const char *method, const char *path, const Route **other) {
  *other = NULL;
  for (int i = 0; i < ROUTES; i++) {
    size_t n = strlen(route[i].path);
    bool below = n > 1 && route[i].path[n - 1] == '/';
    if (below ? strncmp(path, route[i].path, n) != 0 || !path[n] : strcmp(path, route[i].path) != 0) continue;
    if (strcmp(method, route[i].method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route[i].method, "GET") == 0)) return &route[i];
    *other = &route[i];
  }
  return NULL;
}

static bool too_deep(const char *s, size_t n) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < n; i++) {
    if (quoted) {
      if (s[i] == '\\') i++;
      else quoted = s[i] != '"';
    } else if (s[i] == '"') {
      quoted = true;
    } else if (s[i] == '[' || s[i] == '{') {
      if (++depth > MOST_DEPTH) return true;
    } else if (s[i] == ']' || s[i] == '}') {
      depth--;
    }
  }
  return false;
}

static bool read_body(Call *c) {
  struct evbuffer *in = evhttp_request_get_input_buffer(c->http);
  size_t n = evbuffer_get_length(in);
  const char *s = (const char *)evbuffer_pullup(in, -1);
  json_error_t e;
  if (n == 0 && c->route->may_be_empty) return true;
  if (n == 0) return call_bad(c, NULL, "the body is empty: expected a JSON object");
  if (too_deep(s, n)) return call_bad(c, NULL, "the body nests more than %d deep", MOST_DEPTH);
  c->body = json_loadb(s, n, JSON_REJECT_DUPLICATES, &e);
  if (!c->body) return call_bad(c, NULL, "the body is not JSON: line %d, column %d: %s", e.line, e.column, e.text);
  if (!json_is_object(c->body)) return call_bad(c, NULL, "the body: expected a JSON object");
  return true;
}

static const char *allow_of(const Route *r) { return strcmp(r->method, "GET") == 0 ? "GET, HEAD, OPTIONS" : "POST, OPTIONS"; }

static void options_reply(Call *c, const Route *r) {
  struct evkeyvalq *h = evhttp_request_get_output_headers(c->http);
  evhttp_add_header(h, "Allow", r ? allow_of(r) : "GET, HEAD, OPTIONS");
  if (c->server->o->cors) {
    evhttp_add_header(h, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
    evhttp_add_header(h, "Access-Control-Allow-Headers", "Authorization, Content-Type, X-API-Key, anthropic-version, anthropic-beta");
    evhttp_add_header(h, "Access-Control-Max-Age", "86400");
  }
  call_send(c, 204, NULL, "", 0);
}

static void dispatch(Call *c, const char *method, const char *path) {
  static const Route none = {"", "", DIALECT_OPENAI, true, NULL, false};
  const Route *other;
  c->route = find_route(method, path, &other);
  bool page = !c->route && !other && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
  bool found = c->route != NULL;
  if (!c->route) c->route = &none;
  if (strcmp(method, "OPTIONS") == 0) {
    options_reply(c, other);
    return;
  }
  if (page && send_file(c, path)) return;
  if (!found) {
    if (other) evhttp_add_header(evhttp_request_get_output_headers(c->http), "Allow", allow_of(other));
    if (other) c->route = other;
    if (other) call_problem(c, 405, "invalid_request_error", NULL, "%s is not a method of %.200s", method, path);
    else call_problem(c, 404, "not_found_error", NULL, "there is nothing at %.200s", path);
  } else if (!c->route->open && !allowed(c)) {
    call_problem(c, 401, "authentication_error", NULL, "expected an API key in the Authorization header, as 'Bearer KEY'");
  } else if (c->server->draining) {
    call_problem(c, 503, "server_error", NULL, "the server is shutting down");
  } else if (strcmp(method, "POST") != 0 || read_body(c)) {
    c->route->run(c);
    return;
  }
  call_send_problem(c);
}

static void on_request(struct evhttp_request *http, void *arg) {
  Server *s = arg;
  Err err = {0};
  struct evhttp_connection *connection = evhttp_request_get_connection(http);
  arrival_of(s, evhttp_connection_get_bufferevent(connection))->began = 0;
  Call *c = mem_alloc(1, sizeof *c, &err);
  const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(http));
  if (!c) {
    evhttp_send_error(http, 503, "out of memory");
    return;
  }
  c->server = s;
  c->http = http;
  c->began = now_seconds();
  c->created = (long)time(NULL);
  c->logprobs = -1;
  snprintf(c->id, sizeof c->id, "%016llx", (unsigned long long)random_seed());
  c->before = &s->calls;
  c->next = s->calls;
  if (s->calls) s->calls->before = &c->next;
  s->calls = c;
  s->active++;
  dispatch(c, method_of(http), path && *path ? path : "/");
}

uint64_t random_seed(void) {
  uint64_t x = 0;
  if (getrandom(&x, sizeof x, 0) != sizeof x) x = (uint64_t)(now_seconds() * 1e9);
  return x;
}

/* ---- delivery: from the scheduler's thread to the loop ---- */

static void wake(void *arg, bool urgent) {
  Server *s = arg;
  uint64_t one = 1;
  if (urgent) atomic_store(&s->urgent, true);
  if (atomic_exchange(&s->signalled, true) && !urgent) return;
  if (write(s->event_fd, &one, sizeof one) != sizeof one) abort(); /* an eventfd takes 2^64 - 2 of them */
}

static void deliver(Server *s) {
  Made made;
  Job *j;
  s->delivered = now_seconds();
  atomic_store(&s->signalled, false);
  while ((j = scheduler_next(s->scheduler, &made))) {
    Call *c = j->owner;
    Choice *x = &c->choice[j->index];
    x->counts = made.counts;
    if (made.finish) x->finish = made.finish, c->open--;
    if (c->http) c->style->piece(c, x, &made);
    buf_free(&made.text);
    mem_free(made.prob);
    if (c->open > 0) continue;
    if (c->http) c->style->end(c);
    else call_free(c);
  }
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
  Server *s = arg;
  uint64_t n;
  (void)what;
  if (read(fd, &n, sizeof n) < 0 && errno != EAGAIN) return;
  double wait = s->delivered + DRAIN_APART - now_seconds();
  if (wait <= 0 || atomic_exchange(&s->urgent, false)) {
    deliver(s);
  } else {
    struct timeval tv = {0, (suseconds_t)(wait * 1e6)};
    evtimer_add(s->later, &tv);
  }
}

static void on_later(evutil_socket_t fd, short what, void *arg) {
  (void)fd;
  (void)what;
  deliver(arg);
}

/* ---- signals ---- */

static void on_end(evutil_socket_t signal_number, short what, void *arg) {
  Server *s = arg;
  (void)what;
  (void)signal_number;
  if (s->draining) { /* the second time, or the time is up */
    for (Call *c = s->calls; c; c = c->next)
      for (int i = 0; i < c->choices; i++)
        if (c->choice[i].job) atomic_store(&c->choice[i].job->cancelled, true);
    event_base_loopbreak(s->base);
    return;
  }
  struct timeval tv = {DRAIN_SECONDS, 0};
  s->draining = true;
  evhttp_del_accept_socket(s->http, s->socket);
  fprintf(stderr, "ending: %d requests are being answered\n", s->active);
  if (s->active + s->sending == 0) event_base_loopbreak(s->base);
  else evtimer_add(s->patience, &tv);
}

static void on_reload(evutil_socket_t signal_number, short what, void *arg) {
  Server *s = arg;
  Err err = {0};
  (void)what;
  (void)signal_number;
  if (!read_keys(s, &err)) fprintf(stderr, "%s; the keys stay as they were\n", err.text);
  else fprintf(stderr, "read %zu keys\n", s->keys);
}

/* ---- life ---- */

Server *the_server;

static bool open_chips(Server *s, Err *err) {
  s->trie = mem_alloc((size_t)s->chips, sizeof *s->trie, err);
  s->template = mem_alloc((size_t)s->chips, sizeof *s->template, err);
  s->hash = mem_alloc((size_t)s->chips, sizeof *s->hash, err);
  bool ok = s->trie && s->template && s->hash;
  for (int i = 0; ok && i < s->chips; i++) {
    Str source = s->chip[i].chip->vocab.chat_template;
    chip_hash_text(s->chip[i].chip, s->hash[i]);
    ok = (s->trie[i] = token_trie_new(s->chip[i].tokenizer, s->chip[i].chip->shape.vocab, err)) != NULL;
    if (ok && source.n) ok = (s->template[i] = template_new(source, err)) != NULL;
    if (ok && !source.n) fprintf(stderr, "%s has no chat template: messages are joined by line breaks\n", s->chip[i].name);
  }
  return ok;
}

static bool listen_at(Server *s, Err *err) {
  s->socket = evhttp_bind_socket_with_handle(s->http, s->o->host, (ev_uint16_t)s->o->port);
  if (!s->socket) return err_set(err, "cannot listen at %s port %d: %s", s->o->host, s->o->port, strerror(errno));
  struct sockaddr_storage a;
  socklen_t n = sizeof a;
  int port = s->o->port, on = 1;
  /* accepted connections inherit it: pieces of a stream must not wait for the receipt of those before */
  setsockopt(evhttp_bound_socket_get_fd(s->socket), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (getsockname(evhttp_bound_socket_get_fd(s->socket), (struct sockaddr *)&a, &n) == 0)
    port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port : ((struct sockaddr_in *)(void *)&a)->sin_port);
  bool v6 = strchr(s->o->host, ':') != NULL;
  fprintf(stderr, "burin serves at http://%s%s%s:%d/\n", v6 ? "[" : "", s->o->host, v6 ? "]" : "", port);
  return true;
}

static bool open_server(Server *s, Err *err) {
  s->base = event_base_new();
  s->http = s->base ? evhttp_new(s->base) : NULL;
  s->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (!s->http || s->event_fd < 0) return err_set(err, "cannot start the HTTP server: %s", strerror(errno));
  evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PUT |
                                          EVHTTP_REQ_DELETE | EVHTTP_REQ_PATCH | EVHTTP_REQ_TRACE | EVHTTP_REQ_CONNECT); /* 405 says more than 501 */
  evhttp_set_max_headers_size(s->http, MOST_HEADERS);
  evhttp_set_max_body_size(s->http, MOST_BODY);
  evhttp_set_timeout(s->http, SILENCE_SECONDS);
  evhttp_set_default_content_type(s->http, NULL);
  evhttp_set_bevcb(s->http, new_connection, s);
  evhttp_set_gencb(s->http, on_request, s);
  s->event[0] = event_new(s->base, s->event_fd, EV_READ | EV_PERSIST, on_wake, s);
  s->event[1] = evsignal_new(s->base, SIGTERM, on_end, s);
  s->event[2] = evsignal_new(s->base, SIGINT, on_end, s);
  s->event[3] = evsignal_new(s->base, SIGHUP, on_reload, s);
  s->later = evtimer_new(s->base, on_later, s);
  s->patience = evtimer_new(s->base, on_end, s);
  bool ok = s->later && s->patience;
  for (int i = 0; ok && i < EVENTS; i++) ok = s->event[i] && event_add(s->event[i], NULL) == 0;
  if (!ok) return err_set(err, "out of memory");
  return open_chips(s, err) && (s->scheduler = scheduler_new(s->chip, s->chips, s->o->slots, s->o->queue, wake, s, err)) && listen_at(s, err);
}

static void close_server(Server *s) {
  for (Call *c = s->calls; c; c = c->next)
    for (int i = 0; i < c->choices; i++)
      if (c->choice[i].job) atomic_store(&c->choice[i].job->cancelled, true);
  scheduler_free(s->scheduler);
  while (s->calls) call_free(s->calls);
  if (s->http) evhttp_free(s->http);
  for (int i = 0; i < EVENTS; i++)
    if (s->event[i]) event_free(s->event[i]);
  if (s->later) event_free(s->later);
  if (s->patience) event_free(s->patience);
  if (s->event_fd >= 0) close(s->event_fd);
  if (s->base) event_base_free(s->base);
  for (int i = 0; i < s->chips; i++) {
    if (s->trie) token_trie_free(s->trie[i]);
    if (s->template) template_free(s->template[i]);
  }
  free_matchers(s);
  void *all[] = {s->trie, s->template, s->hash, s->key};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  mem_free(s);
}

bool serve_run(const ServeChip *chip, int chips, const ServeOptions *o, Err *err) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  /* what libevent restores when its handlers go: a second SIGTERM while memory is given back must not end the process by force */
  const int ignored[] = {SIGPIPE, SIGTERM, SIGINT, SIGHUP};
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
  Server *s = mem_alloc(1, sizeof *s, err);
  if (!s) return false;
  s->chip = chip;
  s->chips = chips;
  s->o = o;
  s->event_fd = -1;
  s->started = now_seconds();
  the_server = s;
  bool ok = read_keys(s, err) && open_server(s, err);
  if (ok) event_base_dispatch(s->base);
  close_server(s);
  the_server = NULL;
  return ok;
}
