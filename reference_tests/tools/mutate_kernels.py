"""Do the tests of the kernels notice mistakes? Makes them, one at a time, in a copy of the package, and runs the tests.

    python reference_tests/tools/mutate_kernels.py [FILE …] [--only WORDS]       such as losses pooling; default: all

Prints for every mistake whether it was caught and by which test; the exit status is 1 if one was not.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = {  # of a file's kernels, where they are not kernels/test_FILE.py
    "common": ["test_cuda_on_cpu.py", "test_residual.py", "test_losses.py", "test_weight_standardization.py",
               "test_optimizer.py"],
    "image_means": ["test_pooling.py", "test_squeeze_excite.py"],
    "optimizer": ["test_optimizer.py", "test_rmsprop.py", "../optim/test_norms.py"],
    "tensor_cores": ["test_implicit_convolution.py"],
}
MISTAKES = {  # file: [(what is wrong, as the file has it, and instead)]
    "common": [
        ("the tail one short", "k < Pack<T>::size && start + k < count", "k < Pack<T>::size && start + k < count - 1"),
        ("a whole pack past the end", "if (start + Pack<T>::size <= count &&", "if (start < count &&"),
        ("addresses not looked at", "return together % 16 == 0;", "return true;"),
        ("half of a warp left out", "distance = WARP / 2; distance > 0", "distance = WARP / 4; distance > 0"),
        ("no barrier before the sums of columns are read", "total[column] = finish(sum);\n    }\n    __syncthreads();",
         "total[column] = finish(sum);\n    }"),
        ("a lane of a warp left out of the sums of columns", "distance >= lanes; distance /= 2",
         "distance > lanes; distance /= 2"),
        ("the last held row left out", "for (int r = 0; r < HELD; ++r)\n            if (row(r) < own.end) use",
         "for (int r = 0; r < HELD - 1; ++r)\n            if (row(r) < own.end) use"),
        ("the rest from one row too far on", "int64 i = row(HELD); i", "int64 i = row(HELD + 1); i"),
        ("past the end of a run", "int(min(int64(across), end - i))", "across"),
        ("no barrier before the sum of a block", "__syncthreads();  // of_warp may still", "// of_warp may still"),
        ("bfloat16 cut off instead of rounded", "0x7fffu + (bits >> 16 & 1u)", "0u"),
        ("ties of bfloat16 away from even", "0x7fffu + (bits >> 16 & 1u)", "0x8000u"),
    ],
    "activations": [
        ("slope of relu", "return x > A(0) ? c : A(0); }\n};\nstruct relu6",
         "return x > A(0) ? A(0) : c; }\n};\nstruct relu6"),
        ("constant of gelu", "A(0.044715)", "A(0.0447)"),
        ("GELU's inner derivative", "A(3) * cubic<A>()", "A(2) * cubic<A>()"),
        ("scale forgotten backwards", "G::vjp(c * scale, value)", "G::vjp(c, value)"),
        ("arrays the wrong way round", "back, cotangent, x);", "back, x, cotangent);"),
        ("sigmoid of the other sign", "return c * sigmoid_(-x); }\n};\nstruct softsign", "return c * sigmoid_(x); }\n"
         "};\nstruct softsign"),
    ],
    "losses": [
        ("the wrong row of labels", "widen(labels[row * classes + c])", "widen(labels[c * classes + row])"),
        ("a label that is no class taken", "label < 0 || label >= classes", "label < 0 || label > classes"),
        ("smoothing forgotten", "loss -= share *", "loss -= (share - spread) *"),
        ("the last maximum, not the first", "other_place < place", "other_place > place"),
        ("NaN overlooked", "nan == other_nan ? other > value : other_nan", "other > value"),
        ("no barrier", "    __syncthreads();\n    int of =", "    int of ="),
        ("first maximum of the first warp", "int of = lane < warps ? lane : 0;", "int of = 0;"),
        ("shares taken to sum to 1", "softmax * total - share", "softmax - share"),
        ("mean over classes", "/ Acc<T>(gridDim.x)", "/ Acc<T>(classes)"),
        ("sum instead of mean", "narrow<T>(sum / Acc<T>(count))", "narrow<T>(sum)"),
        ("largest not subtracted", "sum += exp_(widen(row[c]) - largest);\n    Acc<T> log_sum",
         "sum += exp_(widen(row[c]));\n    Acc<T> log_sum"),
    ],
    "images": [
        ("colours swapped", "channel == 0 ? mean_red", "channel == 2 ? mean_red"),
        ("1/256", "1.0 / 255.0", "1.0 / 256.0"),
        ("channel of the first value for all", "(channel + k) % 3);\n        store_pack",
         "channel);\n        store_pack"),
        ("the tail one short", "k < size && start + k < count", "k < size && start + k < count - 1"),
        ("a whole pack past the end", "if (start + size <= count &&", "if (start < count &&"),
        ("addresses not looked at", " && (unsigned long long)images % size == 0", ""),
    ],
    "weight_standardization": [
        ("eps added, not a floor", "T(1) / sqrt_(at_least(squared_norm, floor))",
         "T(1) / sqrt_(squared_norm + floor)"),
        ("Bessel's correction", "squared_norm = of.sums[place], floor",
         "squared_norm = of.sums[place] * T(rows) / T(rows > 1 ? rows - 1 : 1), floor"),
        ("variance floored, not N times it", "at_least(squared_norm, floor)", "at_least(squared_norm / T(9), floor)"),
        ("gain of another unit", "gains[column] : T(0)", "gains[0] : T(0)"),
        ("squares out of range", "again = __syncthreads_or(again);", "again = false; __syncthreads();"),
        ("small squares lost", "better > T(1) && eps", "false && eps"),
        ("slope below the floor too", "along * T(squared_norm > floor)", "along"),
        ("mean of the cotangent kept", "packs[1].value[k] - of.means[2 * first + Pack<T>::size + k] - unit",
         "packs[1].value[k] - unit"),
        ("what registers do not hold left out of the mean", "    strip.for_rest(add);", ""),
        ("what registers do not hold left out of the norm", "    strip.for_rest(add_squares);", ""),
        ("what registers do not hold not written", "    strip.for_rest(write);", ""),
        ("by set after it is read", "of.by[own] = 1;\n    __syncthreads();", "of.by[own] = 1;"),
        ("a column past the last", "across ? rows * columns : 0", "rows * columns"),
        ("means of another lane", "of.means[lane * COUNT * SIZE + k]", "of.means[lane * SIZE + k]"),
    ],
    "convolution": [
        ("padding on the other side", "dilation_y - top;", "dilation_y + top;"),
        ("dilation forgotten", "kernel_width * dilation_x - left", "kernel_width - left"),
        ("height and width of the kernel swapped", "tap / kernel_width * dilation_y",
         "tap / kernel_height * dilation_y"),
        ("the pixel past the edge", "seen >= 0 && seen < width", "seen >= 0 && seen <= width"),
        ("group forgotten", "+ group * fan + channel)", "+ channel)"),
        ("stride not looked at", "if (place % stride) return false;", ""),
        ("another order of the taps", "taps + first + k) * fan", "taps + taps - 1 - first - k) * fan"),
    ],
    "depthwise_convolution": [
        ("padding on the other side", "int row = line % out_height * stride_y - top;",
         "int row = line % out_height * stride_y + top;"),
        ("rows above the image read", "int i = max(0, -row);", "int i = 0;"),
        ("the pixel past the edge", "column >= 0 && column < columns)", "column >= 0 && column <= columns)"),
        ("the image forgotten", "(int64)(line / out_height) * height * width * channels + channel;",
         "(int64)0 * height * width * channels + channel;"),
        ("taps that a pixel is not seen through", "r - q * STRIDE : q - r * STRIDE", "r - q : q - r * STRIDE"),
        ("runs that do not begin at a window", "* W::run - left % STRIDE;", "* W::run;"),
        ("rows between windows", "i < min(kernel_height, row + 1); i += stride_y)",
         "i < min(kernel_height, row + 1); ++i)"),
        ("columns between windows", "step = WIDTH == 1 ? stride_x : WIDTH;", "step = WIDTH;"),
        ("windows past the last", "if (out_row >= out_height) continue;", ""),
        ("height and width of the kernel swapped", "WIDTH == 1 ? taps / kernel_width",
         "WIDTH == 1 ? taps / kernel_height"),
        ("runs past the last", "min(runs, (int(blockIdx.x) + 1) * runs_of_block)",
         "(int(blockIdx.x) + 1) * runs_of_block"),
        ("no barrier before sums are written over", "        __syncthreads();  // of_thread may still be read\n", ""),
        ("no barrier before sums are read", "        __syncthreads();\n        for (int at = thread",
         "        for (int at = thread"),
        ("sums of another block's channels", "blockIdx.z * across + at % across", "at % across"),
    ],
    "normalization": [
        ("squares of distances from the mean before", "squares[k] += distance * (value - mean[k]);",
         "squares[k] += distance * distance;"),
        ("a value too many", "Acc<T>(++count)", "Acc<T>(1 + ++count)"),
        ("threads taken to have seen equally many pixels", "from_first += Acc<T>(counts[row])",
         "from_first += Acc<T>(counts[0])"),
        ("the spread of the threads' means left out", " + Acc<T>(counts[row]) * distance * distance;", ";"),
        ("no barrier before a block's moments are read", "__syncthreads();  // all moments", "// all moments"),
        ("no barrier before a block's sums are read", "__syncthreads();  // all sums", "// all sums"),
        ("a channel past the last", "exists = threadIdx.x < width && channel < channels;",
         "exists = threadIdx.x < width;"),
        ("shares taken to be equally long", "max(int64(0), min(extent, pixels - share * extent))", "extent"),
        ("the spread of the shares' means left out", " + Acc<T>(part.pixels) * distance * distance;", ";"),
        ("a group of one channel", "return (int64)shares * of_group;", "return shares;"),
        ("Bessel's correction", "= squares / all;", "= squares / (all - Acc<T>(1));"),
        ("the image forgotten", "group[k] = tile.image * channels + channel;", "group[k] = channel;"),
        ("eps added to the root", "sqrt_(variances[group[k]] + eps)", "(sqrt_(variances[group[k]]) + eps)"),
        ("gamma forgotten in the means", "along += gamma[part.channel] * partial", "along += partial"),
        ("the mean of the cotangent kept", " - mean_back[k] - unit", " - unit"),
        ("the cotangent's part along x kept", " - unit * mean_along[k];", ";"),
    ],
    "tensor_cores": [  # but for the instructions, which the harness has in its own words
        ("no wait for the copies", "wait_for_groups<STAGES - 2>();", ""),
        ("a group too many unfinished", "wait_for_groups<STAGES - 2>()", "wait_for_groups<STAGES - 1>()"),
        ("no barrier after the wait", "            __syncthreads();  // all threads' copies",
         "            // all threads' copies"),
        ("no barrier before the stages are written over", "        __syncthreads();  // the stages have been read",
         "        // the stages have been read"),
        ("no barrier before the tile is read", "        __syncthreads();\n        int column = threadIdx.x % PIECES",
         "        int column = threadIdx.x % PIECES"),
        ("the stage before", "add(stages + from * STAGE_BYTES,", "add(stages + to * STAGE_BYTES,"),
        ("a stage too few", "to = to + 1 == STAGES ? 0", "to = to + 2 == STAGES ? 0"),
        ("the last slice not copied", "if (slice + STAGES - 1 >= slices) return;",
         "if (slice + STAGES >= slices) return;"),
        ("b not copied", "if (step == 1) copy_b(", "if (step == STEPS) copy_b("),
        ("rows of a along K", "place_of<T, true, ROWS>(row + l % 16, step * 2 + l / 16)",
         "place_of<T, true, ROWS>(row + l / 16 * 8 + l % 8, step * 2 + l / 8 % 2)"),
        ("a of halves with halves of K and rows swapped", "step * 16 + l / 16 * 8 + l % 8;", "step * 16 + l % 16;"),
        ("a of floats with k as another lane has it", "line = step * 8 + k / 2 * 4 + l % 4;",
         "line = step * 8 + k % 2 * 4 + l % 4;"),
        ("a of floats of another row", "at = row + k % 2 * 8 + l / 4,", "at = row + k / 2 * 8 + l / 4,"),
        ("b along K with columns and K swapped", "(column + l / 16 * 8 + l % 8, step * 2 + l / 8 % 2)",
         "(column + l % 16, step * 2 + l / 16)"),
        ("b of halves not transposed", "load_matrices<true>(b,", "load_matrices<false>(b,"),
        ("a of halves not transposed", "load_matrices<true>(a,", "load_matrices<false>(a,"),
        ("b of floats of another column", "at = column + k / 2 * 8 + l / 4,", "at = column + k % 2 * 8 + l / 4,"),
        ("b's columns of another pair", "b[j][1] = both[1], b[j + 1][0] = both[2]",
         "b[j][1] = both[2], b[j + 1][0] = both[1]"),
        ("not rounded to TF32", "value = rounded_to_tf32(value);", "value += 0;"),
        ("the last step left out", "step < STEPS; ++step", "step < STEPS - 1; ++step"),
        ("b where a is", "load_b(both, stage + B_AT,", "load_b(both, stage,"),
        ("sums not begun at 0", "for (float& value : part) value = 0;", "for (float& value : part) value += 0;"),
        ("rows of the sums swapped", "own = sum[k / 2][j] + k % 2 * 2;", "own = sum[k / 2][j] + (1 - k % 2) * 2;"),
        ("columns past the last written", "if (line && column < columns)", "if (line)"),
        ("what is added to the first column only", "own[1] + second);", "own[1] + first);"),
        ("pieces at another place within lines", "line * bytes + ((piece ^", "line * bytes + ((piece ^ 8 ^"),
    ],
    "implicit_convolution": [
        ("padding on the other side", "stride_y, stride_x, -top, -left)", "stride_y, stride_x, top, left)"),
        ("dilation forgotten", "unsigned(x[k] + j * dilation_x)", "unsigned(x[k] + j)"),
        ("the pixel past the edge", "< unsigned(width)) << j", "<= unsigned(width)) << j"),
        ("positions past the last", "seen.image < images ? seen.x : -(1 << 30);", "seen.x;"),
        ("taps in columns", "inside[k] |= along[k] << (i * kernel_width)",
         "inside[k] |= along[k] << (i * kernel_height)"),
        ("group forgotten in x", "channels + int(group) * fan + A::value();", "channels + A::value();"),
        ("group forgotten in the weight", "(TRANSPOSED ? int(group) * fan : int(group) * outs + first_column)",
         "(TRANSPOSED ? 0 : first_column)"),
        ("channels past the last", "bool in_fan = channel + A::value() < fan;", "bool in_fan = true;"),
        ("no zeros outside of the image", "bool there = in_fan && inside[k] >> tap & 1;", "bool there = in_fan;"),
        ("no zeros past the last channel of the weight", "channel + line < fan && first", "first"),
        ("no zeros past the last channel of the transposed weight", "channel + value < fan && first", "first"),
        ("columns past the last", "&& first_column + value < outs;\n                copy_later(stage",
         ";\n                copy_later(stage"),
        ("taps not turned around", "(tap_first + i * tap_row + j * tap_column) * of_tap",
         "(i * kernel_width + j) * of_tap"),
        ("height and width of the kernel swapped", "if (++j == kernel_width) {", "if (++j == kernel_height) {"),
        ("channels of the next row of taps", "channel = 0;\n                ++i;", "++i;"),
        ("a slice of channels left out", "((fan + A::SLICE - 1) / A::SLICE)", "max(1, fan / A::SLICE)"),
        ("phase's first pixel forgotten", "line / rows * place_image + place_first +",
         "line / rows * place_image +"),
        ("a row past the last is written", "position >= positions ? -1", "position > positions ? -1"),
        ("bias of another column", "widen(of_tile[column])", "widen(bias[column])"),
        ("bias past the last column", "biased && first_column + column < outs ?", "biased ?"),
        ("split of another number", "first_position = split * slices_of_split",
         "first_position = group * slices_of_split"),
        ("a slice of the next split", "A::SLICE, slices_of_split);", "A::SLICE, slices_of_split + 1);"),
        ("no next row", "x -= columns_back;\n            y += next_row;", "x -= columns_back;"),
        ("no next image", "y -= rows_back;\n            ++image;", "y -= rows_back;"),
        ("steps of whole images forgotten", "image += images_on;", ""),
        ("every target taken as dense", "is_dense            ?", "true ?"),
        ("tap's padding on the other side", "kernel_width * dilation_x - left)", "kernel_width * dilation_x + left)"),
        ("no zeros outside of the image for the weight",
         "&&\n                          unsigned(seen.x) < unsigned(width);", ";"),
        ("images past the last", "bool inside = seen.image < images &&", "bool inside ="),
        ("cotangents past the last", "bool there = line < positions && first", "bool there = first"),
        ("channels past the last of a tap", "return first_channel + row < fan", "return true"),
        ("cotangents of the next group", "line < positions && first_column + B::value(part) < outs;",
         "line < positions;"),
        ("x of the next group", "inside && first_channel + A::value(part) < fan;", "inside;"),
        ("one split too few", "split = 0; split < splits", "split = 1; split < splits"),
        ("splits rounded on their way", "sum[k + n] += part.value[n];",
         "sum[k + n] = widen(narrow<T>(sum[k + n] + part.value[n]));"),
    ],
    "bias": [
        ("bias of another channel", "load_values(added, bias + column)", "load_values(added, bias)"),
        ("no barrier", "        __syncthreads();\n        if (line % (2", "        if (line % (2"),
        ("the last row left out", "row < last; row += down", "row < last - 1; row += down"),
        ("too few added in pairs", "distance < down; distance *= 2", "distance < down / 2; distance *= 2"),
    ],
    "image_means": [
        ("divided by nothing", "narrow<Out>(sum / divisor)", "narrow<Out>(sum)"),
        ("no barrier before the sum", "total[k];\n    __syncthreads();", "total[k];"),
        ("no barrier between two sums", "__syncthreads();  // of_thread may still", "// of_thread may still"),
        ("one share too few", "share = 0; share < shares", "share = 1; share < shares"),
        ("a product of x with itself", "widen(packs[0].value[k]) * widen(packs[1].value[k])",
         "widen(packs[0].value[k]) * widen(packs[0].value[k])"),
        ("derivative not divided", "narrow<T>(widen(pack.value[k]) / pixels)", "narrow<T>(widen(pack.value[k]))"),
    ],
    "pooling": [
        ("the window's size, not its real pixels", "return A(rows.end - rows.begin) * A(columns.end - columns.begin);",
         "return A(down.window * along.window);"),
        ("a window short of a pixel", "min(start(o) + window, size)", "min(start(o) + window - 1, size)"),
        ("a window too few", "(place - window) / stride + 1, min", "(place - window) / stride + 2, min"),
        ("padding on the other side", "return o * stride - before;", "return o * stride + before;"),
        ("rows and columns of the image swapped", "int(row % Index(rows))", "int(row % Index(columns))"),
        ("four pixels as two", "* Acc<T>(0.25)", "* Acc<T>(0.5)"),
        ("padding of 0 under a maximum", "most[k] = -infinity();", "most[k] = 0;"),
        ("NaN lost", "value > most[k] || value != value", "value > most[k]"),
        ("every tie gets the cotangent", "if (any) leave_first", "if (false) leave_first"),
    ],
    "dropout": [
        ("scale forgotten", "return value * kept * scale;", "return value * kept;"),
        ("mask of another example", "widen(mask[example])", "widen(mask[0])"),
        ("a part too far", "blockIdx.x % parts *", "(blockIdx.x % parts + 1) *"),
    ],
    "residual": [
        ("skip_gain forgotten", "alpha * widen(*skip_gain);\n    map_pack(count, [=](Acc<T> s",
         "alpha;\n    map_pack(count, [=](Acc<T> s"),
        ("alpha forgotten", "*out = narrow<T>(alpha * sum)", "*out = narrow<T>(sum)"),
        ("the rest left out", "blockIdx.x == 0 && rest < count", "blockIdx.x == 0 && rest < count - 1"),
        ("the rest once a block", "blockIdx.x == 0 && rest < count", "rest < count"),
        ("shortcut and residual swapped", "return s + r * scale;", "return r + s * scale;"),
    ],
    "squeeze_excite": [
        ("scale forgotten", "s * sigmoid_(widen(", "sigmoid_(widen("),
        ("scale forgotten in the derivative", "(s * sigmoid_(g)", "(sigmoid_(g)"),
        ("gate of another image", "gate + tile.image * channels, tile.channel", "gate, tile.channel"),
        ("share of the mean forgotten", "* scale[k] + shift[k]", "* scale[k]"),
        ("mean not divided", "share[k] = widen(pack.value[k]) / pixels", "share[k] = widen(pack.value[k])"),
        ("slope of the sigmoid", "sigmoid_(g) * sigmoid_(-g)", "sigmoid_(g) * sigmoid_(g)"),
        ("one share too few", "share = 0; share < shares", "share = 1; share < shares"),
    ],
    "optimizer": [
        ("copies: the end of a run left out", "for (int64 i = packs * Pack<T>::size + threadIdx.x; i < count; "
         "i += blockDim.x) out[i] = values[i];", ""),
        ("copies: 16 bytes at any address", "packs = aligned(values, out) ? count / Pack<T>::size : 0;",
         "packs = count / Pack<T>::size;"),
        ("counts: the first piece left out", "starts[blockIdx.x] + threadIdx.x",
         "starts[blockIdx.x] + 1 + threadIdx.x"),
        ("counts: of pieces in the order of their sizes", "sum += values[order[i]]", "sum += values[i]"),
        ("eps added, not a floor", "at_least(sqrt_(weight_squares) / weight_by, clipping.eps)",
         "(sqrt_(weight_squares) / weight_by + clipping.eps)"),
        ("comparison reversed", "norm > largest * shrink", "norm < largest * shrink"),
        ("a unit that is not finite clipped", " && is_finite(norm)", ""),
        ("no least divisor", "at_least(norm, clipping.smallest * shrink)", "norm"),
        ("squares of gradients out of range", "of.grad_by[own] = multiplier(grad_squares)", "of.grad_by[own] = 1"),
        ("squares of parameters out of range", "of.weight_by[own] = multiplier(weight_squares)",
         "of.weight_by[own] = 1"),
        ("a factor below the range", "join(shrink, factor);", "factor *= shrink, shrink = 1;"),
        ("scaled sums left out", "if (by != T(1)) scaled =", "if (false) scaled ="),
        ("finite sums left out", "is_finite(sum) ? sum * by * by", "is_finite(sum) ? T(0)"),
        ("norm of another unit", "own / SIZE * 2 * SIZE + own % SIZE", "own"),
        ("decay before clipping", "g = g * of.scale[first + k] * of.factor[first + k];\n        "
         "if (step.weight_decay != 0) g += step.weight_decay * w;",
         "g = (g * of.scale[first + k] + step.weight_decay * w) * of.factor[first + k];"),
        ("Nesterov switched round", "nesterov ? g + momentum * v : v", "nesterov ? v : g + momentum * v"),
        ("RMSProp: epsilon outside the root", "lr * g / sqrt_(s + epsilon)", "lr * g / (sqrt_(s) + epsilon)"),
        ("RMSProp: the mean square of the step before", "v = momentum * v + lr * g / sqrt_(s + epsilon);",
         "v = momentum * v + lr * g / sqrt_((s - (1 - decay) * (g * g)) / decay + epsilon);"),
        ("RMSProp: the learning rate after momentum",
         "v = momentum * v + lr * g / sqrt_(s + epsilon);\n        w = w - v;",
         "v = momentum * v + g / sqrt_(s + epsilon);\n        w = w - lr * v;"),
        ("RMSProp: 1 - decay for decay", "s = decay * s + (1 - decay) * (g * g);",
         "s = (1 - decay) * s + decay * (g * g);"),
        ("the mean square read in the place of the velocity", "to.state[s] = entry->state[s];",
         "to.state[s] = entry->state[0];"),
        ("goes on in any case", "if (!step.goes_on) break;", ""),
        ("loss scale forgotten in the norm", "inverse_scale * of.grad_by[first + k]", "of.grad_by[first + k]"),
        ("what registers do not hold left out of the norm", "    strip.for_rest(add);", ""),
        ("what registers do not hold not updated", "    strip.for_rest([&](int64 i, const Pack<T>* packs) {",
         "    if (false) strip.for_rest([&](int64 i, const Pack<T>* packs) {"),
        ("a run counted once a column", "own < piece.columns ? clipped : 0", "clipped"),
        ("a run's columns as units", "for (int k = 1; run && k < SIZE; ++k)", "for (int k = 1; false; ++k)"),
        ("a row that is not of whole packs", "(piece.stride == 1 ? piece.rows : piece.stride | piece.columns) % SIZE "
         "== 0", "true"),
        ("addresses not looked at", "whole = whole && aligned(entry->param", "whole = whole || aligned(entry->param"),
        ("addresses of the state not looked at",
         "whole = whole && aligned(entry->state[s] + first, entry->new_state[s] + first);", ";"),
        ("a norm of 0 divided by", "found.norm > T(0) ? rho / found.norm : T(0)", "rho / found.norm"),
        ("1 - decay for decay", "kept * average + rest * x", "rest * average + kept * x"),
        ("a run one entry short", "k < i + SIZE && k < piece.rows", "k < i + SIZE && k < piece.rows - 1"),
    ],
}


def run_tests(name, mistake, clean):
    """(caught, what the tests said): the tests of file `name` on a copy of the folder `clean` with `mistake` in it.

    caught: None where the mistake cannot be made, or does not compile; it is then not known whether a test catches it.
    """
    folder = Path(tempfile.mkdtemp(dir=clean.parent))
    shutil.copytree(clean, folder, symlinks=True, dirs_exist_ok=True)
    if mistake:
        _, old, new = mistake
        (path,) = (folder / "nfnumpy" / "backend" / "kernels").glob(f"{name}.cu*")
        text = path.read_text()
        if text.count(old) < 1:
            return None, "is no longer possible: the file has changed"
        path.write_text(text.replace(old, new, 1))
    tests = [f"reference_tests/kernels/{file}" for file in TESTS.get(name, [f"test_{name}.py"])]
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-x", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={
        **os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"})
    shutil.rmtree(folder)
    failed = re.search(r"^(?:FAILED|ERROR) \S*?([\w.]+::\w+)", done.stdout, re.MULTILINE)
    if "KernelError: g++" in done.stdout or not (failed or done.returncode == 0):
        return None, f"does not compile or run: {' '.join(done.stdout[-400:].split())}"
    return bool(failed), failed[1] if failed else "all tests pass"


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", choices=[[], *MISTAKES], metavar="FILE", help="default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at once (default: %(default)s)")
    parser.add_argument("--only", default="", metavar="WORDS", help="the mistakes with these words in their name")
    options = parser.parse_args(arguments)
    chosen = options.files or MISTAKES
    tasks = [(name, mistake) for name in chosen
             for mistake in (None, *(mistake for mistake in MISTAKES[name] if options.only in mistake[0]))]
    bad = 0
    with tempfile.TemporaryDirectory() as work, concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        clean = Path(work) / "clean"
        for part in ("nfnumpy", "reference_tests"):
            shutil.copytree(ROOT / part, clean / part, ignore=shutil.ignore_patterns("__pycache__"))
        (clean / "data").symlink_to(ROOT / "data")
        results = pool.map(lambda task: run_tests(*task, clean), tasks)
        for (name, mistake), (caught, said) in zip(tasks, results, strict=True):
            as_it_should = caught is (mistake is not None)
            bad += not as_it_should
            verdict = {True: "caught", False: "passes", None: "unclear"}[caught]
            what = mistake[0] if mistake else "as it is"
            print(f"{'  ' if as_it_should else '! '}{verdict:8}{name}: {what} ({said})", flush=True)
    print(f"{len(tasks) - bad} of {len(tasks)} as they should be")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
