// The body of every unit testbench: applies the vectors of the file Name.vec (lines of two hexadecimal numbers, input and expected
// output, made by test/hardware.c) and compares.  The including module says Name, InWidth, OutWidth, Latency (cycles from valid to
// the output) and Gap (cycles from one vector to the next; 1: one each cycle), and connects clk, rst, valid, in and out.
  logic clk = 1'b0;
  logic rst = 1'b1;
  logic valid = 1'b0;
  logic [InWidth-1:0] in = '0;
  logic [OutWidth-1:0] out;

  always #1 clk = !clk;

  localparam int Depth = Latency + 1;
  logic [OutWidth-1:0] expected[0:Depth];
  logic [Depth:0] due = '0;
  logic [InWidth-1:0] next_in;
  logic [OutWidth-1:0] next_out;
  int file, got, checked = 0, wrong = 0, wait_for = 0;
  logic ended = 1'b0;
  logic finished = 1'b0;

  initial begin
    file = $fopen({Name, ".vec"}, "r");
    if (file == 0) $fatal(1, "cannot open %s.vec", Name);
    repeat (4) @(negedge clk);
    rst = 1'b0;
    while (!ended || due != '0) begin
      @(negedge clk);
      due = due << 1;
      for (int i = Depth; i > 0; i--) expected[i] = expected[i-1];
      if (due[Latency]) begin
        checked++;
        if (out != expected[Latency]) begin
          if (wrong < 5) $display("%s, vector %0d: expected %h, found %h", Name, checked, expected[Latency], out);
          wrong++;
        end
      end
      valid = 1'b0;
      if (wait_for > 0) wait_for--;
      if (!ended && wait_for == 0) begin
        got = $fscanf(file, "%h %h", next_in, next_out);
        if (got == 2) begin
          in = next_in;
          expected[0] = next_out;
          due[0] = 1'b1;
          valid = 1'b1;
          wait_for = Gap;
        end else begin
          ended = 1'b1;
        end
      end
    end
    $display("%s: %0d vectors, %0d wrong", Name, checked, wrong);
    finished = 1'b1;
    if ($test$plusargs("alone")) $finish;
  end
