/* cmd/lines: messages typed at a terminal.  Apart from cmd.h, since libedit's header has a Tokenizer of its own. */
#ifndef BURIN_CMD_LINES_H
#define BURIN_CMD_LINES_H

#include "base/base.h"

#include <signal.h>

typedef struct Lines Lines;

Lines *lines_open(Err *err);
void lines_close(Lines *l);
/* One message, of one line or of several (a line that ends in a backslash goes on); false at the end of input.  A raised
 * *interrupted drops what was typed. */
bool lines_read(Lines *l, volatile sig_atomic_t *interrupted, Buf *out, Err *err);

#endif
