/* cmd/main: the table of commands. */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
  const char *name;
  CommandFn *run;
  const char *help;
} command[] = {
    {"cast", cmd_cast, "make a chip from a model file"},
    {"run", cmd_run, "write text from a prompt"},
    {"chat", cmd_chat, "talk to a chip"},
    {"serve", cmd_serve, "answer over HTTP: OpenAI's API, and a chat page"},
    {"info", cmd_info, "say what a model or chip file holds"},
    {"bench", cmd_bench, "measure prefill and decode speed"},
    {"eval", cmd_eval, "measure perplexity, and the distance to the source model"},
    {"plan", cmd_plan, "say what the chip would be: speed, area, power, money"},
    {"mask", cmd_mask, "write the layers that carry the weights, or read them back"},
    {"diff", cmd_diff, "count and price what changes in the masks between two chips"},
    {"rtl", cmd_rtl, "write a chip as SystemVerilog"},
    {"verify", cmd_verify, "simulate that hardware and compare it with the engine"},
};
enum { COMMANDS = sizeof command / sizeof *command };

static void usage(FILE *out) {
  fprintf(out, "usage: burin COMMAND [options]\n\n");
  for (int i = 0; i < COMMANDS; i++) fprintf(out, "  %-8s %s\n", command[i].name, command[i].help);
  fprintf(out, "\n`burin COMMAND --help` explains a command; `burin --version` prints the version.\n");
}

int main(int argc, char **argv) {
  guard_install();
  if (argc < 2) {
    usage(stderr);
    return STATUS_USAGE;
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
    usage(stdout);
    return STATUS_DONE;
  }
  if (strcmp(argv[1], "--version") == 0) {
    printf("burin %s (chip format %d, arithmetic %d)\n", BURIN_VERSION, CHIP_FORMAT, CHIP_ARITHMETIC);
    return STATUS_DONE;
  }
  for (int i = 0; i < COMMANDS; i++)
    if (strcmp(argv[1], command[i].name) == 0) return command[i].run(argc - 1, argv + 1);
  fprintf(stderr, "burin: unknown command '%s'\n\n", argv[1]);
  usage(stderr);
  return STATUS_USAGE;
}
