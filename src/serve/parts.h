/* serve/parts (private to serve): the HTTP side: calls, their fields, and how replies are written. */
#ifndef BURIN_SERVE_PARTS_H
#define BURIN_SERVE_PARTS_H

#include "serve/job.h"

#include <event2/event.h>
#include <event2/http.h>
#include <string.h>
#include <time.h>

typedef struct Server Server;
typedef struct Call Call;
typedef struct Route Route;

/* Whose manners errors have. */
typedef enum { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_NATIVE } Dialect;

struct Route {
  const char *method, *path; /* a path that ends in / takes all below it */
  Dialect dialect;
  bool open;                 /* no key is asked for */
  void (*run)(Call *c);
  bool may_be_empty;         /* no body is an empty object */
};

/* ---- calls of functions within text ---- */
typedef enum { TOOL_TEXT, TOOL_NAME, TOOL_ARGUMENTS, TOOL_CLOSE, TOOL_BROKEN } ToolPlace;
typedef struct {
  bool on, anywhere;  /* calls may stand anywhere, not only where the reply begins */
  ToolFormat format;
  ToolPlace place;
  Buf held;           /* not understood yet */
  int calls, depth;   /* begun so far; of the arguments' brackets */
  bool in_string, escape, any_text;
} ToolParser;
typedef enum { TOOL_PIECE_TEXT, TOOL_PIECE_NAME, TOOL_PIECE_ARGUMENTS } ToolPiece;
typedef bool ToolFn(void *arg, ToolPiece piece, int call, const char *s, size_t n);
/* Hands on what is certain, in order; `end`: all of it. */
bool tool_parse(ToolParser *p, const char *s, size_t n, bool end, ToolFn *fn, void *arg, Err *err);
void tool_parser_free(ToolParser *p);
/* How the chip's template writes calls; *native: it takes the tools itself. */
ToolFormat tool_format_of(Str chat_template, bool *native);

/* ---- a call: one HTTP request and its reply ---- */
typedef struct {
  Call *call;
  Job *job;
  Buf text;            /* of a reply that is not streamed */
  json_t *probs;       /* array of the tokens'; of a response: of the open item's */
  size_t told;         /* of a response: so many of them stood in an event */
  json_t *tools;       /* array of calls; of a response: of items that are done */
  json_t *item;        /* of a response: what is being written; its text or arguments stand in `text` */
  ToolParser parser;
  bool opened;         /* the first delta is out */
  int prompt;          /* which of the call's */
  size_t offset;       /* characters written: of completions' text_offset */
  bool new_line;       /* some text had one */
  Finish finish;
  JobCounts counts;
} Choice;

typedef struct {
  void (*piece)(Call *c, Choice *x, const Made *m); /* some text; m->finish: the last */
  void (*end)(Call *c);                             /* all choices are done */
} Style;

struct Call {
  Server *server;
  struct evhttp_request *http;  /* NULL: the client has gone */
  const Route *route;
  json_t *body;
  double began;
  long created;
  char id[32];
  uint64_t client;
  int status;                   /* sent; 0: none yet */
  const Style *style;
  int chip;
  bool stream, streaming, usage, timings, chat, ids;
  int logprobs;
  bool chances; /* logprobs are those of the draw, and called probabilities */
  Choice *choice;
  int choices, open;
  json_t *tools;                /* functions that may be called */
  struct event *hangup;         /* the client closes its end */
  Matcher *matcher;             /* borrowed from the server's */
  Call *next, **before;         /* among the server's */
  json_t *settings;             /* of /completion and /v1/responses, to be told with the reply */
  int events;                   /* of a response, sent */
  json_t *echoed;               /* texts of the prompts, to be repeated before the replies */
  struct {
    int status;
    const char *type, *param;
    json_t *more;               /* further members of the error */
    char text[800];
  } problem;
};

const ServeChip *call_chip(const Call *c);
const ServeChip *server_chips(const Server *s, int *n);
Scheduler *server_scheduler(const Server *s);
const ServeOptions *server_options(const Server *s);
double server_started(const Server *s);
const ChatTemplate *server_template(const Server *s, int chip);
const char *server_hash(const Server *s, int chip);
uint64_t server_requests(const Server *s, int status_class);

