/* tools/tiny/stories: the training text of the tiny model: simple stories that SmolLM2-135M-Instruct writes.
 *
 *     stories SMOLLM2.chip COUNT SEED > stories.txt
 *
 * One story a line.  The chip's hash, COUNT and SEED determine every byte.  Stories are sampled in a batch; each slot keeps
 * the worked turn that shows length and language, and only its own turn is computed anew.
 */
#include "engine/engine.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 96, TURN = 200 };

static const char *const boys[] = {"Tom", "Ben", "Sam", "Max", "Tim", "Jack", "Leo", "Bob", "Dan", "Finn"};
static const char *const girls[] = {"Lily", "Mia", "Anna", "Lucy", "Sue", "Emma", "Zoe", "Amy", "Kate", "Rosie"};
static const char *const animals[] = {"cat", "dog", "bird", "fish", "bear", "rabbit", "fox", "mouse", "duck", "frog", "pig", "cow", "bee", "lion"};
static const char *const things[] = {"a ball", "a red ball", "a big box", "a little boat", "a toy car", "a blue hat", "a cake", "an apple",
                                     "a flower", "a kite", "a shiny stone", "a book", "a drum", "a key", "a star", "an egg", "a leaf",
                                     "a cup", "a bell", "a balloon"};
static const char *const places[] = {"park", "garden", "forest", "house", "farm", "school", "river", "hill", "kitchen", "lake", "yard"};
static const char *const moods[] = {"happy", "sad", "kind", "brave", "shy", "funny", "sleepy", "hungry", "little", "good"};
static const char *const plots[] = { /* T a thing, P a place, W an animal */
    "learns to share", "finds T", "loses T", "helps a friend", "makes a new friend", "goes to the P", "plays in the P",
    "gets lost in the P", "finds T in the P", "shares T with a friend", "is afraid of the dark", "wants T", "gives T to mom",
    "plays with T", "says sorry", "sees a W in the P", "meets a W", "helps a W"};

static const char shot_topic[] = "a little cat named Tom who loses a red ball";
static const char shot_story[] =
    "Once upon a time, there was a little cat named Tom. Tom had a red ball. He played with the ball all day. One day, the ball "
    "rolled away. Tom was very sad. He looked and looked, but he could not find it. Then a big dog came. \"Is this your ball?\" "
    "asked the dog. \"Yes!\" said Tom. \"Thank you!\" Tom and the dog played with the ball. They were good friends.";
static const char opening[] = "Once upon a time";

#define PICK(list) list[pcg_next(random) % (sizeof list / sizeof *list)]

static void make_topic(Pcg *random, char *out, size_t n) {
  const char *who = NULL, *name, *mood = PICK(moods);
  uint32_t kind = pcg_next(random) % 3;
  if (kind == 0) who = "boy", name = PICK(boys);
  else if (kind == 1) who = "girl", name = PICK(girls);
  else who = PICK(animals), name = pcg_next(random) & 1 ? PICK(boys) : PICK(girls);
  size_t k = (size_t)snprintf(out, n, "a %s %s named %s who ", mood, who, name);
  for (const char *p = PICK(plots); *p && k + 24 < n; p++) {
    if (*p == 'T' || *p == 'P' || *p == 'W') k += (size_t)snprintf(out + k, n - k, "%s", *p == 'T' ? PICK(things) : *p == 'P' ? PICK(places) : PICK(animals));
    else out[k++] = *p, out[k] = 0;
  }
}

static bool put_turn(Buf *b, const char *topic, const char *story, Err *err) {
  return buf_printf(b, err, "<|im_start|>user\nWrite a very short story for a small child about %s. Use only easy words.<|im_end|>\n"
                            "<|im_start|>assistant\n%s", topic, story);
}

typedef struct {
  Session *s;
  Buf text;
  Detok d;
  int written, next;
  bool busy;
} Slot;

