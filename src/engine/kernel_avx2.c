/* engine/kernel_avx2: the kernels for AVX2. */
#include "engine/tiles_avx2.h"

const Kernels kernels_avx2 = {
    .tile = TILE, .needs_correction = true, .a_flip = 128, .tile_bytes = tile_bytes, .pack_tile = pack_tile, .matmul = matmul,
    OPS(avx2),
};
