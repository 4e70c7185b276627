// All unit testbenches at once; reads NAME.vec of each in the current directory.
module unit_tb;
  butterfly_tb butterfly ();
  divide_tb divide ();
  finish_tb finish ();
  gate_tb gate ();
  heads_tb heads ();
  lane_tb lane ();
  lane_structural_tb lane_structural ();
  max_tb max ();
  quantise_tb quantise ();
  root_tb root ();
  rotary_tb rotary ();
  sampler_tb sampler ();
  score_tb score ();
  softmax_tb softmax ();
  step_tb step ();

  initial begin
    wait (
      butterfly.finished &&
      divide.finished &&
      finish.finished &&
      gate.finished &&
      heads.finished &&
      lane.finished &&
      lane_structural.finished &&
      max.finished &&
      quantise.finished &&
      root.finished &&
      rotary.finished &&
      sampler.finished &&
      score.finished &&
      softmax.finished &&
      step.finished
    );
    $finish;
  end
endmodule
