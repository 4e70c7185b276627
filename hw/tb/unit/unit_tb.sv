// All unit testbenches at once; reads NAME.vec of each in the current directory.
module unit_tb;
  activations_tb activations ();
  attention_tb attention ();
  bank_tb bank ();
  butterfly_tb butterfly ();
  divide_tb divide ();
  embed_tb embed ();
  finish_tb finish ();
  gate_tb gate ();
  heads_tb heads ();
  kv_tb kv ();
  lane_tb lane ();
  lane_structural_tb lane_structural ();
  max_tb max ();
  port_tb port ();
  quantise_tb quantise ();
  ram_tb ram ();
  residual_tb residual ();
  root_tb root ();
  rotary_tb rotary ();
  sampler_tb sampler ();
  score_tb score ();
  silu_tb silu ();
  softmax_tb softmax ();
  step_tb step ();
  sweep_tb sweep ();

  initial begin
    wait (
      activations.finished &&
      attention.finished &&
      bank.finished &&
      butterfly.finished &&
      divide.finished &&
      embed.finished &&
      finish.finished &&
      gate.finished &&
      heads.finished &&
      kv.finished &&
      lane.finished &&
      lane_structural.finished &&
      max.finished &&
      port.finished &&
      quantise.finished &&
      ram.finished &&
      residual.finished &&
      root.finished &&
      rotary.finished &&
      sampler.finished &&
      score.finished &&
      silu.finished &&
      softmax.finished &&
      step.finished &&
      sweep.finished
    );
    $finish;
  end
endmodule
