// The fused CPU engine: a recurrent net's forward and backward pass over a whole sequence, float32 and float64.
//
// T time, R replica, B batch, I input, H hidden, G gate rows. Plain C++17 with a C interface; no torch, no BLAS.
//
// The work is cut into R x P tasks, one per replica and slice of the batch. A task runs the whole sequence, so no
// thread ever waits at a time step, and what it computes depends neither on the number of threads nor on R.
// Within a task:
//
//   * Weights are packed once per call into panels of PANEL columns, so that a product reads them in order. A row of a
//     product is one chain of fused multiply-adds over the inner dimension, however many rows are computed together:
//     a result does not depend on which rows share a block.
//   * Forward writes the preactivations where the activated gates will lie, and activates them in place.
//   * Backward meets, at every step, the total adjoint dL/dh_t (and dL/dc_t). That is the moment at which its norm is
//     taken and the adjoint rule acts. The gradients of the preactivations are kept for CHUNK rows, while they are in
//     cache, and then multiplied with [x | 1 | h] of the same steps: the gradients of all weights and biases at once.
//
// Columns come in blocks of H, padded to Hp, a multiple of PANEL, in this order (first those that see the input, last
// those that see the state):
//   rnn   h                  h_t = phi(a)
//   lstm  i f o g            c_t = f c + i phi(g),  h_t = o phi(c_t)
//   gru   n r z m            h_t = (1-z) n + z h,  n = phi(a_n + r m);  n sees x alone, m sees h alone
// What is kept in padded columns is zero.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#ifndef RNNLAB_SOURCE_HASH
#define RNNLAB_SOURCE_HASH ""
#endif

namespace {

// ---------------------------------------------------------------------------------------------------------------------
// Vectors

#if defined(__AVX512F__)
constexpr int BYTES = 64, MOST_ROWS = 12;  // rows x 2 vectors of accumulators: 24 of 32 registers
#elif defined(__AVX__)
constexpr int BYTES = 32, MOST_ROWS = 6;  // 12 of 16
#elif defined(__aarch64__)
constexpr int BYTES = 16, MOST_ROWS = 12;  // 24 of 32
#else
constexpr int BYTES = 16, MOST_ROWS = 6;
#endif

using i64 = int64_t;

// The accumulators of a product must become registers, so loops over them must vanish.
#define UNROLL _Pragma("GCC unroll 16")

template <class T> struct Simd;
template <> struct Simd<float> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef float Half __attribute__((vector_size(BYTES / 2)));
    typedef int32_t N __attribute__((vector_size(BYTES)));
};
template <> struct Simd<double> {
    typedef double V __attribute__((vector_size(BYTES)));
    typedef int64_t N __attribute__((vector_size(BYTES)));
};
template <class T> using Vec = typename Simd<T>::V;
using D = Vec<double>;

template <class T> constexpr int LANES = BYTES / int(sizeof(T));
template <class T> constexpr int PANEL = 2 * LANES<T>;

template <class T> inline Vec<T> load(const T* from) {
    Vec<T> v;
    std::memcpy(&v, from, BYTES);
    return v;
}
template <class T> inline void store(T* to, Vec<T> v) { std::memcpy(to, &v, BYTES); }
template <class T> inline Vec<T> all(T x) { return x - Vec<T>{}; }

