/* test/render: a chat template as a filter: render TEMPLATE VARIABLES.json -> text. */
#include "text/text.h"

#include <stdio.h>

int main(int argc, char **argv) {
  Err err = {0};
  Buf source = {0}, vars = {0}, out = {0};
  if (argc != 3) return 2;
  bool ok = file_read_all(argv[1], 1 << 26, &source, &err) && file_read_all(argv[2], 1 << 26, &vars, &err);
  ChatTemplate *t = ok ? template_new((Str){source.s, source.n}, &err) : NULL;
  ok = t && template_render_json(t, (Str){vars.s, vars.n}, &out, &err);
  if (ok) fwrite(out.s, 1, out.n, stdout);
  else fprintf(stderr, "%s\n", err.text);
  template_free(t);
  buf_free(&source);
  buf_free(&vars);
  buf_free(&out);
  return ok ? 0 : 1;
}
