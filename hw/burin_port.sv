// The register window: a word-addressed write and read port for the few settings that a host has.
//
//  0 control      write 1: forget the context          8 position      tokens in the context (read)
//  1 length       tokens to write behind a prompt      9 cycles        of the token before (read)
//  2 stop         31: valid, token                    10 vocabulary    (read)
//  3 1/T          round(2^12 / T); 0: greedy          11 context       (read)
//  4 min-p        Q16                                 12..15           first 128 bits of the chip's hash (read)
//  5 seed low     6 seed high: the write of it seeds
//
// Timing: a write takes effect in the next cycle; reg_rdata_o is combinational.
module burin_port #(
    parameter int unsigned Vocab = 512,
    parameter int unsigned Context = 512,
    parameter logic [127:0] Hash = '0
) (
    input  logic        clk_i,
    input  logic        rst_i,
    input  logic        reg_write_i,
    input  logic [ 3:0] reg_addr_i,
    input  logic [31:0] reg_wdata_i,
    output logic [31:0] reg_rdata_o,
    input  logic [31:0] position_i,
    input  logic [31:0] cycles_i,
    output logic        clear_o,
    output logic [31:0] length_o,
    output logic        stop_valid_o,
    output logic [30:0] stop_token_o,
    output logic [22:0] inv_temperature_o,
    output logic [16:0] min_p_o,
    output logic        seed_o,
    output logic [63:0] seed_value_o
);
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      clear_o <= 1'b0;
      length_o <= 32'd0;
      stop_valid_o <= 1'b0;
      stop_token_o <= '0;
      inv_temperature_o <= '0;
      min_p_o <= '0;
      seed_o <= 1'b0;
      seed_value_o <= '0;
    end else begin
      clear_o <= reg_write_i && reg_addr_i == 4'd0 && reg_wdata_i[0];
      seed_o <= reg_write_i && reg_addr_i == 4'd6;
      if (reg_write_i) begin
        case (reg_addr_i)
          4'd1: length_o <= reg_wdata_i;
          4'd2: {stop_valid_o, stop_token_o} <= reg_wdata_i;
          4'd3: inv_temperature_o <= reg_wdata_i[22:0];
          4'd4: min_p_o <= reg_wdata_i[16:0];
          4'd5: seed_value_o[31:0] <= reg_wdata_i;
          4'd6: seed_value_o[63:32] <= reg_wdata_i;
          default: ;
        endcase
      end
    end
  end

  always_comb begin
    case (reg_addr_i)
      4'd1: reg_rdata_o = length_o;
      4'd2: reg_rdata_o = {stop_valid_o, stop_token_o};
      4'd3: reg_rdata_o = 32'(inv_temperature_o);
      4'd4: reg_rdata_o = 32'(min_p_o);
      4'd5: reg_rdata_o = seed_value_o[31:0];
      4'd6: reg_rdata_o = seed_value_o[63:32];
      4'd8: reg_rdata_o = position_i;
      4'd9: reg_rdata_o = cycles_i;
      4'd10: reg_rdata_o = 32'(Vocab);
      4'd11: reg_rdata_o = 32'(Context);
      4'd12: reg_rdata_o = Hash[31:0];
      4'd13: reg_rdata_o = Hash[63:32];
      4'd14: reg_rdata_o = Hash[95:64];
      4'd15: reg_rdata_o = Hash[127:96];
      default: reg_rdata_o = 32'd0;
    endcase
  end
endmodule