static bool begin(Slot *slot, const Tokenizer *t, int prefix, Pcg *random, Err *err) {
  char topic[256];
  Buf turn = {0};
  Tokens ids = {0};
  SamplerSettings settings;
  make_topic(random, topic, sizeof topic);
  session_truncate(slot->s, prefix);
  slot->text.n = 0;
  slot->d = (Detok){0};
  slot->written = 0;
  slot->busy = true;
  bool ok = put_turn(&turn, topic, opening, err) && tokenizer_encode(t, (Str){turn.s, turn.n}, true, false, &ids, err) &&
            buf_put(&slot->text, opening, strlen(opening), err) && sampler_settings(&settings, 0.7, 0, 0.95, 0, 1.1, 0, 0, err) &&
            session_sampler(slot->s, &settings, (uint64_t)pcg_next(random) << 32 | pcg_next(random), err) &&
            session_extend(slot->s, ids.id, (int)ids.n, 0, NULL, err);
  buf_free(&turn);
  tokens_free(&ids);
  return ok;
}

/* The story as one line; one that met its limit ends with its last whole sentence. */
static void finish(Slot *slot, bool ended, long *done) {
  slot->busy = false;
  for (size_t i = 0; i < slot->text.n; i++)
    if (slot->text.s[i] == '\n') slot->text.s[i] = ' ';
  if (!ended)
    while (slot->text.n && !strchr(".!?", slot->text.s[slot->text.n - 1])) slot->text.n--;
  if (slot->text.n == 0) return;
  printf("%.*s\n", (int)slot->text.n, slot->text.s);
  ++*done;
}

int main(int argc, char **argv) {
  Err err = {0};
  Chip chip;
  if (argc != 4) return fprintf(stderr, "usage: stories CHIP COUNT SEED\n"), 2;
  EngineOptions options = {isa_best(), 0};
  Engine *e = chip_open(&chip, argv[1], &err) ? engine_new(&chip, &options, &err) : NULL;
  Tokenizer *t = e ? tokenizer_new(&chip.vocab, &err) : NULL;
  Pcg random = pcg_seed(strtoull(argv[3], NULL, 10), 3);
  Slot slot[SLOTS] = {{0}};
  Buf prefix = {0};
  Tokens ids = {0};
  bool ok = t != NULL;
  ok = ok && put_turn(&prefix, shot_topic, shot_story, &err) && buf_printf(&prefix, &err, "<|im_end|>\n");
  ok = ok && tokenizer_encode(t, (Str){prefix.s, prefix.n}, true, false, &ids, &err);
  for (int i = 0; ok && i < SLOTS; i++)
    ok = (slot[i].s = session_new(e, (int)ids.n + TURN, &err)) && session_extend(slot[i].s, ids.id, (int)ids.n, 0, NULL, &err);
  long done = 0, tokens = 0, most = strtol(argv[2], NULL, 10), steps = 0;
  double start = now_seconds();
  while (ok && done < most) {
    Session *live[SLOTS];
    int next[SLOTS], n = 0;
    for (int i = 0; ok && i < SLOTS; i++) {
      Slot *s = &slot[i];
      if (!s->busy) ok = begin(s, t, (int)ids.n, &random, &err);
      s->next = session_sample(s->s, NULL);
      if (tokenizer_stops(t, s->next) || session_position(s->s) == session_context(s->s)) {
        finish(s, tokenizer_stops(t, s->next), &done);
        continue;
      }
      tokens++;
      ok = ok && detok_put(t, &s->d, s->next, &s->text, &err);
      live[n] = s->s;
      next[n++] = s->next;
    }
    ok = ok && (n == 0 || sessions_step(live, next, n, &err));
    if (++steps % 500 == 0) {
      fprintf(stderr, "%ld stories, %ld tokens, %.0f tokens/s\n", done, tokens, (double)tokens / (now_seconds() - start));
      fflush(stdout);
    }
  }
  if (!ok) fprintf(stderr, "stories: %s\n", err.text);
  return ok ? 0 : 1;
}
