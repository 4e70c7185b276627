/* test/blocks: blocks TYPE < line of hexadecimal blocks -> the values, as bits of f32 in hexadecimal. */
#include "model/model.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
  static char line[1 << 20];
  static uint8_t raw[1 << 19];
  static float out[1 << 16];
  if (argc != 2 || !fgets(line, sizeof line, stdin)) return 2;
  size_t n = strspn(line, "0123456789abcdef") / 2;
  for (size_t i = 0; i < n; i++) {
    unsigned x;
    sscanf(line + 2 * i, "%2x", &x);
    raw[i] = (uint8_t)x;
  }
  for (int t = 0; t < T_COUNT; t++) {
    if (strcmp(tensor_type[t].name, argv[1]) != 0) continue;
    int64_t values = (int64_t)n / tensor_type[t].size * tensor_type[t].block;
    Tensor tensor = {.type = (TensorType)t, .rows = 1, .cols = values, .data = raw, .size = n};
    tensor_rows(&tensor, 0, 1, out);
    for (int64_t i = 0; i < values; i++) {
      uint32_t bits;
      memcpy(&bits, &out[i], 4);
      printf("%08x ", bits);
    }
    printf("\n");
    return 0;
  }
  return 1;
}
