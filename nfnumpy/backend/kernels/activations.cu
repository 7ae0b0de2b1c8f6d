// out = scale·g(x) and its derivative back = cotangent·scale·g'(x), for every elementwise nonlinearity g.
//
// Grid: one thread for each 16 bytes. Bytes moved: forward reads and writes every element once; the derivative reads
// two arrays and writes one.
//
// Formulas: functional/activations.py, term by term. Launched by functional/fast_cupy/activations.py.
// Test: reference_tests/kernels/test_activations.py.
#include "common.cuh"
#include "math.cuh"

// ---- the nonlinearities: g(x), and vjp(c, x) = c·g'(x)

struct identity {
    template <class A> static __device__ A g(A x) { return x; }
    template <class A> static __device__ A vjp(A c, A x) { return c; }
};
struct relu {
    template <class A> static __device__ A g(A x) { return at_least(x, A(0)); }
    template <class A> static __device__ A vjp(A c, A x) { return x > A(0) ? c : A(0); }
};
struct relu6 {
    template <class A> static __device__ A g(A x) { return at_most(at_least(x, A(0)), A(6)); }
    template <class A> static __device__ A vjp(A c, A x) { return x > A(0) && x < A(6) ? c : A(0); }
};
struct leaky_relu {
    template <class A> static __device__ A g(A x) { return x > A(0) ? x : A(0.01) * x; }
    template <class A> static __device__ A vjp(A c, A x) { return x > A(0) ? c : A(0.01) * c; }
};
struct tanh_g {
    template <class A> static __device__ A g(A x) { return tanh_(x); }
    template <class A> static __device__ A vjp(A c, A x) {
        A t = tanh_(x);
        return c * (A(1) - t * t);
    }
};
struct sigmoid {
    template <class A> static __device__ A g(A x) { return sigmoid_(x); }
    template <class A> static __device__ A vjp(A c, A x) { return c * sigmoid_(x) * sigmoid_(-x); }
};
struct gelu {
    // near keeps x³ from overflowing where tanh is ±1 anyway
    template <class A> static __device__ A near(A x) { return at_most(at_least(x, A(-10)), A(10)); }
    template <class A> static __device__ A slope() { return A(0.7978845608028654); }  // √(2/π)
    template <class A> static __device__ A cubic() { return A(0.044715); }
    template <class A> static __device__ A g(A x) {
        A n = near(x);
        return A(0.5) * x * (A(1) + tanh_(slope<A>() * (n + cubic<A>() * (n * n * n))));
    }
    template <class A> static __device__ A vjp(A c, A x) {
        A n = near(x), square = n * n, t = tanh_(slope<A>() * (n + cubic<A>() * square * n));
        A inner = slope<A>() * (A(1) + A(3) * cubic<A>() * square);
        return c * (A(0.5) * (A(1) + t) + A(0.5) * n * (A(1) - t * t) * inner);
    }
};
struct gelu_erf {
    template <class A> static __device__ A half_erfc(A x) { return A(0.5) * erfc_(x * A(-0.7071067811865476)); }
    template <class A> static __device__ A g(A x) { return x * half_erfc(x); }
    template <class A> static __device__ A vjp(A c, A x) {
        A density = exp_(A(-0.5) * x * x) * A(0.3989422804014327);  // 1/√(2π)
        return c * (half_erfc(x) + x * density);
    }
};
struct silu {
    template <class A> static __device__ A g(A x) { return x * sigmoid_(x); }
    template <class A> static __device__ A vjp(A c, A x) {
        A s = sigmoid_(x);
        return c * (s + x * s * sigmoid_(-x));
    }
};
struct elu {
    template <class A> static __device__ A g(A x) { return x > A(0) ? x : expm1_(at_most(x, A(0))); }
    template <class A> static __device__ A vjp(A c, A x) { return c * exp_(at_most(x, A(0))); }
};
struct selu {
    template <class A> static __device__ A scale() { return A(1.0507009873554805); }
    template <class A> static __device__ A alpha() { return A(1.6732632423543772); }
    template <class A> static __device__ A g(A x) {
        return scale<A>() * (x > A(0) ? x : alpha<A>() * expm1_(at_most(x, A(0))));
    }
    template <class A> static __device__ A vjp(A c, A x) {
        return scale<A>() * c * (x > A(0) ? A(1) : alpha<A>() * exp_(at_most(x, A(0))));
    }
};
struct softplus {
    template <class A> static __device__ A g(A x) { return at_least(x, A(0)) + log1p_(exp_(-magnitude(x))); }
    template <class A> static __device__ A vjp(A c, A x) { return c * sigmoid_(x); }
};
struct log_sigmoid {
    template <class A> static __device__ A g(A x) { return -softplus::g(-x); }
    template <class A> static __device__ A vjp(A c, A x) { return c * sigmoid_(-x); }
};
struct softsign {
    template <class A> static __device__ A g(A x) { return x / (A(1) + magnitude(x)); }
    template <class A> static __device__ A vjp(A c, A x) {
        A scale = A(1) + magnitude(x);
        return c / (scale * scale);
    }
};

// ---- the kernels

template <class T, class G>
__global__ void scaled_nonlinearity(const T* x, T* out, int64 count, Acc<T> scale) {
    map_pack(count, [=](Acc<T> value) { return G::g(value) * scale; }, out, x);
}

template <class T, class G>
__global__ void scaled_nonlinearity_vjp(const T* cotangent, const T* x, T* back, int64 count, Acc<T> scale) {
    map_pack(count, [=](Acc<T> c, Acc<T> value) { return G::vjp(c * scale, value); }, back, cotangent, x);
}
