// What tensor_cores.cuh wraps, for g++: each instruction as PTX defines it, by the warp's 32 fibers together. A copy
// that was begun leaves NaN where it goes until its thread waits for it; a copy that no wait follows is an error, as is
// an operand that was not rounded to TF32. Shared addresses count from the beginning of the block's dynamic shared
// memory.
#pragma once

namespace harness {

// ---- dynamic shared memory

inline size_t dynamic_bytes;  // of this launch

inline char* dynamic_shared() {
    static std::map<size_t, char> keys;
    return (char*)shared(&keys[dynamic_bytes], dynamic_bytes);
}

inline char* at_shared(unsigned address, size_t bytes) {
    if (address + bytes > dynamic_bytes) fail("an access outside of dynamic shared memory");
    if (address % bytes) fail("an access to shared memory at an address that is not a multiple of its size");
    return dynamic_shared() + address;
}

// ---- copies that go on in the background

struct Copy { char* to; const void* from; bool there; };
struct Copies {
    std::vector<Copy> open;                 // of no group yet
    std::vector<std::vector<Copy>> groups;  // unfinished, the oldest first
};
inline Copies* copies = new Copies[MOST_THREADS];

inline void forget_copies() {
    for (size_t k = 0; k < MOST_THREADS; ++k) copies[k].open.clear(), copies[k].groups.clear();
}

inline void check_copies() {  // at the end of a block
    for (size_t k = 0; k < count; ++k) {
        if (!copies[k].open.empty()) fail("copies that do not belong to a group");
        for (auto& group : copies[k].groups)
            if (!group.empty()) fail("copies that no thread waited for");
        copies[k].groups.clear();
    }
}

// ---- what the lanes of a warp show each other: two places a warp, used in turn

struct Shown { unsigned address; float a[4][2], b[2][2]; };
inline Shown shown[64][32];

inline Shown* show(const Shown& mine) {
    if (count % 32) fail("an instruction of whole warps in a block that is not made of them");
    Shown* all = shown[current / 32 * 2 + (turn[current] ^= 1)];
    all[current % 32] = mine;
    wait(AT_WARP_BARRIER);
    return all;
}

}  // namespace harness

#define DYNAMIC_SHARED(name) char* name = harness::dynamic_shared()

inline unsigned shared_address(const void* at) { return (unsigned)((const char*)at - harness::dynamic_shared()); }

inline void copy_later(unsigned to, const void* from, bool there) {
    harness::check_aligned(from);
    char* target = harness::at_shared(to, 16);
    memset(target, 0xff, 16);
    harness::copies[harness::current].open.push_back({target, from, there});
}

inline void end_group() {
    harness::Copies& own = harness::copies[harness::current];
    own.groups.push_back(own.open);
    own.open.clear();
}

template <int PENDING> inline void wait_for_groups() {
    auto& groups = harness::copies[harness::current].groups;
    while (groups.size() > PENDING) {
        for (auto& copy : groups.front())
            if (copy.there)
                memcpy(copy.to, copy.from, 16);
            else
                memset(copy.to, 0, 16);
        groups.erase(groups.begin());
    }
}

template <bool TRANSPOSED> inline void load_matrices(unsigned (&out)[4], unsigned row) {
    harness::at_shared(row, 16);
    harness::Shown* all = harness::show({row, {}, {}});
    unsigned lane = harness::current % 32, g = lane / 4, t = lane % 4;
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        unsigned short pair[2];
        for (unsigned k = 0; k < 2; ++k) {
            unsigned at_row = TRANSPOSED ? 2 * t + k : g, at_column = TRANSPOSED ? g : 2 * t + k;
            memcpy(&pair[k], harness::at_shared(all[8 * matrix + at_row].address + 2 * at_column, 2), 2);
        }
        memcpy(&out[matrix], pair, 4);
    }
}

inline unsigned load_shared(unsigned from) {
    unsigned value;
    memcpy(&value, harness::at_shared(from, 4), 4);
    return value;
}

inline unsigned rounded_to_tf32(unsigned bits) {
    if ((bits & 0x7fffffffu) > 0x7f800000u) return bits | 0x7fffffffu;
    return (bits + 0x1000u) & ~0x1fffu;
}

template <class T> struct Operand;  // the values of one register, in the order of k
template <> struct Operand<float> {
    static constexpr unsigned SIZE = 1;
    static float value(unsigned bits, unsigned) {
        float x = __uint_as_float(bits);
        if (x == x && bits & 0x1fffu) harness::fail("an operand that is not rounded to TF32");
        return x;
    }
};
template <> struct Operand<struct bfloat16> {
    static constexpr unsigned SIZE = 2;
    static float value(unsigned bits, unsigned k) { return __uint_as_float(bits >> 16 * k << 16); }
};
template <> struct Operand<struct float16> {
    static constexpr unsigned SIZE = 2;
    static float value(unsigned bits, unsigned k) { return float_of_half_bits((unsigned short)(bits >> 16 * k)); }
};

// Row r of a at value k is in lane r % 8 · 4 + (k of its half) / SIZE, register (r / 8) + 2·half; column c of b in lane
// c·4 + (k of its half) / SIZE, register half.
template <class T> inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    constexpr unsigned SIZE = Operand<T>::SIZE;
    harness::Shown mine;
    for (unsigned part = 0; part < SIZE; ++part) {
        for (unsigned k = 0; k < 4; ++k) mine.a[k][part] = Operand<T>::value(a[k], part);
        for (unsigned k = 0; k < 2; ++k) mine.b[k][part] = Operand<T>::value(b[k], part);
    }
    harness::Shown* all = harness::show(mine);
    unsigned lane = harness::current % 32, row = lane / 4, column = lane % 4 * 2;
    for (unsigned half = 0; half < 2; ++half)
        for (unsigned from = 0; from < 4; ++from) {
            const harness::Shown &upper = all[row * 4 + from], &left = all[column * 4 + from],
                                 &right = all[(column + 1) * 4 + from];
            for (unsigned part = 0; part < SIZE; ++part) {
                sum[0] += upper.a[2 * half][part] * left.b[half][part];
                sum[1] += upper.a[2 * half][part] * right.b[half][part];
                sum[2] += upper.a[2 * half + 1][part] * left.b[half][part];
                sum[3] += upper.a[2 * half + 1][part] * right.b[half][part];
            }
        }
}
