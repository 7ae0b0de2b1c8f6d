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