// The squares of two vectors of numbers, added up in float64 (float32 squares below 1e-45 are zero), in chains that do
// not wait for each other
struct Squares {
    D sum[4] = {};
    void add(const double* from) {
        for (int k = 0; k < 2; k++) {
            const D v = load(from + k * LANES<double>);
            sum[k] += v * v;
        }
    }
    void add(const float* from) {
        for (int k = 0; k < 4; k++) {
            Simd<float>::Half half;
            std::memcpy(&half, from + k * LANES<double>, BYTES / 2);
            const D v = __builtin_convertvector(half, D);
            sum[k] += v * v;
        }
    }
    double total() const {
        D all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        double lanes[LANES<double>];
        std::memcpy(lanes, &all, BYTES);
        for (int width = LANES<double> / 2; width; width /= 2)
            for (int k = 0; k < width; k++) lanes[k] += lanes[k + width];
        return lanes[0];
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// exp, by 2^n e^r with |r| <= ln(2)/2 and Taylor's series of e^r - 1

template <class T> struct Exp;
template <> struct Exp<float> {
    static constexpr float shift = 0x1.8p23f, ln2_high = 0x1.63p-1f, lowest = -87.f, highest = 88.f, saturated = 20.f;
    static constexpr int terms = 7, bias = 127, mantissa = 23;
};
template <> struct Exp<double> {
    static constexpr double shift = 0x1.8p52, ln2_high = 0x1.62e42feep-1, lowest = -708, highest = 709, saturated = 40;
    static constexpr int terms = 13, bias = 1023, mantissa = 52;
};
constexpr long double LN2 = 0.693147180559945309417232121458176568L;

// e^x = scale * (1 + rest)
template <class T> inline void split_exp(Vec<T> x, Vec<T>& scale, Vec<T>& rest) {
    using E = Exp<T>;
    using N = typename Simd<T>::N;
    Vec<T> shifted = x * T(1 / LN2) + E::shift;  // its lowest bits are the nearest whole number
    Vec<T> n = shifted - E::shift;
    Vec<T> r = x - n * E::ln2_high;
    r = r - n * T(LN2 - E::ln2_high);
    scale = (Vec<T>)(((N)shifted + E::bias) << E::mantissa);
    constexpr auto inverse_factorial = [](int k) {
        long double f = 1;
        for (int i = 2; i <= k; i++) f *= i;
        return T(1 / f);
    };
    Vec<T> sum = all(inverse_factorial(E::terms));
    UNROLL
    for (int k = E::terms - 1; k >= 2; k--) sum = sum * r + inverse_factorial(k);
    rest = r + r * r * sum;
}

template <class T> inline Vec<T> clamp(Vec<T> x, T low, T high) {  // NaN stays NaN
    x = x < low ? all(low) : x;
    return x > high ? all(high) : x;
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) {
    Vec<T> scale, rest;
    split_exp<T>(clamp<T>(-x, Exp<T>::lowest, Exp<T>::highest), scale, rest);
    return T(1) / (T(1) + scale + scale * rest);
}

// (e^2x - 1) / (e^2x - 1 + 2): exact also near zero
template <class T> inline Vec<T> tanh_(Vec<T> x) {
    Vec<T> scale, rest;
    split_exp<T>(clamp<T>(x + x, -Exp<T>::saturated, Exp<T>::saturated), scale, rest);
    Vec<T> e = scale * rest + (scale - T(1));
    return e / (e + T(2));
}

// ---------------------------------------------------------------------------------------------------------------------
// Activations: the value, and the derivative as a function of the value

template <class T> struct Identity {
    static constexpr bool biased = false;
    static Vec<T> value(Vec<T> a, Vec<T>, T) { return a; }
    static Vec<T> derivative(Vec<T>, T) { return all(T(1)); }
};
template <class T> struct Tanh {
    static constexpr bool biased = false;
    static Vec<T> value(Vec<T> a, Vec<T>, T) { return tanh_<T>(a); }
    static Vec<T> derivative(Vec<T> y, T) { return T(1) - y * y; }
};
template <class T> struct Sigmoid {
    static constexpr bool biased = false;
    static Vec<T> value(Vec<T> a, Vec<T>, T) { return sigmoid<T>(a); }
    static Vec<T> derivative(Vec<T> y, T) { return y * (T(1) - y); }
};
template <class T> struct LeakyReLU {  // with slope 0: ReLU
    static constexpr bool biased = false;
    static Vec<T> value(Vec<T> a, Vec<T>, T slope) { return a < T(0) ? (slope == T(0) ? Vec<T>{} : a * slope) : a; }
    static Vec<T> derivative(Vec<T> y, T slope) { return y > T(0) ? all(T(1)) : all(slope); }
};
template <class T> inline Vec<T> sign(Vec<T> x) {
    return x > T(0) ? all(T(1)) : (x < T(0) ? all(T(-1)) : all(T(0)));
}
template <class T> struct ModReLU {  // sign(a) max(|a| + b, 0)
    static constexpr bool biased = true;
    static Vec<T> value(Vec<T> a, Vec<T> b, T) {
        Vec<T> size = (a < T(0) ? -a : a) + b;
        return sign<T>(a) * (size < T(0) ? all(T(0)) : size);
    }
    static Vec<T> derivative(Vec<T> y, T) { return y != T(0) ? all(T(1)) : all(T(0)); }
    static Vec<T> bias_derivative(Vec<T> y) { return sign<T>(y); }
};

// ---------------------------------------------------------------------------------------------------------------------
// Threads

// `count` calls of work(i), and a barrier. Threads live for one call of the kernel.
class Team {
    struct Phase {
        std::atomic<i64> next{0}, done{0};
    };
    Phase phases_[3];
    int threads_;
    std::mutex mutex_;
    std::condition_variable finished_;

  public:
    explicit Team(i64 threads) : threads_(int(threads)) {}

    template <class Body> void run(const Body& body) {
        std::vector<std::thread> others;
        int started = 1;
        try {
            for (; started < threads_; started++) others.emplace_back([&body, started] { body(started); });
        } catch (...) {  // no more threads to be had: those that run take all of the work
        }
        body(0);
        for (auto& other : others) other.join();
    }
    template <class Work> void each(int phase, i64 count, const Work& work) {
        Phase& p = phases_[phase];
        for (i64 i; (i = p.next++) < count;) {
            work(i);
            if (++p.done == count) {
                std::lock_guard<std::mutex> lock(mutex_);
                finished_.notify_all();
            }
        }
        for (int spins = 0; spins < 1000; spins++)
            if (p.done.load() >= count) return;
        std::unique_lock<std::mutex> lock(mutex_);
        finished_.wait(lock, [&] { return p.done.load() >= count; });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Products

template <class T> struct Segment {  // `length` columns of a matrix, its rows `stride` apart
    const T* at;
    i64 stride, length;
};

enum class Start { Zero, Bias, Target };

// target (ROWS, PANEL) = start + sum over segments of (ROWS, length) times the next `length` rows of the panel
template <class T, int ROWS>
void block(const Segment<T>* segments, i64 count, i64 row, const T* panel, T* target, i64 stride, Start start) {
    Vec<T> sum[ROWS][2];
    UNROLL
    for (int i = 0; i < ROWS; i++)
        UNROLL
        for (int j = 0; j < 2; j++)
            sum[i][j] = start == Start::Zero   ? Vec<T>{}
                        : start == Start::Bias ? load(panel + j * LANES<T>)
                                               : load(target + i * stride + j * LANES<T>);
    if (start == Start::Bias) panel += PANEL<T>;
    for (i64 s = 0; s < count; s++) {
        const i64 stride = segments[s].stride, length = segments[s].length;
        const T* at = segments[s].at + row * stride;
        for (i64 k = 0; k < length; k++, panel += PANEL<T>) {
            const Vec<T> b0 = load(panel), b1 = load(panel + LANES<T>);
            UNROLL
            for (int i = 0; i < ROWS; i++) {
                const Vec<T> a = all(at[i * stride + k]);
                sum[i][0] += a * b0;
                sum[i][1] += a * b1;
            }
        }
    }
    UNROLL
    for (int i = 0; i < ROWS; i++)
        UNROLL
        for (int j = 0; j < 2; j++) store(target + i * stride + j * LANES<T>, sum[i][j]);
}

// target (ROWS, PANEL) += (rows, ROWS)^T times (rows, PANEL): the sum over many rows of outer products
template <class T, int ROWS> void outer_block(const T* left, i64 stride, const T* right, i64 rows, T* target) {
    Vec<T> sum[ROWS][2] = {};
    for (i64 n = 0; n < rows; n++, left += stride, right += PANEL<T>) {
        const Vec<T> b0 = load(right), b1 = load(right + LANES<T>);
        UNROLL
        for (int i = 0; i < ROWS; i++) {
            const Vec<T> a = all(left[i]);
            sum[i][0] += a * b0;
            sum[i][1] += a * b1;
        }
    }
    UNROLL
    for (int i = 0; i < ROWS; i++)
        UNROLL
        for (int j = 0; j < 2; j++) {
            T* at = target + i * PANEL<T> + j * LANES<T>;
            store(at, load(at) + sum[i][j]);
        }
}

// Call work<ROWS>(first) for blocks of nearly equal size that cover 0..n
template <int ROWS, class Work> inline bool rows_are(i64 rows, i64 first, const Work& work) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) return work.template operator()<ROWS>(first), true;
        return rows_are<ROWS - 1>(rows, first, work);
    }
    return false;
}
template <class Work> inline void in_blocks(i64 n, const Work& work) {
    const i64 blocks = (n + MOST_ROWS - 1) / MOST_ROWS;
    for (i64 b = 0; b < blocks; b++) {
        const i64 first = b * n / blocks;
        rows_are<MOST_ROWS>((b + 1) * n / blocks - first, first, work);
    }
}

template <class T> struct Block {
    const Segment<T>* segments;
    i64 count;
    const T* panel;
    T* target;
    i64 stride;
    Start start;
    template <int ROWS> void operator()(i64 row) const {
        block<T, ROWS>(segments, count, row, panel, target + row * stride, stride, start);
    }
};
template <class T> struct OuterBlock {
    const T *left, *right;
    i64 stride, rows;
    T* target;
    template <int ROWS> void operator()(i64 first) const {
        outer_block<T, ROWS>(left + first, stride, right, rows, target + first * PANEL<T>);
    }
};

// Segments are passed over in groups of about this many panel rows: a group of the panel then stays in the L1 cache
// while all row blocks use it.
constexpr i64 GROUP = 256;

// target (n, PANEL) = start + segments x panel
template <class T>
void product(const Segment<T>* segments, i64 count, i64 n, const T* panel, T* target, i64 stride, Start start) {
    while (count > 0) {
        i64 taken = 0, length = 0;
        do length += segments[taken++].length;
        while (taken < count && length + segments[taken].length <= GROUP);
        in_blocks(n, Block<T>{segments, taken, panel, target, stride, start});
        panel += (length + (start == Start::Bias)) * PANEL<T>;
        start = Start::Target;
        segments += taken;
        count -= taken;
    }
}

// The same matrix in pieces of at most GROUP columns
template <class T> void append(std::vector<Segment<T>>& to, const T* at, i64 stride, i64 length) {
    for (i64 k = 0; k < length; k += GROUP) to.push_back({at + k, stride, std::min(GROUP, length - k)});
}

// ---------------------------------------------------------------------------------------------------------------------
// What is to be done, as operators.py gives it

struct Job {
    i64 T, R, B, I, H;
    i64 kept;     // trailing outputs that are returned
    i64 keep;     // what is kept for backward: 0 nothing, 1 all, k > 1 the states before every k-th step
    i64 threads;
    i64 cell, activation;
    i64 rule;   // 0 none, 1 clip_norm, 2 clip_value
    i64 every;  // no adjoint passes from step n*every to the step before; 0: all pass
    double slope, threshold;
    const void *input;             // (T, R, B, I)
    const void *weight_input, *weight_recurrent, *bias, *bias_recurrent;  // (R, I, G), (R, H, G), (R, G), (R, H)
    const void *activation_bias[2], *state[2];                            // (R, H), (R, B, H)
    const uint8_t *mask;                                                  // (T, R, B)
    void *output, *final_state[2];  // (R, kept, B, Hp), (R, B, H)
    // keep = 1: h of the steps before those in output (R, T - kept, B, Hp), c (R, T, B, Hp), gates (R, T, B, G').
    // keep > 1: h and c before the steps k, 2k, ... (R, (T-1)/k, B, Hp).
    void *trace_h, *trace_c, *trace_gates;
    const void *d_output, *d_final[2];  // (R, kept, B, H), (R, B, H)
    void *d_input, *d_weight_input, *d_weight_recurrent, *d_bias, *d_bias_recurrent, *d_activation_bias[2], *d_state[2];
    double *norm;  // (S, T, R, B)
    void *workspace;
};

inline i64 rounded(i64 n, i64 to) { return (n + to - 1) / to * to; }

// Slices of the batch: a power of two, so that they share out evenly among threads. Small slices leave more to share
// out; large ones read the weights less often, which counts where these do not fit into the L2 cache.
inline i64 slices(i64 B, i64 H) {
    const i64 most = H <= 256 ? 16 : H <= 512 ? 32 : 64;
    i64 count = 1;
    while ((B + count - 1) / count > most) count *= 2;
    return count;
}

// Hands out parts of the workspace; without one, measures it.
struct Arena {
    char* base;
    i64 used = 0;
    template <class T> T* take(i64 count) {
        T* at = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += rounded(count * i64(sizeof(T)), 64);
        return at;
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// Cells: their column blocks and the two elementwise halves

// blocks: column blocks; [0, seeing_input) see the input, [first_seeing_state, blocks) see the state.
// input_block[q], state_block[q]: the block of weight_input and bias, of weight_recurrent, that column block q takes.
struct Cell {
    int blocks, seeing_input, first_seeing_state, states, activations;
    bool gated;
    int input_block[4], state_block[4];
};
enum Kind { RNN, LSTM, GRU };
constexpr Cell CELLS[] = {
    {1, 1, 0, 1, 1, false, {0}, {0}},
    {4, 4, 0, 2, 2, true, {0, 1, 2, 3}, {0, 1, 2, 3}},
    {4, 3, 1, 1, 1, true, {2, 0, 1, -1}, {-1, 0, 1, 2}},
};

// The preactivation gradients of one row: column block q of unit j lies in panel (q Hp + j) / PANEL.
template <class T> struct PanelRow {
    T* at;
    i64 panel_stride, panels;  // of a block
    T* operator()(int q, i64 j) const { return at + (q * panels + j / PANEL<T>) * panel_stride + j % PANEL<T>; }
};

template <class T> inline void zero(T* at, i64 count) { std::memset(at, 0, count * sizeof(T)); }
template <class T> inline void copy(T* to, const T* from, i64 count) { std::memcpy(to, from, count * sizeof(T)); }
// Ask for memory that will be read soon: the processor does not foresee the way back through time.
// (Inlined always: GCC takes a function that only prefetches for one without effect, and drops its calls.)
template <class T> __attribute__((always_inline)) inline void fetch(const T* at, i64 count) {
    for (i64 k = 0; k < count; k += 64 / i64(sizeof(T))) __builtin_prefetch(at + k);
}
// (n, H) rows to padded rows and back
template <class T> inline void pad(T* to, const T* from, i64 n, i64 H, i64 Hp) {
    for (i64 i = 0; i < n; i++) {
        copy(to + i * Hp, from + i * H, H);
        zero(to + i * Hp + H, Hp - H);
    }
}
template <class T> inline void unpad(T* to, const T* from, i64 n, i64 H, i64 Hp) {
    for (i64 i = 0; i < n; i++) copy(to + i * H, from + i * Hp, H);
}

template <class T> struct Pass {
    using V = Vec<T>;
    static constexpr int L = LANES<T>, W = PANEL<T>;
    static constexpr i64 CHUNK = 256;

    const Job& job;
    const Cell& cell;
    const bool biased;  // the activation has a bias of its own
    const int S;
    const i64 R, B, I, H, Hp, Ip, P, panels, input_panels, first_state_panel, G;
    const i64 most_rows, threads;  // no more threads than tasks
    const i64 input_row, state_row;  // of weight_input and of weight_recurrent
    const T slope;
    const bool recomputes;

    struct Packed {
        T *forward, *state_back, *input_back;
    };
    struct Sums {  // of one task: gradients of [x | 1 | h] by panel, and of the activations' biases
        T *weights, *bias[2], *bias_chunk[2];
    };
    struct Scratch {  // of one thread
        T *before_h, *before_c, *h, *c, *gates;
        T *carry, *carry_c, *d_pre, *left, *d_input;
    };
    std::vector<Packed> packed;
    std::vector<Sums> sums;
    std::vector<Scratch> scratch;
    i64 workspace_bytes = 0;

    Pass(const Job& job, bool backward)
        : job(job), cell(CELLS[job.cell]), biased(job.activation == 4), S(cell.states), R(job.R), B(job.B),
          I(job.I), H(job.H), Hp(rounded(H, W)), Ip(rounded(I, W)),
          P(slices(B, H)), panels(cell.blocks * Hp / W), input_panels(cell.seeing_input * Hp / W),
          first_state_panel(cell.first_seeing_state * Hp / W), G(cell.blocks * Hp), most_rows((B + P - 1) / P),
          threads(std::min(job.threads, R * P)), input_row(cell.seeing_input * H),
          state_row((cell.blocks - cell.first_seeing_state) * H),
          slope(T(job.slope)), recomputes(backward && job.keep > 1) {
        Arena arena{static_cast<char*>(job.workspace)};
        for (i64 r = 0; r < R; r++) {
            Packed p{};
            if (!backward || recomputes) p.forward = arena.take<T>(panels * forward_stride());
            if (backward) p.state_back = arena.take<T>(Hp / W * state_back_stride());
            if (backward && job.d_input) p.input_back = arena.take<T>(Ip / W * input_back_stride());
            packed.push_back(p);
        }
        for (i64 task = 0; backward && task < R * P; task++) {
            Sums s{};
            s.weights = arena.take<T>(panels * sums_stride());
            for (int a = 0; biased && a < cell.activations; a++) {
                s.bias[a] = arena.take<T>(Hp);
                s.bias_chunk[a] = arena.take<T>(Hp);
            }
            sums.push_back(s);
        }
        const i64 state = most_rows * Hp, local = backward ? job.keep : 2;
        for (i64 thread = 0; thread < threads; thread++) {
            Scratch s{};
            s.before_h = arena.take<T>(state);
            if (S == 2) s.before_c = arena.take<T>(state);
            if (job.keep != 1) {
                s.h = arena.take<T>(local * state);
                if (S == 2) s.c = arena.take<T>(local * state);
                if (cell.gated) s.gates = arena.take<T>((backward ? local : 1) * most_rows * G);
            }
            if (backward) {
                s.carry = arena.take<T>(state);
                if (S == 2) s.carry_c = arena.take<T>(state);
                s.d_pre = arena.take<T>(panels * chunk_stride());
                s.left = arena.take<T>((CHUNK + most_rows) * left_stride());
                if (job.d_input) s.d_input = arena.take<T>(most_rows * Ip);
            }
            scratch.push_back(s);
        }
        workspace_bytes = arena.used;
    }

    i64 forward_stride() const { return (1 + I + H) * W; }
    i64 state_back_stride() const { return (G - first_state_panel * W) * W; }
    i64 input_back_stride() const { return input_panels * W * W; }
    i64 sums_stride() const { return (I + 1 + H) * W; }
    i64 chunk_stride() const { return (CHUNK + most_rows) * W + L; }  // not a power of two: other cache sets
    i64 left_stride() const { return rounded(I + 1 + H, L); }

    // -- weights in panels --------------------------------------------------------------------------------------------

    // Copy block `q` of W columns from unit j on out of a row of a parameter; zeros where there is none.
    void pack_row(T* to, const T* row, int block, i64 j) const {
        const i64 count = std::clamp<i64>(H - j, 0, W);
        if (block >= 0) copy(to, row + block * H + j, count);
        zero(to + (block >= 0 ? count : 0), W - (block >= 0 ? count : 0));
    }

    void pack_forward(i64 r) const {
        const T* u = static_cast<const T*>(job.weight_input) + r * I * input_row;
        const T* w = static_cast<const T*>(job.weight_recurrent) + r * H * state_row;
        const T* bias = static_cast<const T*>(job.bias) + r * input_row;
        for (i64 p = 0; p < panels; p++) {
            const int q = int(p * W / Hp);
            const i64 j = p * W - q * Hp;
            T* to = packed[r].forward + p * forward_stride();
            if (p < input_panels) pack_row(to, bias, cell.input_block[q], j);
            else pack_row(to, static_cast<const T*>(job.bias_recurrent) + r * H, 0, j);
            to += W;
            if (p < input_panels)
                for (i64 k = 0; k < I; k++, to += W) pack_row(to, u + k * input_row, cell.input_block[q], j);
            if (p >= first_state_panel)
                for (i64 k = 0; k < H; k++, to += W) pack_row(to, w + k * state_row, cell.state_block[q], j);
        }
    }

    // The transposed weights: rows are the columns of column blocks [first, last), in panels over the units before.
    void pack_back(T* to, const T* weight, i64 rows, i64 row_length, const int* block, int first, int last) const {
        for (i64 j = 0; j < rounded(rows, W); j += W)
            for (int q = first; q < last; q++)
                for (i64 k = 0; k < Hp; k++, to += W)
                    for (i64 lane = 0; lane < W; lane++)
                        to[lane] = k < H && j + lane < rows ? weight[(j + lane) * row_length + block[q] * H + k] : T(0);
    }
    void pack_backward(i64 r) const {
        const T* u = static_cast<const T*>(job.weight_input) + r * I * input_row;
        const T* w = static_cast<const T*>(job.weight_recurrent) + r * H * state_row;
        pack_back(packed[r].state_back, w, H, state_row, cell.state_block, cell.first_seeing_state, cell.blocks);
        if (job.d_input) pack_back(packed[r].input_back, u, I, input_row, cell.input_block, 0, cell.seeing_input);
    }

    // -- one task -----------------------------------------------------------------------------------------------------

    struct Task {
        const Pass& pass;
        const Job& job;
        const Cell& cell;
        const bool biased;
        const int S;
        const Scratch& own;
        const i64 r, first, n, Hp, index;
        i64 local_start = 0, local_span = 2, gate_span = 1;
        std::vector<Segment<T>> xs, hs, both, back;

        Task(const Pass& pass, i64 index, int thread)
            : pass(pass), job(pass.job), cell(pass.cell), biased(pass.biased), S(cell.states),
              own(pass.scratch[thread]), r(index / pass.P),
              first(index % pass.P * pass.B / pass.P), n((index % pass.P + 1) * pass.B / pass.P - first), Hp(pass.Hp),
              index(index) {}

        // Where the states and gates of a step lie: (n, Hp), and (n, G) side by side.
        T* output(i64 t) const {
            return static_cast<T*>(job.output) + ((r * job.kept + t - (job.T - job.kept)) * job.B + first) * Hp;
        }
        T* h(i64 t) const {
            if (t < local_start) return own.before_h;
            if (job.keep != 1) return own.h + (t - local_start) % local_span * n * Hp;
            const i64 early = job.T - job.kept;
            return t < early ? static_cast<T*>(job.trace_h) + ((r * early + t) * job.B + first) * Hp : output(t);
        }
        T* c(i64 t) const {
            if (t < local_start) return own.before_c;
            if (job.keep != 1) return own.c + (t - local_start) % local_span * n * Hp;
            return static_cast<T*>(job.trace_c) + ((r * job.T + t) * job.B + first) * Hp;
        }
        T* gates(i64 t) const {
            if (job.keep != 1) return own.gates + (t - local_start) % gate_span * n * pass.G;
            return static_cast<T*>(job.trace_gates) + ((r * job.T + t) * job.B + first) * pass.G;
        }
        T* checkpoint(void* trace, i64 which) const {  // the state before step `which` * keep
            return static_cast<T*>(trace) + ((r * ((job.T - 1) / job.keep) + which - 1) * job.B + first) * Hp;
        }
        const T* input(i64 t) const {
            return static_cast<const T*>(job.input) + ((t * job.R + r) * job.B + first) * job.I;
        }
        template <class X> X* per_state(X* at) const { return at + (r * job.B + first) * job.H; }
        bool live(i64 t, i64 i) const { return !job.mask || job.mask[(t * job.R + r) * job.B + first + i]; }
        const T* activation_bias(int a) const {
            return static_cast<const T*>(job.activation_bias[a]) + r * job.H;
        }

        // The activations' biases, padded: they are read at every row.
        std::vector<T> padded_bias[2];
        void take_initial_state() {
            pad(own.before_h, per_state(static_cast<const T*>(job.state[0])), n, job.H, Hp);
            if (S == 2) pad(own.before_c, per_state(static_cast<const T*>(job.state[1])), n, job.H, Hp);
            for (int a = 0; a < cell.activations; a++) {
                padded_bias[a].assign(Hp, T(0));
                if (biased) copy(padded_bias[a].data(), activation_bias(a), job.H);
            }
        }

        // -- forward --

        void forward() {
            take_initial_state();
            for (i64 t = 0; t < job.T; t++) {
                step(t);
                if (job.keep != 1 && t >= job.T - job.kept) copy(output(t), h(t), n * Hp);
                if (job.keep > 1 && (t + 1) % job.keep == 0 && t + 1 < job.T) {
                    copy(checkpoint(job.trace_h, (t + 1) / job.keep), h(t), n * Hp);
                    if (S == 2) copy(checkpoint(job.trace_c, (t + 1) / job.keep), c(t), n * Hp);
                }
            }
            unpad(per_state(static_cast<T*>(job.final_state[0])), h(job.T - 1), n, job.H, Hp);
            if (S == 2) unpad(per_state(static_cast<T*>(job.final_state[1])), c(job.T - 1), n, job.H, Hp);
        }

        void step(i64 t) {
            T* target = cell.gated ? gates(t) : h(t);
            const T* before = h(t - 1);
            xs.clear(), hs.clear();
            append(xs, input(t), job.I, job.I);
            append(hs, before, Hp, job.H);
            both = xs;
            both.insert(both.end(), hs.begin(), hs.end());
            for (i64 p = 0; p < pass.panels; p++) {
                const auto& seen = p >= pass.input_panels ? hs : p < pass.first_state_panel ? xs : both;
                product(seen.data(), i64(seen.size()), n, pass.packed[r].forward + p * pass.forward_stride(),
                        target + p * W, pass.G, Start::Bias);
            }
            for (i64 i = 0; i < n; i++) {
                if (live(t, i)) {
                    (this->*pass.elementwise.activate)(t, i, before);
                    clear_padding(t, i);
                } else {
                    copy(h(t) + i * Hp, before + i * Hp, Hp);
                    if (S == 2) copy(c(t) + i * Hp, c(t - 1) + i * Hp, Hp);
                }
            }
        }

        // Zero weights meet an infinite input as NaN, which must not reach a norm or another column.
        void clear_padding(i64 t, i64 i) const {
            if (job.H == Hp) return;
            zero(h(t) + i * Hp + job.H, Hp - job.H);
            if (S == 2) zero(c(t) + i * Hp + job.H, Hp - job.H);
            for (int q = 0; cell.gated && q < cell.blocks; q++)
                zero(gates(t) + i * pass.G + q * Hp + job.H, Hp - job.H);
        }

        template <class Phi> V phi(V a, int which, i64 j) const {
            return Phi::value(a, Phi::biased ? load(padded_bias[which].data() + j) : V{}, pass.slope);
        }

        template <Kind kind, class Phi> void activate(i64 t, i64 i, const T* before) {
            T* h_row = h(t) + i * Hp;
            if constexpr (kind == RNN) {
                for (i64 j = 0; j < Hp; j += L) store(h_row + j, phi<Phi>(load(h_row + j), 0, j));
            } else if constexpr (kind == LSTM) {
                T *i_ = gates(t) + i * pass.G, *f_ = i_ + Hp, *o_ = f_ + Hp, *g_ = o_ + Hp;
                T* c_row = c(t) + i * Hp;
                const T* c_before = c(t - 1) + i * Hp;
                for (i64 j = 0; j < Hp; j += L) {
                    const V in = sigmoid<T>(load(i_ + j)), f = sigmoid<T>(load(f_ + j)), o = sigmoid<T>(load(o_ + j));
                    const V g = phi<Phi>(load(g_ + j), 0, j);
                    const V c_new = f * load(c_before + j) + in * g;
                    store(i_ + j, in), store(f_ + j, f), store(o_ + j, o), store(g_ + j, g);
                    store(c_row + j, c_new);
                    store(h_row + j, o * phi<Phi>(c_new, 1, j));
                }
            } else {
                T *n_ = gates(t) + i * pass.G, *r_ = n_ + Hp, *z_ = r_ + Hp, *m_ = z_ + Hp;
                const T* h_before = before + i * Hp;
                for (i64 j = 0; j < Hp; j += L) {
                    const V reset = sigmoid<T>(load(r_ + j)), z = sigmoid<T>(load(z_ + j));
                    const V candidate = phi<Phi>(load(n_ + j) + reset * load(m_ + j), 0, j);
                    store(n_ + j, candidate), store(r_ + j, reset), store(z_ + j, z);
                    store(h_row + j, candidate + z * (load(h_before + j) - candidate));
                }
            }
        }

        // -- backward --

        void backward() {
            const i64 panels = pass.panels, chunk_steps = std::max<i64>(1, CHUNK / n);
            const Sums& total = pass.sums[index];
            zero(total.weights, panels * pass.sums_stride());
            for (int a = 0; biased && a < cell.activations; a++)
                zero(total.bias[a], Hp), zero(total.bias_chunk[a], Hp);
            start_carry(own.carry, job.d_final[0]);
            if (S == 2) start_carry(own.carry_c, job.d_final[1]);
            take_initial_state();

            i64 rows = 0;  // of the chunk
            const i64 span = job.keep == 1 ? job.T : job.keep;
            for (i64 start = (job.T - 1) / span * span; start >= 0; start -= span) {
                const i64 end = std::min(start + span, job.T);
                if (job.keep > 1) recompute(start, end);
                for (i64 t = end - 1; t >= start; t--) {
                    for (i64 i = 0; i < n; i++) meet(t, i, rows + i);
                    gather(t, rows);
                    pass_on(t, rows);
                    rows += n;
                    if ((job.T - t) % chunk_steps == 0 || t == 0) {
                        flush(rows);
                        rows = 0;
                    }
                }
            }
            if (job.d_state[0]) unpad(per_state(static_cast<T*>(job.d_state[0])), own.carry, n, job.H, Hp);
            if (S == 2 && job.d_state[1]) unpad(per_state(static_cast<T*>(job.d_state[1])), own.carry_c, n, job.H, Hp);
        }

        void start_carry(T* carry, const void* d_final) const {
            if (d_final) pad(carry, per_state(static_cast<const T*>(d_final)), n, job.H, Hp);
            else zero(carry, n * Hp);
        }

        void recompute(i64 start, i64 end) {
            local_start = start, local_span = gate_span = job.keep;
            if (start) {
                copy(own.before_h, checkpoint(job.trace_h, start / job.keep), n * Hp);
                if (S == 2) copy(own.before_c, checkpoint(job.trace_c, start / job.keep), n * Hp);
            } else {
                take_initial_state();
            }
            for (i64 t = start; t < end; t++) step(t);
        }

        // The total adjoint of a state component of one example has arrived: take its norm, let the rule act.
        void meet_adjoint(T* adjoint, i64 s, i64 t, i64 i) const {
            if (job.norm || job.rule == 1) {
                Squares squares;
                for (i64 j = 0; j < Hp; j += W) squares.add(adjoint + j);
                const double norm = std::sqrt(squares.total());
                if (job.norm) job.norm[((s * job.T + t) * job.R + r) * job.B + first + i] = norm;
                if (job.rule == 1) {
                    const double ratio = job.threshold / norm;
                    const T factor = T(ratio > 1 ? 1 : ratio);
                    for (i64 j = 0; j < Hp; j += L) store(adjoint + j, load(adjoint + j) * factor);
                }
            }
            if (job.rule == 2)
                for (i64 j = 0; j < Hp; j += L)
                    store(adjoint + j, clamp<T>(load(adjoint + j), T(-job.threshold), T(job.threshold)));
        }

        // Example i at step t: from what arrives to the preactivations' gradients, and to what passes on directly.
        void meet(i64 t, i64 i, i64 row) {
            const PanelRow<T> d{own.d_pre + row * W, pass.chunk_stride(), Hp / W};
            T* a_h = own.carry + i * Hp;
            zero(a_h + job.H, Hp - job.H);
            if (t >= job.T - job.kept && job.d_output) {
                const i64 at = ((r * job.kept + t - (job.T - job.kept)) * job.B + first + i) * job.H;
                const T* direct = static_cast<const T*>(job.d_output) + at;
                i64 j = 0;
                for (; j + L <= job.H; j += L) store(a_h + j, load(a_h + j) + load(direct + j));
                for (; j < job.H; j++) a_h[j] += direct[j];
            }
            if (!live(t, i)) {
                for (int q = 0; q < cell.blocks; q++)
                    for (i64 j = 0; j < Hp; j += L) store(d(q, j), V{});
                for (i64 s = 0; job.norm && s < S; s++)
                    job.norm[((s * job.T + t) * job.R + r) * job.B + first + i] = 0;
                return;
            }
            meet_adjoint(a_h, 0, t, i);
            (this->*pass.elementwise.differentiate)(t, i, d);
        }

        template <Kind kind, class Phi> void differentiate(i64 t, i64 i, PanelRow<T> d) {
            const T* h_row = h(t) + i * Hp;
            T* a_h = own.carry + i * Hp;
            T* const* bias = pass.sums[index].bias_chunk;
            const auto slope_at = [&](V y) { return Phi::derivative(y, pass.slope); };
            if constexpr (kind == RNN) {
                for (i64 j = 0; j < Hp; j += L) {
                    const V a = load(a_h + j), y = load(h_row + j);
                    store(d(0, j), a * slope_at(y));
                    store(a_h + j, V{});
                    if constexpr (Phi::biased) store(bias[0] + j, load(bias[0] + j) + a * Phi::bias_derivative(y));
                }
            } else if constexpr (kind == LSTM) {
                const T *i_ = gates(t) + i * pass.G, *f_ = i_ + Hp, *o_ = f_ + Hp, *g_ = o_ + Hp;
                const T *c_row = c(t) + i * Hp, *c_before = c(t - 1) + i * Hp;
                T* a_c = own.carry_c + i * Hp;
                for (i64 j = 0; j < Hp; j += L) {
                    const V a = load(a_h + j), o = load(o_ + j), y = phi<Phi>(load(c_row + j), 1, j);
                    store(d(2, j), a * y * o * (T(1) - o));
                    store(a_c + j, load(a_c + j) + a * o * slope_at(y));
                    store(a_h + j, V{});
                    if constexpr (Phi::biased)
                        store(bias[1] + j, load(bias[1] + j) + a * o * Phi::bias_derivative(y));
                }
                meet_adjoint(a_c, 1, t, i);
                for (i64 j = 0; j < Hp; j += L) {
                    const V a = load(a_c + j), in = load(i_ + j), f = load(f_ + j), g = load(g_ + j);
                    store(d(0, j), a * g * in * (T(1) - in));
                    store(d(1, j), a * load(c_before + j) * f * (T(1) - f));
                    store(d(3, j), a * in * slope_at(g));
                    store(a_c + j, a * f);
                    if constexpr (Phi::biased)
                        store(bias[0] + j, load(bias[0] + j) + a * in * Phi::bias_derivative(g));
                }
            } else {
                const T *n_ = gates(t) + i * pass.G, *r_ = n_ + Hp, *z_ = r_ + Hp, *m_ = z_ + Hp;
                const T* h_before = h(t - 1) + i * Hp;
                for (i64 j = 0; j < Hp; j += L) {
                    const V a = load(a_h + j), y = load(n_ + j), z = load(z_ + j), reset = load(r_ + j);
                    const V a_n = a * (T(1) - z), d_n = a_n * slope_at(y);
                    store(d(0, j), d_n);
                    store(d(1, j), d_n * load(m_ + j) * reset * (T(1) - reset));
                    store(d(2, j), a * (load(h_before + j) - y) * z * (T(1) - z));
                    store(d(3, j), d_n * reset);
                    store(a_h + j, a * z);
                    if constexpr (Phi::biased)
                        store(bias[0] + j, load(bias[0] + j) + a_n * Phi::bias_derivative(y));
                }
            }
        }

        // [x | 1 | h] of the step, beside the gradients that it is to be multiplied with
        void gather(i64 t, i64 rows) const {
            const T *x = input(t), *before = h(t - 1);
            for (i64 i = 0; i < n; i++) {
                T* to = own.left + (rows + i) * pass.left_stride();
                copy(to, x + i * job.I, job.I);
                to[job.I] = 1;
                copy(to + job.I + 1, before + i * Hp, job.H);
            }
        }

        // Through the weights to the step before, and to the input
        void pass_on(i64 t, i64 rows) {
            const auto segments = [&](i64 from, i64 to) {
                back.clear();
                for (i64 p = from; p < to; p++) back.push_back({own.d_pre + p * pass.chunk_stride() + rows * W, W, W});
            };
            const Packed& weights = pass.packed[r];
            if (job.every && t && t % job.every == 0) {
                zero(own.carry, n * Hp);
                if (S == 2) zero(own.carry_c, n * Hp);
            } else if (t || job.d_state[0]) {
                segments(pass.first_state_panel, pass.panels);
                for (i64 p = 0; p < Hp / W; p++) {
                    fetch_rows(t - 1, p * n / (Hp / W), (p + 1) * n / (Hp / W));
                    product(back.data(), i64(back.size()), n, weights.state_back + p * pass.state_back_stride(),
                            own.carry + p * W, Hp, Start::Target);
                }
            }
            if (!job.d_input) return;
            segments(0, pass.input_panels);
            for (i64 p = 0; p < pass.Ip / W; p++)
                product(back.data(), i64(back.size()), n, weights.input_back + p * pass.input_back_stride(),
                        own.d_input + p * W, pass.Ip, Start::Zero);
            T* to = static_cast<T*>(job.d_input) + ((t * job.R + r) * job.B + first) * job.I;
            unpad(to, own.d_input, n, job.I, pass.Ip);
        }

        // What step t will read of these rows, asked for between two products, which have memory to spare
        __attribute__((always_inline)) void fetch_rows(i64 t, i64 from, i64 to) const {
            if (job.keep != 1 || t < 1) return;
            fetch(h(t - 1) + from * Hp, (to - from) * Hp);
            if (cell.gated) fetch(gates(t) + from * pass.G, (to - from) * pass.G);
            if (S == 2) fetch(c(t - 1) + from * Hp, (to - from) * Hp);
        }

        void flush(i64 rows) const {
            const Sums& total = pass.sums[index];
            for (i64 p = 0; p < pass.panels; p++) {
                const i64 from = p < pass.input_panels ? 0 : job.I;
                const i64 to = p >= pass.first_state_panel ? job.I + 1 + job.H : job.I + 1;
                T* sum = total.weights + p * pass.sums_stride() + from * W;
                in_blocks(to - from, OuterBlock<T>{own.left + from, own.d_pre + p * pass.chunk_stride(),
                                                   pass.left_stride(), rows, sum});
            }
            for (int a = 0; biased && a < cell.activations; a++) {
                for (i64 j = 0; j < Hp; j++) total.bias[a][j] += total.bias_chunk[a][j];
                zero(total.bias_chunk[a], Hp);
            }
        }
    };

    struct Elementwise {
        void (Task::*activate)(i64, i64, const T*);
        void (Task::*differentiate)(i64, i64, PanelRow<T>);
    };
    const Elementwise elementwise = chosen();

    template <Kind kind, class Phi> static Elementwise of() {
        return {&Task::template activate<kind, Phi>, &Task::template differentiate<kind, Phi>};
    }
    template <Kind kind> Elementwise of_cell() const {
        switch (job.activation) {
            case 0: return of<kind, Identity<T>>();
            case 1: return of<kind, Tanh<T>>();
            case 2: return of<kind, Sigmoid<T>>();
            case 3: return of<kind, LeakyReLU<T>>();
            default: return of<kind, ModReLU<T>>();
        }
    }
    Elementwise chosen() const {
        return job.cell == RNN ? of_cell<RNN>() : job.cell == LSTM ? of_cell<LSTM>() : of_cell<GRU>();
    }

    // -- a replica's gradients: the sum over its slices, always in the same order --------------------------------------

    void reduce(i64 r, i64 p) const {
        const int q = int(p * W / Hp);
        const i64 j = p * W - q * Hp, count = std::clamp<i64>(H - j, 0, W);
        T* d_input = static_cast<T*>(job.d_weight_input) + r * I * input_row + cell.input_block[q] * H + j;
        T* d_state = static_cast<T*>(job.d_weight_recurrent) + r * H * state_row + cell.state_block[q] * H + j;
        T* d_bias = p < input_panels ? static_cast<T*>(job.d_bias) + r * input_row + cell.input_block[q] * H + j
                                     : static_cast<T*>(job.d_bias_recurrent) + r * H + j;
        const i64 from = p < input_panels ? 0 : I, to = p >= first_state_panel ? I + 1 + H : I + 1;
        for (i64 k = from; k < to; k++) {
            V sum[2] = {};
            for (i64 slice = 0; slice < P; slice++)
                for (int half = 0; half < 2; half++)
                    sum[half] += load(sums[r * P + slice].weights + p * sums_stride() + k * W + half * L);
            copy(k < I ? d_input + k * input_row : k == I ? d_bias : d_state + (k - I - 1) * state_row,
                 reinterpret_cast<const T*>(sum), count);
        }
        for (int a = 0; biased && p == 0 && a < cell.activations; a++) {
            T* to = static_cast<T*>(job.d_activation_bias[a]) + r * H;
            zero(to, H);
            for (i64 slice = 0; slice < P; slice++)
                for (i64 unit = 0; unit < H; unit++) to[unit] += sums[r * P + slice].bias[a][unit];
        }
    }

    void run(bool backward) const {
        Team team(threads);
        team.run([&](int thread) {
            team.each(0, R, [&](i64 r) {
                if (!backward || recomputes) pack_forward(r);
                if (backward) pack_backward(r);
            });
            // Backward takes the tasks in the opposite order: what forward wrote last may still be in cache.
            team.each(1, R * P, [&](i64 task) {
                if (backward) Task(*this, R * P - 1 - task, thread).backward();
                else Task(*this, task, thread).forward();
            });
            if (backward) team.each(2, R * panels, [&](i64 which) { reduce(which / panels, which % panels); });
        });
    }
};

template <class T> i64 go(const Job& job, bool backward, bool measure) {
    const Pass<T> pass(job, backward);
    if (!measure) pass.run(backward);
    return pass.workspace_bytes;
}

}  // namespace

extern "C" {

const char* rnnlab_kernel_source() { return RNNLAB_SOURCE_HASH; }
int64_t rnnlab_job_bytes() { return sizeof(Job); }
// H rounded up to what a row of states takes
int64_t rnnlab_padded(int64_t H, int is_double) { return rounded(H, is_double ? PANEL<double> : PANEL<float>); }
// -1: out of memory
int64_t rnnlab_workspace_bytes(const void* job, int is_double, int backward) try {
    const Job& given = *static_cast<const Job*>(job);
    return is_double ? go<double>(given, backward, true) : go<float>(given, backward, true);
} catch (const std::bad_alloc&) {
    return -1;
}
// 0, or -1: out of memory
int rnnlab_run(const void* job, int is_double, int backward) try {
    const Job& given = *static_cast<const Job*>(job);
    is_double ? go<double>(given, backward, false) : go<float>(given, backward, false);
    return 0;
} catch (const std::bad_alloc&) {
    return -1;
}
}
