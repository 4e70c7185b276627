/* engine/kernel_avxvnni: the kernels for AVX2 with AVX-VNNI: its dot product of bytes, all else as AVX2. */
#include "engine/tiles_avx2.h"

const Kernels kernels_avxvnni = {
    .tile = TILE, .needs_correction = true, .a_flip = 128, .tile_bytes = tile_bytes, .pack_tile = pack_tile, .matmul = matmul,
    OPS(avx2),
};
