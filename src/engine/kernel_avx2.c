/* engine/kernel_avx2: the kernels for AVX2. */
#include "engine/tiles_avx2.h"

const Kernels kernels_avx2 = {
    .tile = TILE, .needs_correction = true, .a_flip = 128, .tile_bytes = tile_bytes, .pack_tile = pack_tile, .matmul = matmul, .scratch_bytes = scratch_bytes,
    .quant8 = quant8_avx2, .norm8 = norm8_avx2, .rotary = rotary_avx2, .scores = scores_avx2, .values = values_avx2,
    .gate = gate_avx2, .butterfly_quant8 = butterfly_quant8_avx2, .add = add_avx2,
};
