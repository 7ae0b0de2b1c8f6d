// Elementary functions under one name for float and double, and comparisons that keep a NaN.

__device__ inline float sqrt_(float x) { return sqrtf(x); }
__device__ inline double sqrt_(double x) { return sqrt(x); }
__device__ inline float exp_(float x) { return expf(x); }
__device__ inline double exp_(double x) { return exp(x); }
__device__ inline float expm1_(float x) { return expm1f(x); }
__device__ inline double expm1_(double x) { return expm1(x); }
__device__ inline float log_(float x) { return logf(x); }
__device__ inline double log_(double x) { return log(x); }
__device__ inline float log1p_(float x) { return log1pf(x); }
__device__ inline double log1p_(double x) { return log1p(x); }
__device__ inline float tanh_(float x) { return tanhf(x); }
__device__ inline double tanh_(double x) { return tanh(x); }
__device__ inline float erfc_(float x) { return erfcf(x); }
__device__ inline double erfc_(double x) { return erfc(x); }

// A NaN as the first argument stays, as in clip.
template <class A> __device__ inline A at_least(A x, A low) { return x < low ? low : x; }
template <class A> __device__ inline A at_most(A x, A high) { return x > high ? high : x; }
template <class A> __device__ inline A magnitude(A x) { return x < A(0) ? -x : x; }
template <class A> __device__ inline bool is_finite(A x) { return x - x == A(0); }

template <class A> __device__ inline A sigmoid_(A x) {
    A decay = exp_(-magnitude(x));
    return x >= A(0) ? A(1) / (A(1) + decay) : decay / (A(1) + decay);
}

// ---- sums of squares within the range of their type: see functional/safe_range.py, which has the same

template <class A> struct SafeRange;
template <> struct SafeRange<float> {
    static constexpr float least_square = 0x1p-100f, up = 0x1p100f, down = 0x1p-80f;
    static constexpr float smallest_normal = 0x1p-126f, largest = 0x1.fffffep127f;
};
template <> struct SafeRange<double> {
    static constexpr double least_square = 0x1p-800, up = 0x1p600, down = 0x1p-600;
    static constexpr double smallest_normal = 0x1p-1022, largest = 0x1.fffffffffffffp1023;
};

// The power of two by which numbers with this sum of squares are to be multiplied; 1 if the sum is good as it is.
template <class A> __device__ inline A multiplier(A squares) {
    return squares < SafeRange<A>::least_square ? SafeRange<A>::up : is_finite(squares) ? A(1) : SafeRange<A>::down;
}
