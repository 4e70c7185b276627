/* cmd/tasks: burin eval X.chip --tasks FILE.jsonl: multiple choice by log-likelihood.
 *
 * One JSON object a line.  Forms, as the public sets have them:
 *   ARC        {"question": Q, "choices": {"text": [...], "label": [...]}, "answerKey": L}
 *   HellaSwag  {"ctx": C, "endings": [...], "label": N}
 *   LAMBADA    {"text": T}: the last word is to be said, token by token as the likeliest
 *   plain      {"context": C, "choices": [...], "answer": N}
 * A choice is worth the sum of the log-probabilities of its tokens behind the context; accuracy is also given with sums over
 * the choice's bytes.  Counting and ARC's prompt as in EleutherAI's evaluation
 * harness; a HellaSwag context is taken as it stands, without the activity's name in front of it.
 */
#include "cmd/cmd.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  Buf context;
  Buf space[32]; /* choices, each with the space in front of it */
  int choices, answer;
  bool last_word;
} Task;

static void task_free(Task *t) {
  buf_free(&t->context);
  for (int i = 0; i < 32; i++) buf_free(&t->space[i]);
}

static bool put_text(Buf *b, json_t *s, Err *err) { return buf_put(b, json_string_value(s), json_string_length(s), err); }

static bool put_choices(Task *t, json_t *list, Err *err) {
  size_t n = json_array_size(list);
  if (n < 2 || n > 32) return err_set(err, "expected 2 to 32 choices, found %zu", n);
  for (size_t i = 0; i < n; i++) {
    json_t *c = json_array_get(list, i);
    if (!json_is_string(c) || json_string_length(c) == 0) return err_set(err, "choice %zu: expected text", i);
    if (!buf_put(&t->space[i], " ", 1, err) || !put_text(&t->space[i], c, err)) return false;
  }
  t->choices = (int)n;
  return true;
}

/* A number, or a number as text, or the label of a choice. */
static bool put_answer(Task *t, json_t *answer, json_t *labels, Err *err) {
  t->answer = -1;
  const char *text = json_string_value(answer);
  if (json_is_integer(answer)) t->answer = json_integer_value(answer) < t->choices ? (int)json_integer_value(answer) : -1;
  for (int i = 0; labels && i < t->choices; i++) {
    const char *label = json_string_value(json_array_get(labels, (size_t)i));
    if (text && label && strcmp(text, label) == 0) t->answer = i;
  }
  if (text && !labels) {
    char *end;
    long v = strtol(text, &end, 10);
    if (*text && !*end && v >= 0 && v < t->choices) t->answer = (int)v;
  }
  return t->answer >= 0 || err_set(err, "the answer names none of the %d choices", t->choices);
}

static bool put_last_word(Task *t, json_t *text, Err *err) {
  const char *s = json_string_value(text), *space = strrchr(s, ' ');
  if (!space || space == s || !space[1]) return err_set(err, "text: expected at least two words");
  t->last_word = true;
  t->choices = 1;
  return buf_put(&t->context, s, (size_t)(space - s), err) && buf_put(&t->space[0], space, strlen(space), err);
}

static bool read_task(Task *t, json_t *o, Err *err) {
  json_t *question = json_object_get(o, "question"), *ctx = json_object_get(o, "ctx"), *text = json_object_get(o, "text"),
         *context = json_object_get(o, "context"), *choices = json_object_get(o, "choices");
  if (json_is_string(question) && json_is_object(choices))
    return buf_put(&t->context, "Question: ", 10, err) && put_text(&t->context, question, err) && buf_put(&t->context, "\nAnswer:", 8, err) &&
           put_choices(t, json_object_get(choices, "text"), err) &&
           put_answer(t, json_object_get(o, "answerKey"), json_object_get(choices, "label"), err);
  if (json_is_string(ctx))
    return put_text(&t->context, ctx, err) && put_choices(t, json_object_get(o, "endings"), err) &&
           put_answer(t, json_object_get(o, "label"), NULL, err);
  if (json_is_string(context))
    return put_text(&t->context, context, err) && put_choices(t, choices, err) && put_answer(t, json_object_get(o, "answer"), NULL, err);
  if (json_is_string(text)) return put_last_word(t, text, err);
  return err_set(err, "expected question and choices, ctx and endings, context and choices, or text");
}

