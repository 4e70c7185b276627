/* engine/kernel_avxvnni: the kernels for AVX2 with AVX-VNNI: its dot product of bytes, all else as AVX2. */
#include "engine/attention.h"
#include "engine/tiles_avx2.h"

const Kernels kernels_avxvnni = {
    .a_flip = 128, .signed_bits = SIGNED_BITS, .weigh = weigh, .matmul = matmul,
    ATTENTION, OPS(avx2),
};
