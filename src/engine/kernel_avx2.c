/* engine/kernel_avx2: the kernels for AVX2. */
#include "engine/attention.h"
#include "engine/tiles_avx2.h"

const Kernels kernels_avx2 = {
    .a_flip = 128, .signed_bits = SIGNED_BITS, .weigh = weigh, .matmul = matmul,
    ATTENTION, OPS(avx2),
};