/* ---- scoring ---- */

typedef struct {
  const Runner *r;
  Session *session;
  int32_t *z; /* (context, vocab): grown */
  size_t cap;
  Tokens fed;  /* what the session holds */
  int tasks, right, right_by_byte, of_choices;
  double log_likelihood; /* of last words */
} Scores;

/* Sum of log-probabilities of the tokens of `choice` behind the context; *greedy: each was the likeliest. */
static bool score_choice(Scores *s, const Task *t, const Buf *choice, double *sum, bool *greedy, Err *err) {
  Tokens context = {0}, whole = {0};
  Buf text = {0};
  bool ok = buf_put(&text, t->context.s, t->context.n, err) && buf_put(&text, choice->s, choice->n, err) &&
            tokenizer_encode(s->r->tokenizer, (Str){t->context.s, t->context.n}, false, true, &context, err) &&
            tokenizer_encode(s->r->tokenizer, (Str){text.s, text.n}, false, true, &whole, err);
  int n = (int)whole.n, from = (int)context.n < n ? (int)context.n : n - 1, keep = 0, vocab = s->r->chip.shape.vocab;
  if (ok && (from < 1 || n > session_context(s->session)))
    ok = err_set(err, from < 1 ? "the context has no tokens" : "%d tokens: the context holds %d", n, session_context(s->session));
  while (ok && keep < from - 1 && keep < (int)s->fed.n && s->fed.id[keep] == whole.id[keep]) keep++;
  size_t cells = ok ? (size_t)(n - from) * (size_t)vocab : 0;
  if (ok && cells > s->cap) {
    mem_free(s->z);
    s->z = mem_alloc(cells, sizeof *s->z, err);
    s->cap = s->z ? cells : 0;
    ok = s->z != NULL;
  }
  if (ok) {
    session_truncate(s->session, keep);
    s->fed.n = 0;
    ok = (keep == from - 1 || session_extend(s->session, whole.id + keep, from - 1 - keep, 0, NULL, err)) &&
         session_extend(s->session, whole.id + from - 1, n - from, 0, s->z, err);
  }
  for (int i = 0; ok && i < n - 1; i++) ok = tokens_put(&s->fed, whole.id[i], err);
  *sum = 0;
  *greedy = true;
  for (int i = from; ok && i < n; i++) {
    const int32_t *z = s->z + (size_t)(i - from) * (size_t)vocab;
    Softmax x = softmax_of(z, false, vocab);
    *sum += z[whole.id[i]] / 65536.0 - x.top - x.log_sum;
    *greedy = *greedy && x.best == whole.id[i];
  }
  tokens_free(&context);
  tokens_free(&whole);
  buf_free(&text);
  return ok;
}

static bool score_task(Scores *s, const Task *t, Err *err) {
  double best = -INFINITY, best_by_byte = -INFINITY;
  int pick = 0, pick_by_byte = 0;
  bool greedy = false;
  for (int i = 0; i < t->choices; i++) {
    double sum, by_byte;
    if (!score_choice(s, t, &t->space[i], &sum, &greedy, err)) return false;
    by_byte = sum / (double)(t->space[i].n - 1);
    if (sum > best) best = sum, pick = i;
    if (by_byte > best_by_byte) best_by_byte = by_byte, pick_by_byte = i;
  }
  s->tasks++;
  s->of_choices += !t->last_word;
  s->right += t->last_word ? greedy : pick == t->answer;
  s->right_by_byte += t->last_word ? greedy : pick_by_byte == t->answer;
  if (t->last_word) s->log_likelihood += best;
  return true;
}

