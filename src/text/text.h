/* text: text to token ids and back, and chat templates.
 *
 * Owns tokenizers (byte-level BPE and SentencePiece-style BPE), streaming detokenisation, and a bounded interpreter for
 * the Jinja that models carry.  Knows a Vocab, not where it came from.
 * Refuses to guess: an unknown pre-tokeniser or template construct is an error.
 */
#ifndef BURIN_TEXT_H
#define BURIN_TEXT_H

#include "base/base.h"

/* ---- tokens ---- */

typedef struct {
  int *id;
  size_t n, cap;
} Tokens;

bool tokens_put(Tokens *t, int id, Err *err);
void tokens_free(Tokens *t);

typedef struct Tokenizer Tokenizer;

/* v must outlive the tokenizer. */
Tokenizer *tokenizer_new(const Vocab *v, Err *err);
void tokenizer_free(Tokenizer *t);

/* Appends the tokens of `text`.  Bytes that are not UTF-8 count as U+FFFD.  `specials`: names of control tokens in the
 * text become those tokens.  `bos`: the model's own start token goes first if the model wants one.
 * Time: O(n log n). */
bool tokenizer_encode(const Tokenizer *t, Str text, bool specials, bool bos, Tokens *out, Err *err);

/* The same for what a chat template rendered: names of control tokens count, and the start token goes first unless the text
 * begins with it: template or tokenizer puts it, never both. */
bool tokenizer_encode_chat(const Tokenizer *t, Str rendered, Tokens *out, Err *err);

/* Appends the bytes of one token as they are, whether or not they make whole characters.  Control tokens have none unless
 * `specials`: then their name. */
bool tokenizer_bytes(const Tokenizer *t, int id, bool specials, Buf *out, Err *err);

/* Tokens that end a reply: end of sequence, end of turn and their known names. */
bool tokenizer_stops(const Tokenizer *t, int id);

/* ---- back to text, token by token; output never splits a character ---- */
typedef struct {
  bool specials;     /* write control tokens too */
  bool strip_space;  /* drop the space that encoding put before the first word; reset by the first text */
  bool raw;          /* bytes as they come */
  int held;
  uint8_t hold[4];   /* bytes of a character that is not complete */
} Detok;

bool detok_put(const Tokenizer *t, Detok *d, int id, Buf *out, Err *err);
bool detok_end(Detok *d, Buf *out, Err *err); /* what is held becomes U+FFFD */

/* ---- chat templates ---- */

typedef struct {
  Str role, content;
} ChatMessage;

typedef struct ChatTemplate ChatTemplate;

/* Compiles a Jinja template.  An unknown construct is an error with its line. */
ChatTemplate *template_new(Str source, Err *err);
void template_free(ChatTemplate *t);
/* Renders messages; bos and eos are the texts of those tokens (variables bos_token and eos_token). */
bool template_render(const ChatTemplate *t, const ChatMessage *m, int n, bool add_generation_prompt, Str bos, Str eos, Buf *out,
                     Err *err);
/* The same with any variables, as a JSON object (the server passes tools and documents this way). */
bool template_render_json(const ChatTemplate *t, Str json, Buf *out, Err *err);

#endif