/* The first problem counts.  Always false. */
bool call_bad(Call *c, const char *param, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool call_problem(Call *c, int status, const char *type, const char *param, const char *format, ...) __attribute__((format(printf, 5, 6)));
bool call_err(Call *c, const char *param, const Err *err); /* the same from an Err */
/* Sends and ends the call; c is gone then. */
void call_send_problem(Call *c);
json_t *call_problem_json(const Call *c); /* its body */
void call_send_json(Call *c, int status, json_t *o); /* takes o */
void call_send(Call *c, int status, const char *type, const void *bytes, size_t n);
/* A reply in pieces. */
void call_stream_begin(Call *c, const char *type);
void call_stream_put(Call *c, const char *s, size_t n);
void call_event(Call *c, const char *name, json_t *o); /* "event: name" (NULL: not told), "data: ..." ; takes o */
void call_stream_end(Call *c); /* c is gone then */
/* Queues the call's jobs; pieces and end come through `style`. */
void call_start(Call *c, const Style *style);
Choice *call_add_choices(Call *c, int n);
/* A grammar's matcher, shared by calls that ask for the same.  Takes g. */
Matcher *call_matcher(Call *c, const char *kind, const json_t *of, Grammar *(*make)(const json_t *of, Err *err));
void call_free(Call *c);

/* ---- JSON ---- */
/* A member that is a string; NULL where there is none. */
static inline const char *json_text(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static inline bool text_is(const char *s, const char *what) { return s && strcmp(s, what) == 0; }
static inline json_t *text_part(const json_t *text) { return json_pack("{s:s,s:O}", "type", "text", "text", text); } /* of a chat's content */
/* A copy of the body without n of its members; NULL after a problem. */
json_t *body_without(Call *c, const char *const *key, size_t n);

/* ---- fields of the body; absent and null leave *out as it is ---- */
const json_t *field(const Call *c, const char *key);
bool field_int(Call *c, const char *key, json_int_t low, json_int_t high, int *out);
bool field_number(Call *c, const char *key, double low, double high, double *out);
bool field_bool(Call *c, const char *key, bool *out);
bool field_text(Call *c, const char *key, const char **out);
/* What all requests for text share: sampling, stops, limits, grammar.  Fills a job's settings. */
typedef struct {
  double temperature, top_p, min_p, repeat, frequency, presence;
  int top_k, n, most, least, slot;
  bool ignore_end, seeded;
  uint64_t seed;
  const char *stop[MOST_STOPS];
  int stops, biases;
  LogitBias bias[300];
  Matcher *matcher;
} Wishes;
bool call_model(Call *c, const char *key);
bool call_wishes(Call *c, Wishes *w);
bool wishes_sampling(Call *c, Wishes *w);
bool wishes_format(Call *c, Wishes *w);
/* Job number `index` of a call: takes the prompt. */
bool call_job(Call *c, int index, const Wishes *w, uint64_t seed, Tokens *prompt);
bool job_of_prompt(Call *c, Choice *x, Tokens *prompt);

/* ---- prompts ---- */
bool prompt_of_text(Call *c, Str text, Tokens *out);
/* The text that a template makes of messages (OpenAI's) and tools (functions, or NULL); *rendered: there was a template. */
bool text_of_messages(Call *c, const json_t *messages, const json_t *tools, Buf *out, bool *rendered);
/* messages: OpenAI's; tools: functions or NULL. */
bool prompt_of_messages(Call *c, const json_t *messages, const json_t *tools, Tokens *out);

/* ---- shared by requests and replies ---- */
bool read_stream(Call *c);
bool chat_request(Call *c); /* a chat's body becomes jobs */
/* tools and tool_choice (none, auto, required, or one function) become w->matcher; *forced: it holds from the start. */
bool use_tools(Call *c, Wishes *w, ToolParser *parser, bool *forced);
/* Jobs for prompts (a text, a list of tokens, or a list of these), n of each; `echo`: replies begin with the prompt. */
bool completion_jobs(Call *c, const Wishes *w, const json_t *prompt, bool echo);
extern const Style completion_style;
json_t *usage_of(const Call *c);
json_t *timings_of(const Choice *x);
const char *finish_name(const Choice *x);
json_t *token_json(const Call *c, int token, float logprob, bool bytes);
json_t *probs_json(const Call *c, const TokenProb *p, size_t n); /* a list, as chat completions have it */
void choice_put_probs(Choice *x, json_t *probs); /* appends to x->probs; takes the list */
void choice_put_lists(Choice *x, json_t *lists); /* appends an object's lists to those of x->probs; takes the object */
enum { UTC_TEXT = 32 };
void utc_text(time_t t, char out[UTC_TEXT]); /* as logs and Anthropic's models say a time */
/* Sends what went wrong, if anything did, and ends the call; whether it did. */
bool call_end_failed(Call *c);
uint64_t random_seed(void);
uint64_t wishes_seed(const Wishes *w); /* the request's, or a new one */
/* The matcher of a call's jobs holds from where a call of a function begins. */
void call_trigger(Call *c, const ToolParser *p);
/* A choice that failed or was cut off by the server's end becomes the call's problem; whether there is one. */
bool call_failed(Call *c);

/* ---- handlers ---- */
void run_chat(Call *c), run_responses(Call *c), run_messages(Call *c), run_count_tokens(Call *c), run_completion(Call *c), run_embeddings(Call *c), run_models(Call *c), run_model(Call *c), run_tokenize(Call *c),
    run_detokenize(Call *c), run_health(Call *c), run_props(Call *c), run_slots(Call *c), run_slot(Call *c), run_metrics(Call *c), run_generate(Call *c),
    run_native_models(Call *c), run_native_health(Call *c), run_talk(Call *c), run_talk_models(Call *c), run_llama_completion(Call *c), run_apply_template(Call *c);

#endif
