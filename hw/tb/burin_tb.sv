// Drives a chip by a script and prints what it does; any simulator with delays can run it.
//
// +script=FILE: lines of three numbers.  "0 A V" writes V to register A; "1 T L" sends token T (L: the prompt's last); "2 0 0" waits
// for the last token of the answer.
// Prints "token T" for every token that comes out and "cycles N" for every token that was worked on.  +fst=FILE writes waves.
module burin_tb;
  logic clk = 1'b0;
  logic rst = 1'b1;
  logic [31:0] in_data = 32'd0, out_data, wdata = 32'd0, rdata;
  logic in_valid = 1'b0, in_ready, in_last = 1'b0, out_valid, out_last, write = 1'b0, token_done;
  logic [3:0] addr = 4'd9;

  burin_chip u_chip (
      .clk_i(clk),
      .rst_i(rst),
      .s_axis_tdata(in_data),
      .s_axis_tvalid(in_valid),
      .s_axis_tready(in_ready),
      .s_axis_tlast(in_last),
      .m_axis_tdata(out_data),
      .m_axis_tvalid(out_valid),
      .m_axis_tready(1'b1),
      .m_axis_tlast(out_last),
      .reg_write_i(write),
      .reg_addr_i(addr),
      .reg_wdata_i(wdata),
      .reg_rdata_o(rdata),
      .token_done_o(token_done)
  );

  always #1 clk = !clk;

  logic done_q = 1'b0;
  logic answered = 1'b0;
  always @(posedge clk) begin
    done_q <= token_done;
    if (done_q) $display("cycles %0d", rdata);
    if (out_valid) begin
      $display("token %0d", out_data);
      if (out_last) answered <= 1'b1;
    end else if (in_valid) begin
      answered <= 1'b0;
    end
  end

  string script, waves;
  int file, got, op, a, b;

  initial begin
    if ($value$plusargs("fst=%s", waves)) begin
      $dumpfile(waves);
      $dumpvars(0, burin_tb);
    end
    if (!$value$plusargs("script=%s", script)) $fatal(1, "expected +script=FILE");
    file = $fopen(script, "r");
    if (file == 0) $fatal(1, "cannot open %s", script);
    repeat (4) @(negedge clk);
    rst = 1'b0;
    got = $fscanf(file, "%d %d %d", op, a, b);
    while (got == 3) begin
      @(negedge clk);
      case (op)
        0: begin
          addr = a[3:0];
          wdata = b;
          write = 1'b1;
          @(negedge clk);
          write = 1'b0;
          addr = 4'd9;
        end
        1: begin
          in_data = a;
          in_last = b[0];
          in_valid = 1'b1;
          while (!in_ready) @(negedge clk);
          @(negedge clk);
          in_valid = 1'b0;
        end
        default: while (!answered) @(negedge clk);
      endcase
      got = $fscanf(file, "%d %d %d", op, a, b);
    end
    repeat (4) @(negedge clk);
    $finish;
  end
endmodule
