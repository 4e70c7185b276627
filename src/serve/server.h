/* serve/server (private to serve): the state of the HTTP side. */
#ifndef BURIN_SERVE_SERVER_H
#define BURIN_SERVE_SERVER_H

#include "serve/parts.h"

enum { ARRIVALS = 8192, EVENTS = 4, MATCHERS = 64 };

/* A request that is arriving on a connection. */
typedef struct {
  const struct bufferevent *who;
  double began; /* 0: nothing has come */
  size_t bytes;
} Arrival;

typedef struct {
  Buf key;
  Matcher *matcher;
  int users;
  uint64_t used;
} KeptMatcher;

struct Server {
  const ServeChip *chip;
  int chips;
  const ServeOptions *o;
  TokenTrie **trie;         /* (chips) */
  ChatTemplate **template;  /* (chips) NULL where the chip has none */
  char (*hash)[65];         /* (chips) */
  Scheduler *scheduler;
  struct event_base *base;
  struct evhttp *http;
  struct evhttp_bound_socket *socket;
  struct event *event[EVENTS], *later, *patience;
  int event_fd;
  atomic_bool signalled, urgent;
  double delivered, started;
  uint8_t (*key)[32];       /* (keys) SHA-256 of each */
  size_t keys;
  bool draining;
  Call *calls;
  int active, sending;      /* calls; replies of ended ones that are not all written */
  uint64_t replies[6];      /* by the first digit of the status */
  Arrival arrival[ARRIVALS]; /* by connection; two that fall together only mistime each other */
  KeptMatcher matcher[MATCHERS];
  uint64_t clock;
};

/* The one server of the process: libevent's connection callbacks carry the connection alone. */
extern Server *the_server;

void free_matchers(Server *s);
void release_matcher(Server *s, const Matcher *m);

#endif
