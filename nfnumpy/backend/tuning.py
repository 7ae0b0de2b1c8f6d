"""Every threshold of the fast paths on NumPy, with its unit and the measurement behind it.

All were measured on two cores of an AMD EPYC (Zen 4, AVX-512, 1 MB of level-2 cache a core), float32;
docs/performance.md has the tables. No threshold changes what is computed beyond the order of additions. The fast paths
read them here at every call, so that a test may set all of them in one place.
"""

# ---- Threads. From handing work to the pool to having its result 60 to 100 µs pass.

PARALLEL_VALUES = 1 << 18  # values a thread; one pass over them takes some 100 µs
PARALLEL_NONLINEARITY_VALUES = 1 << 16  # values; at a dozen passes each, 1.3 ns a value, they take some 85 µs
PARALLEL_MULTIPLY_ADDS = 1 << 23  # some 150 µs; with a quarter, nfnet_32px steps on 1 image took 36 ms instead of 24

# ---- Blocks. A call of NumPy may wait 5 to 10 µs for the interpreter's lock, so blocks are large.

BLOCK_VALUES = 1 << 17  # values; an update of 71.5 M took 37 ms so, 52 ms with 2¹⁶, 80 ms with 2¹⁵, 150 ms with 2¹³
NONLINEARITY_BLOCK_VALUES = 1 << 18  # values; GELU took 1.3 ns a value so, 1.6 with 2¹⁶, 2.0 with 2¹⁵, 4.6 with 2¹³
POOLING_BLOCK_VALUES = 1 << 18  # values of the larger of image and result; whole images only
WINDOW_BLOCK_BYTES = 3 << 20  # bytes of gathered windows: a few hundred of 3×3×128 values, less than a core's cache
WINOGRAD_BLOCK_BYTES = 4 << 20  # bytes of tiles and their products

# ---- Sizes up to which a formula is as fast as its fast path.

SMALL_VALUES = 1 << 16  # values, where the formula makes several passes
LARGE_VALUES = 1 << 19  # values, where the formula makes one pass
SMALL_WEIGHT_VALUES = 1 << 17  # values of a weight to standardize
STANDARDIZATION_PASSES = 3  # over a weight's values, in each of the two steps: as much work as so many single passes
SUMMED_CHANNELS = 128  # channels up to which NumPy's own sums over rows or pixels are slow
EXCITED_VALUES = 1 << 20  # values; with more channels than those, squeeze_excite_vjp is as fast as its formula
LINEAR_ROWS = 64  # rows of a product; with more, one call of BLAS is as fast
LINEAR_WEIGHT_VALUES = 1 << 17  # values of its weight; reading them is the work: 0.94 -> 0.40 ms for 8 rows, 1536×768

# ---- Short rows. NumPy starts a loop for every row, and copies short ones into a buffer first.

LONG_ROW_VALUES = 384  # values; shorter rows are copied into NumPy's buffer: 0.34 ns a value instead of 0.16
LONG_RUN_BYTES = 384  # bytes copied in the time in which a loop starts: 9 runs of 24 values took 19 ns, as items 11

# ---- Products. OpenBLAS's AVX-512 kernels have code of their own for up to a million multiply-adds.

SMALL_PRODUCT = 1_000_000  # multiply-adds; rows × 144 × 16 ran at 62-79 GFLOP/s a core whole, at 107-113 in pieces
PRODUCT_ROWS = 256  # rows multiplied at a time: enough to be fast, and the product stays in the level-2 cache
FEWEST_PRODUCT_ROWS = 24  # rows; with fewer, that is with a larger matrix, pieces gain nothing
SUMMED_PRODUCT_VALUES = 10_000  # values of a product over the rows, of which every piece adds one

# ---- Convolutions.

GROUPED_CHANNELS = 64  # channels of a group; with fewer, groups taken one by one fetch the same cache lines again
THREAD_SUM_BYTES = 1 << 18  # bytes of a weight up to which every thread may have a sum of its own
WINOGRAD_CHANNELS = 32  # channels of a group, in and out, from which transforms pay (32→64, 96²: 169 -> 215 GFLOP/s)
WINOGRAD_TILES = 64  # tiles of 2×2 outputs; products of fewer rows are slow
IMPLICIT_CHANNELS = 31  # channels of a group up to which windows are used where they lie; with more, copies pay
IMPLICIT_FEWEST_CHANNELS = 6  # channels of a group times outputs computed together; with fewer, adding up is slow
IMPLICIT_OUTPUTS_PER_TAP = 3  # outputs along an axis for each tap but one; with fewer the padding is too large a part
PAIRED_OUTPUT_BYTES = 32  # bytes of a group's outputs up to which two are computed together: half a vector of AVX-512
PHASE_CHANNELS = 16  # channels of a group up to which all output phases are one product; with more, arithmetic decides
DEPTHWISE_RUN_VALUES = 6144  # values of a pass; einsum's sums over runs of up to a third of 8192 took twice as long
DEPTHWISE_PRODUCTS = 1 << 21  # products, some 0.3 ms on one thread
DEPTHWISE_BLOCK_PRODUCTS = 1 << 24  # products of a block, some 2.4 ms; its edges cost up to 35 calls of 10 µs
DEPTHWISE_FRAMED_CHANNELS = 240  # channels from which the kernel's gradient has a frame: 5×5, C=1152, 7²: 3.4 -> 2.5 ms