static json_t *scores_json(const Scores *s) {
  double n = s->tasks, a = s->right / n, b = s->right_by_byte / n, words = n - s->of_choices;
  double ea = n > 1 ? sqrt(a * (1 - a) / (n - 1)) : NAN, eb = n > 1 ? sqrt(b * (1 - b) / (n - 1)) : NAN;
  json_t *o = json_object();
  json_object_set_new(o, "tasks", json_integer(s->tasks));
  json_object_set_new(o, "accuracy", json_real(a));
  json_object_set_new(o, "accuracy_error", n > 1 ? json_real(ea) : json_null());
  json_object_set_new(o, "accuracy_by_byte", json_real(b));
  json_object_set_new(o, "accuracy_by_byte_error", n > 1 ? json_real(eb) : json_null());
  json_object_set_new(o, "last_word_ppl", words > 0 ? json_real(exp(-s->log_likelihood / words)) : json_null());
  return o;
}

static double real_of(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void print_scores(const Scores *s, const json_t *o) {
  printf("tasks       %d\naccuracy    %.2f %% +- %.2f\n", s->tasks, 100 * real_of(o, "accuracy"), 100 * real_of(o, "accuracy_error"));
  if (s->of_choices)
    printf("by bytes    %.2f %% +- %.2f (log-likelihood over the bytes of a choice)\n", 100 * real_of(o, "accuracy_by_byte"),
           100 * real_of(o, "accuracy_by_byte_error"));
  if (s->tasks > s->of_choices) printf("last words  perplexity %.3f\n", real_of(o, "last_word_ppl"));
}

static bool finish(const Scores *s, const char *path, bool json, bool record, Err *err) {
  json_t *o = scores_json(s);
  if (json) print_json(o);
  else print_scores(s, o);
  char hash[65];
  bool ok = !record || file_hash_text(path, hash, err);
  if (ok && record) {
    json_object_set_new(o, "tasks_file", json_string(file_name(path)));
    json_object_set_new(o, "sha256", json_string(hash));
    ok = record_result(&s->r->chip, o, err);
  }
  json_decref(o);
  return ok;
}

static bool score_line(Scores *s, const char *path, int line, Str text, Err *err) {
  json_error_t e;
  Err inner = {0};
  Task t = {0};
  json_t *o = json_loadb(text.s, text.n, 0, &e);
  bool ok = o ? read_task(&t, o, &inner) && score_task(s, &t, &inner) : err_set(&inner, "column %d: %s", e.column, e.text);
  json_decref(o);
  task_free(&t);
  return ok || err_set(err, "%s:%d: %s", path, line, inner.text);
}

bool eval_tasks(const Runner *r, const char *path, int most, bool json, bool record, Err *err) {
  Buf all = {0};
  Scores s = {.r = r};
  Progress progress;
  if (!r->tokenizer) return err_set(err, "the chip has no tokenizer");
  bool ok = file_read_all(path, (size_t)1 << 30, &all, err) && (s.session = session_new(r->engine, 0, err));
  progress_start(&progress, "eval");
  size_t at = 0;
  for (int line = 1; ok && at < all.n && (most <= 0 || s.tasks < most); line++) {
    const char *start = all.s + at, *end = memchr(start, '\n', all.n - at);
    size_t n = end ? (size_t)(end - start) : all.n - at, spaces = 0;
    while (spaces < n && (start[spaces] == ' ' || start[spaces] == '\r' || start[spaces] == '\t')) spaces++;
    if (spaces < n) ok = score_line(&s, path, line, (Str){start, n}, err);
    at += n + 1;
    progress_to(&progress, (double)(at < all.n ? at : all.n) / (double)all.n);
  }
  progress_end(&progress);
  if (ok && !s.tasks) ok = err_set(err, "%s: no tasks", path);
  ok = ok && finish(&s, path, json, record, err);
  session_free(s.session);
  tokens_free(&s.fed);
  mem_free(s.z);
  buf_free(&all);
  return ok;
}
