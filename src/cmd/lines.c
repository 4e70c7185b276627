/* cmd/lines: messages typed at a terminal: line editing, history, lines that go on. */
#include "cmd/lines.h"

#include <histedit.h>
#include <stdio.h>

struct Lines {
  EditLine *edit;
  History *history;
  bool more; /* the last line asked for another */
};

static const char *prompt_of(EditLine *e) {
  Lines *l;
  el_get(e, EL_CLIENTDATA, &l);
  return l->more ? ". " : "> ";
}

Lines *lines_open(Err *err) {
  HistEvent ev;
  Lines *l = mem_alloc(1, sizeof *l, err);
  if (!l) return NULL;
  *l = (Lines){el_init("burin", stdin, stdout, stderr), history_init(), false};
  if (!l->edit || !l->history) {
    err_set(err, "cannot start the line editor");
    lines_close(l);
    return NULL;
  }
  history(l->history, &ev, H_SETSIZE, 1000);
  el_set(l->edit, EL_CLIENTDATA, l);
  el_set(l->edit, EL_PROMPT, prompt_of);
  el_set(l->edit, EL_EDITOR, "emacs");
  el_set(l->edit, EL_HIST, history, l->history);
  el_set(l->edit, EL_SIGNAL, 0);
  return l;
}

void lines_close(Lines *l) {
  if (!l) return;
  if (l->edit) el_end(l->edit);
  if (l->history) history_end(l->history);
  mem_free(l);
}

bool lines_read(Lines *l, volatile sig_atomic_t *interrupted, Buf *out, Err *err) {
  HistEvent ev;
  out->n = 0;
  l->more = false;
  for (;;) {
    int n = 0;
    const char *s = el_gets(l->edit, &n);
    if (!s || n <= 0) {
      if (!*interrupted) return l->more && out->n;
      *interrupted = 0; /* Ctrl-C at the prompt drops the line */
      out->n = 0;
      l->more = false;
      printf("\n");
      continue;
    }
    while (n && (s[n - 1] == '\n' || s[n - 1] == '\r')) n--;
    l->more = n > 0 && s[n - 1] == '\\';
    if (!buf_put(out, s, (size_t)(l->more ? n - 1 : n), err)) return false;
    if (l->more) {
      if (!buf_put(out, "\n", 1, err)) return false;
      continue;
    }
    if (out->n) history(l->history, &ev, H_ENTER, out->s);
    return true;
  }
}
