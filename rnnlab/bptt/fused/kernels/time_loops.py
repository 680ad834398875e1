"""The time loops of rnn, lstm and gru in Triton: what `launch.py` launches.

One program owns a replica and ROWS examples for all steps of a launch, so no program waits for another. Hidden units
come in tiles of COLUMNS, sums in chunks of DEPTH, and rows and columns beyond the edge are masked: any size fits.

ON_CHIP: one tile and one chunk hold all hidden units. The recurrent weights are then loaded once, and the state
(backward: the adjoint) stays in registers from step to step. Else a program loads weights at every step, and reads the
state before it back from the memory that it wrote itself, a barrier behind it.

KEEP: forward writes what backward reads, slot t + 1 the state after step t. Else two slots take turns, and the last K
states go to `output`.

A launch takes `steps` steps from step `first` of T. Memory, one row of H (or of G = blocks * H) each: states and
memories (R, slots, B), slot 0 the state before; projected (x U + b), gates, gradients and signed (R, theirs, B); mask
(T, R, B); norms (S, T, R, B); d_output and output (R, K, B); carried and direct (R, B). `weight` is (R, H, G), and
`transposed` (R, G, H).

Not imported but loaded by path (`launch.py`), compiled for tensors on a GPU and interpreted for those on the CPU. Its
folder is no package: where Triton is missing nobody stumbles over it, and tests that assert the shapes of every
module's functions leave Triton's alone.
"""
# pyright: reportMissingImports=false, reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false, reportUnknownMemberType=false

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")

# --- Scalars ----------------------------------------------------------------------------------------------------------


@triton.jit
def sigmoid(a):
    """1 / (1 + exp(-a)); the exponential never overflows."""
    e = tl.exp(-tl.abs(a))
    return tl.where(a >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def tanh(a):
    """tanh a to a few units in the last place: a rational or a polynomial near zero (Cephes), else exponentials."""
    magnitude = tl.abs(a)
    e = tl.exp(-2.0 * magnitude)
    far = (1.0 - e) / (1.0 + e)
    x = tl.where(magnitude < 0.625, a, 0.0)
    s = x * x
    if a.dtype == tl.float64:
        p = (-9.64399179425052238628e-1 * s - 9.92877231001918586564e1) * s - 1.61468768441708447952e3
        q = ((s + 1.12811678491632931402e2) * s + 2.23548839060100448583e3) * s + 4.84406305325125486048e3
        near = x + x * s * (p / q)
    else:
        p = (-5.70498872745e-3 * s + 2.06390887954e-2) * s - 5.37397155531e-2
        near = x + x * s * ((p * s + 1.33314422036e-1) * s - 3.33332819422e-1)
    return tl.where(magnitude < 0.625, near, tl.where(a < 0, -far, far))


@triton.jit
def activate(a, bias, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """phi(a). Comparisons are written so that NaN stays NaN."""
    if ACTIVATION == "tanh":
        h = tanh(a)
    elif ACTIVATION == "sigmoid":
        h = sigmoid(a)
    elif ACTIVATION == "leaky_relu":
        h = tl.where(a <= 0, a * SLOPE, a)
    elif ACTIVATION == "modrelu":
        m = tl.abs(a) + bias
        m = tl.where(m <= 0, 0.0, m)
        h = tl.where(a < 0, -m, tl.where(a > 0, m, a * m))
    else:
        h = a
    return h


@triton.jit
def through(d, h, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """d phi'(a), from h = phi(a)."""
    if ACTIVATION == "tanh":
        d = d * (1.0 - h * h)
    elif ACTIVATION == "sigmoid":
        d = d * (h * (1.0 - h))
    elif ACTIVATION == "leaky_relu":
        d = tl.where(h <= 0, d * SLOPE, d)
    elif ACTIVATION == "modrelu":
        d = tl.where(h == 0, 0.0, d)
    return d


@triton.jit
def factor(squares, RULE: tl.constexpr, THRESHOLD: tl.constexpr, DTYPE: tl.constexpr):
    """What clip_norm multiplies an adjoint with, from the sum of its squares (float64); 1 for the other rules."""
    if RULE == "clip_norm":
        norm = tl.sqrt(squares)
        f = THRESHOLD / tl.where(norm == 0, 1.0, norm)
        f = tl.where(norm == 0, 1.0, tl.where(f > 1.0, 1.0, f))
    else:
        f = tl.full(squares.shape, 1.0, tl.float64)
    return f.to(DTYPE)


@triton.jit
def ruled(d, f, RULE: tl.constexpr, THRESHOLD: tl.constexpr):
    """The adjoint that travels on."""
    if RULE == "clip_norm":
        d = d * f[:, None]
    elif RULE == "clip_value":
        d = tl.where(d > THRESHOLD, THRESHOLD, tl.where(d < -THRESHOLD, -THRESHOLD, d))
    return d


@triton.jit
def signed(d, a):
    """d sign(a): the derivative of modrelu by its bias, from that by its argument; d is 0 where a is."""
    return tl.where(a > 0, d, tl.where(a < 0, -d, d * 0.0))


# --- Tiles ------------------------------------------------------------------------------------------------------------


@triton.jit
def own_rows(ROWS: tl.constexpr):
    """(replica, examples) of this program."""
    return tl.program_id(0).to(tl.int64), tl.program_id(1) * ROWS + tl.arange(0, ROWS)


@triton.jit
def tile(rows, at, B, H: tl.constexpr, COLUMNS: tl.constexpr):
    """(hidden units from `at` on, which entries there are, where they lie in rows of H)."""
    columns = at + tl.arange(0, COLUMNS)
    return columns, (rows < B)[:, None] & (columns < H)[None, :], rows[:, None] * H + columns[None, :]


@triton.jit
def read(pointer, place, here):
    return tl.load(pointer + place, mask=here, other=0.0)


@triton.jit
def vector(pointer, columns, H: tl.constexpr):
    """One number per hidden unit, as a row."""
    return tl.load(pointer + columns, mask=columns < H, other=0.0)[None, :]


@triton.jit
def block(weight, STRIDE: tl.constexpr, k, columns, H: tl.constexpr, DEPTH: tl.constexpr):
    """Rows k and on of an (H, H) block of weights, whose rows are STRIDE apart."""
    deep = k + tl.arange(0, DEPTH)
    place = deep[:, None] * STRIDE + columns[None, :]
    return read(weight, place, (deep < H)[:, None] & (columns < H)[None, :])


@triton.jit
def product(x, w, a, PRECISION: tl.constexpr):
    """a + x w, summed in a's type; where weights come in 16 bits, x is rounded to them."""
    if INTERPRETED and w.dtype == tl.bfloat16:  # the interpreter cuts off where a device rounds, and multiplies bits
        bits = x.to(tl.uint32, bitcast=True)
        x = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).to(tl.float32, bitcast=True)
        w = w.to(tl.float32)
    x = x.to(w.dtype)
    if PRECISION == "tf32":
        a = tl.dot(x, w, a, input_precision="tf32", out_dtype=a.dtype)
    else:
        a = tl.dot(x, w, a, input_precision="ieee", out_dtype=a.dtype)
    return a


@triton.jit
def live_rows(mask, t, r, R, B, rows, HAS_MASK: tl.constexpr):
    """Which examples there are and have step t."""
    live = rows < B
    if HAS_MASK:
        live = live & (tl.load(mask + (t * R + r) * B + rows, mask=live, other=0) != 0)
    return live


# --- Forward ----------------------------------------------------------------------------------------------------------


@triton.jit
def slot(step, KEEP: tl.constexpr):
    """Where the state before a launch's step lies."""
    step = tl.cast(step, tl.int64)
    return step if KEEP else step % 2


@triton.jit
def write_state(
    states, output, new, step, t, T, K, B, place, here, H: tl.constexpr, KEEP: tl.constexpr, ON_CHIP: tl.constexpr
):
    """Where the next step, backward or the caller reads it."""
    if KEEP or not ON_CHIP:
        tl.store(states + slot(step + 1, KEEP) * B * H + place, new, mask=here)
    if not KEEP:
        k = t - (T - K)
        tl.store(output + tl.maximum(k, 0) * B * H + place, new, mask=here & (k >= 0))


@triton.jit(do_not_specialize=["T", "R", "B", "K", "first", "steps", "blocks", "slots"])
def rnn_forward(
    projected, weight, activation_bias, mask, states, output, T, R, B, K, first, steps, blocks, slots,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, HAS_MASK: tl.constexpr, KEEP: tl.constexpr,
    PRECISION: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """h = phi(x U + b + h W)."""
    r, rows = own_rows(ROWS)
    weight += r * H * H
    projected += r * blocks * B * H
    states += r * slots * B * H
    output += r * K * B * H
    columns, here, place = tile(rows, 0, B, H, COLUMNS)
    if ON_CHIP:
        h = read(states, place, here)
        w = block(weight, H, 0, columns, H, DEPTH)
    for step in range(steps):
        t = first + tl.cast(step, tl.int64)
        now = states + slot(step, KEEP) * B * H
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)[:, None]
        for at in range(0, H, COLUMNS):
            columns, here, place = tile(rows, at, B, H, COLUMNS)
            a = read(projected, place, here)
            for k in range(0, H, DEPTH):
                if not ON_CHIP:
                    _, inside, chunk = tile(rows, k, B, H, DEPTH)
                    h = read(now, chunk, inside)
                    w = block(weight, H, k, columns, H, DEPTH)
                a = product(h, w, a, PRECISION)
            bias = vector(activation_bias + r * H, columns, H) if ACTIVATION == "modrelu" else 0.0
            new = activate(a, bias, ACTIVATION, SLOPE)
            if HAS_MASK:
                new = tl.where(live, new, h if ON_CHIP else read(now, place, here))
            write_state(states, output, new, step, t, T, K, B, place, here, H, KEEP, ON_CHIP)
            if ON_CHIP:
                h = new
        if not ON_CHIP:
            tl.debug_barrier()  # the next step reads what other threads of this program stored
        projected += B * H
    if ON_CHIP and not KEEP:
        tl.store(states + slot(steps, KEEP) * B * H + place, h, mask=here)


@triton.jit(do_not_specialize=["T", "R", "B", "K", "first", "steps", "blocks", "slots"])
def lstm_forward(
    projected, weight, candidate_bias, output_bias, mask, states, memories, gates, output,
    T, R, B, K, first, steps, blocks, slots,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, HAS_MASK: tl.constexpr, KEEP: tl.constexpr,
    PRECISION: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """c = f c + i g, h = o phi(c); gates keeps i, f, o, g."""
    G: tl.constexpr = 4 * H
    r, rows = own_rows(ROWS)
    weight += r * H * G
    projected += r * blocks * B * G
    gates += r * (slots - 1) * B * G
    states += r * slots * B * H
    memories += r * slots * B * H
    output += r * K * B * H
    columns, here, place = tile(rows, 0, B, H, COLUMNS)
    if ON_CHIP:
        h = read(states, place, here)
        c = read(memories, place, here)
        w_i = block(weight, G, 0, columns, H, DEPTH)
        w_f = block(weight + H, G, 0, columns, H, DEPTH)
        w_o = block(weight + 2 * H, G, 0, columns, H, DEPTH)
        w_g = block(weight + 3 * H, G, 0, columns, H, DEPTH)
    for step in range(steps):
        t = first + tl.cast(step, tl.int64)
        now = slot(step, KEEP) * B * H
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)[:, None]
        for at in range(0, H, COLUMNS):
            columns, here, place = tile(rows, at, B, H, COLUMNS)
            wide = rows[:, None] * G + columns[None, :]
            a_i = read(projected, wide, here)
            a_f = read(projected + H, wide, here)
            a_o = read(projected + 2 * H, wide, here)
            a_g = read(projected + 3 * H, wide, here)
            for k in range(0, H, DEPTH):
                if not ON_CHIP:
                    _, inside, chunk = tile(rows, k, B, H, DEPTH)
                    h = read(states + now, chunk, inside)
                    w_i = block(weight, G, k, columns, H, DEPTH)
                    w_f = block(weight + H, G, k, columns, H, DEPTH)
                    w_o = block(weight + 2 * H, G, k, columns, H, DEPTH)
                    w_g = block(weight + 3 * H, G, k, columns, H, DEPTH)
                a_i = product(h, w_i, a_i, PRECISION)
                a_f = product(h, w_f, a_f, PRECISION)
                a_o = product(h, w_o, a_o, PRECISION)
                a_g = product(h, w_g, a_g, PRECISION)
            bias_g = vector(candidate_bias + r * H, columns, H) if ACTIVATION == "modrelu" else 0.0
            bias_c = vector(output_bias + r * H, columns, H) if ACTIVATION == "modrelu" else 0.0
            i = sigmoid(a_i)
            f = sigmoid(a_f)
            o = sigmoid(a_o)
            g = activate(a_g, bias_g, ACTIVATION, SLOPE)
            if not ON_CHIP:
                c = read(memories + now, place, here)
            old = c
            c = f * old + i * g
            new = o * activate(c, bias_c, ACTIVATION, SLOPE)
            if HAS_MASK:
                c = tl.where(live, c, old)
                new = tl.where(live, new, h if ON_CHIP else read(states + now, place, here))
            if KEEP or not ON_CHIP:
                tl.store(memories + slot(step + 1, KEEP) * B * H + place, c, mask=here)
            write_state(states, output, new, step, t, T, K, B, place, here, H, KEEP, ON_CHIP)
            if KEEP:
                tl.store(gates + wide, i, mask=here)
                tl.store(gates + wide + H, f, mask=here)
                tl.store(gates + wide + 2 * H, o, mask=here)
                tl.store(gates + wide + 3 * H, g, mask=here)
            if ON_CHIP:
                h = new
        if not ON_CHIP:
            tl.debug_barrier()
        projected += B * G
        gates += B * G
    if ON_CHIP and not KEEP:
        tl.store(states + slot(steps, KEEP) * B * H + place, h, mask=here)
        tl.store(memories + slot(steps, KEEP) * B * H + place, c, mask=here)


@triton.jit(do_not_specialize=["T", "R", "B", "K", "first", "steps", "blocks", "slots"])
def gru_forward(
    projected, weight, bias_recurrent, activation_bias, mask, states, gates, output,
    T, R, B, K, first, steps, blocks, slots,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, HAS_MASK: tl.constexpr, KEEP: tl.constexpr,
    PRECISION: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """n = phi(x U_n + b_n + r m) with m = h W_n + b_m, h = (1 - z) n + z h; gates keeps r, z, n, m."""
    DTYPE: tl.constexpr = states.dtype.element_ty
    G: tl.constexpr = 3 * H
    r, rows = own_rows(ROWS)
    weight += r * H * G
    projected += r * blocks * B * G
    gates += r * (slots - 1) * B * 4 * H
    states += r * slots * B * H
    output += r * K * B * H
    columns, here, place = tile(rows, 0, B, H, COLUMNS)
    if ON_CHIP:
        h = read(states, place, here)
        w_r = block(weight, G, 0, columns, H, DEPTH)
        w_z = block(weight + H, G, 0, columns, H, DEPTH)
        w_n = block(weight + 2 * H, G, 0, columns, H, DEPTH)
    for step in range(steps):
        t = first + tl.cast(step, tl.int64)
        now = states + slot(step, KEEP) * B * H
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)[:, None]
        for at in range(0, H, COLUMNS):
            columns, here, place = tile(rows, at, B, H, COLUMNS)
            wide = rows[:, None] * G + columns[None, :]
            a_r = read(projected, wide, here)
            a_z = read(projected + H, wide, here)
            a_n = read(projected + 2 * H, wide, here)
            m = tl.full((ROWS, COLUMNS), 0.0, DTYPE)
            for k in range(0, H, DEPTH):
                if not ON_CHIP:
                    _, inside, chunk = tile(rows, k, B, H, DEPTH)
                    h = read(now, chunk, inside)
                    w_r = block(weight, G, k, columns, H, DEPTH)
                    w_z = block(weight + H, G, k, columns, H, DEPTH)
                    w_n = block(weight + 2 * H, G, k, columns, H, DEPTH)
                a_r = product(h, w_r, a_r, PRECISION)
                a_z = product(h, w_z, a_z, PRECISION)
                m = product(h, w_n, m, PRECISION)
            m += vector(bias_recurrent + r * H, columns, H)
            bias = vector(activation_bias + r * H, columns, H) if ACTIVATION == "modrelu" else 0.0
            reset = sigmoid(a_r)
            z = sigmoid(a_z)
            n = activate(a_n + reset * m, bias, ACTIVATION, SLOPE)
            old = h if ON_CHIP else read(now, place, here)
            new = n + z * (old - n)
            if HAS_MASK:
                new = tl.where(live, new, old)
            write_state(states, output, new, step, t, T, K, B, place, here, H, KEEP, ON_CHIP)
            if KEEP:
                kept = gates + rows[:, None] * (4 * H) + columns[None, :]
                tl.store(kept, reset, mask=here)
                tl.store(kept + H, z, mask=here)
                tl.store(kept + 2 * H, n, mask=here)
                tl.store(kept + 3 * H, m, mask=here)
            if ON_CHIP:
                h = new
        if not ON_CHIP:
            tl.debug_barrier()
        projected += B * G
        gates += B * 4 * H
    if ON_CHIP and not KEEP:
        tl.store(states + slot(steps, KEEP) * B * H + place, h, mask=here)


# --- Backward ---------------------------------------------------------------------------------------------------------


@triton.jit
def arriving(
    d_h, carried, d_output, t, T, K, B, place, here,
    H: tl.constexpr, HAS_OUTPUT: tl.constexpr, ON_CHIP: tl.constexpr,
):  # fmt: skip
    """What arrives at h_t from later steps and from the loss; only the last K outputs were returned."""
    d = d_h if ON_CHIP else read(carried, place, here)
    if HAS_OUTPUT:
        k = t - (T - K)
        d += read(d_output + tl.maximum(k, 0) * B * H, place, here & (k >= 0))
    return d


@triton.jit
def plus(a, b):
    """For `tl.reduce`; `tl.sum` would be compiled or interpreted for the whole process, as Triton's import found it."""
    return a + b


@triton.jit
def squares_of(d):
    """Sums over a tile's columns, in float64: published norms fall below 1e-23, where float32 squares are zero."""
    d = d.to(tl.float64)
    return tl.reduce(d * d, 1, plus)


@triton.jit
def state_squares(
    norms, d_h, carried, d_output, live, t, r, T, R, B, K, rows,
    H: tl.constexpr, RULE: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Per example, the sum of squares of h_t's total adjoint, where somebody wants it; its norm is recorded."""
    squares = tl.full((ROWS,), 0.0, tl.float64)
    if RECORD or RULE == "clip_norm":
        for at in range(0, H, COLUMNS):
            _, here, place = tile(rows, at, B, H, COLUMNS)
            d = arriving(d_h, carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT, ON_CHIP)
            squares += squares_of(tl.where(live, d, 0.0))
        if RECORD:
            tl.store(norms + (t * R + r) * B + rows, tl.sqrt(squares), mask=rows < B)
    return squares


@triton.jit
def back_through(
    carried, direct, gradients, transposed, rows, B, cut,
    G: tl.constexpr, STRIDE: tl.constexpr, H: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """carried = direct + gradients W^T, or nothing where the rule cuts; rows of `gradients` are STRIDE apart."""
    DTYPE: tl.constexpr = carried.dtype.element_ty
    tl.debug_barrier()  # `direct` and `gradients` were stored by all threads of this program
    for at in range(0, H, COLUMNS):
        columns, here, place = tile(rows, at, B, H, COLUMNS)
        d = tl.full((ROWS, COLUMNS), 0.0, DTYPE)
        if cut == 0:
            d = read(direct, place, here)
            for k in range(0, G, DEPTH):
                deep = k + tl.arange(0, DEPTH)
                da = read(
                    gradients, rows[:, None] * STRIDE + deep[None, :], (rows < B)[:, None] & (deep < G)[None, :]
                )  # fmt: skip
                w = read(
                    transposed, deep[:, None] * H + columns[None, :], (deep < G)[:, None] & (columns < H)[None, :]
                )  # fmt: skip
                d = product(da, w, d, PRECISION)
        tl.store(carried + place, d, mask=here)
    tl.debug_barrier()  # the step before reads `carried`


@triton.jit
def cuts(t, every):
    """1 where nothing flows back from step t into the state before it."""
    return tl.where((every > 0) & (t > 0) & (t % tl.maximum(every, 1) == 0), 1, 0)


@triton.jit(do_not_specialize=["T", "R", "B", "K", "every", "first", "steps", "blocks", "slots"])
def rnn_backward(
    states, transposed, mask, d_output, carried, direct, gradients, signs, norms,
    T, R, B, K, every, first, steps, blocks, slots,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, RULE: tl.constexpr, THRESHOLD: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr,
    PRECISION: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gradients: dL/d(x U + b + h W); signs: that by modrelu's bias."""
    DTYPE: tl.constexpr = carried.dtype.element_ty
    r, rows = own_rows(ROWS)
    transposed += r * H * H
    d_output += r * K * B * H
    carried += r * B * H
    direct += r * B * H
    gradients += (r * blocks + steps - 1) * B * H
    signs += (r * blocks + steps - 1) * B * H
    states += (r * slots + steps) * B * H
    columns, here, place = tile(rows, 0, B, H, COLUMNS)
    d_h = 0.0
    if ON_CHIP:
        d_h = read(carried, place, here)
        w = block(transposed, H, 0, columns, H, DEPTH)
    for step in range(steps):
        t = first + tl.cast(steps - 1 - step, tl.int64)
        cut = cuts(t, every)
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)[:, None]
        squares = state_squares(
            norms, d_h, carried, d_output, live, t, r, T, R, B, K, rows,
            H, RULE, HAS_OUTPUT, RECORD, ON_CHIP, ROWS, COLUMNS,
        )  # fmt: skip
        f = factor(squares, RULE, THRESHOLD, DTYPE)
        for at in range(0, H, COLUMNS):
            columns, here, place = tile(rows, at, B, H, COLUMNS)
            d = arriving(d_h, carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT, ON_CHIP)
            passing = tl.where(live, 0.0, d)
            h = read(states, place, here)
            d = through(ruled(tl.where(live, d, 0.0), f, RULE, THRESHOLD), h, ACTIVATION, SLOPE)
            tl.store(gradients + place, d, mask=here)
            if ACTIVATION == "modrelu":
                tl.store(signs + place, signed(d, h), mask=here)
            if ON_CHIP:
                d_h = tl.where(cut != 0, 0.0, product(d, w, passing, PRECISION))
            else:
                tl.store(direct + place, passing, mask=here)
        if not ON_CHIP:
            back_through(
                carried, direct, gradients, transposed, rows, B, cut, H, H, H, PRECISION, ROWS, COLUMNS, DEPTH
            )  # fmt: skip
        gradients -= B * H
        signs -= B * H
        states -= B * H
    if ON_CHIP:
        tl.store(carried + place, d_h, mask=here)


@triton.jit
def memory_adjoint(
    d, kept, c, o, output_bias, columns,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr,
):  # fmt: skip
    """(phi(c), d o phi'(c), c's total adjoint): `d` is h's adjoint that travels on, `kept` what c got from later."""
    bias = vector(output_bias, columns, H) if ACTIVATION == "modrelu" else 0.0
    phi = activate(c, bias, ACTIVATION, SLOPE)
    inner = through(d * o, phi, ACTIVATION, SLOPE)
    return phi, inner, kept + inner


@triton.jit(do_not_specialize=["T", "R", "B", "K", "every", "first", "steps", "blocks", "slots"])
def lstm_backward(
    memories, gates, transposed, output_bias, mask, d_output, carried, direct, carried_c, gradients, signs, norms,
    T, R, B, K, every, first, steps, blocks, slots,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, RULE: tl.constexpr, THRESHOLD: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr,
    PRECISION: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gradients: those of the preactivations of i, f, o, g; signs: those by modrelu's biases, of g and of c.

    carried_c: (2, R, B, H); a step reads one half and writes the other.
    """
    DTYPE: tl.constexpr = carried.dtype.element_ty
    G: tl.constexpr = 4 * H
    r, rows = own_rows(ROWS)
    transposed += r * G * H
    output_bias += r * H
    d_output += r * K * B * H
    carried += r * B * H
    direct += r * B * H
    carried_c += r * B * H
    gates += (r * (slots - 1) + steps - 1) * B * G
    gradients += (r * blocks + steps - 1) * B * G
    signs += (r * blocks + steps - 1) * B * 2 * H
    memories += (r * slots + steps) * B * H
    columns, here, place = tile(rows, 0, B, H, COLUMNS)
    d_h = 0.0
    if ON_CHIP:
        d_h = read(carried, place, here)
        d_c = read(carried_c, place, here)
        w_i = block(transposed, H, 0, columns, H, DEPTH)
        w_f = block(transposed + H * H, H, 0, columns, H, DEPTH)
        w_o = block(transposed + 2 * H * H, H, 0, columns, H, DEPTH)
        w_g = block(transposed + 3 * H * H, H, 0, columns, H, DEPTH)
    for step in range(steps):
        t = first + tl.cast(steps - 1 - step, tl.int64)
        cut = cuts(t, every)
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)[:, None]
        before = carried_c + slot(step, False) * R * B * H
        squares = state_squares(
            norms, d_h, carried, d_output, live, t, r, T, R, B, K, rows,
            H, RULE, HAS_OUTPUT, RECORD, ON_CHIP, ROWS, COLUMNS,
        )  # fmt: skip
        f_h = factor(squares, RULE, THRESHOLD, DTYPE)
        squares = tl.full((ROWS,), 0.0, tl.float64)
        if RECORD or RULE == "clip_norm":
            for at in range(0, H, COLUMNS):
                columns, here, place = tile(rows, at, B, H, COLUMNS)
                d = arriving(d_h, carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT, ON_CHIP)
                d = ruled(tl.where(live, d, 0.0), f_h, RULE, THRESHOLD)
                kept = tl.where(live, d_c if ON_CHIP else read(before, place, here), 0.0)
                c = read(memories, place, here)
                o = read(gates + 2 * H, rows[:, None] * G + columns[None, :], here)
                _, _, total = memory_adjoint(d, kept, c, o, output_bias, columns, H, ACTIVATION, SLOPE)
                squares += squares_of(total)
            if RECORD:
                tl.store(norms + ((T + t) * R + r) * B + rows, tl.sqrt(squares), mask=rows < B)
        f_c = factor(squares, RULE, THRESHOLD, DTYPE)
        for at in range(0, H, COLUMNS):
            columns, here, place = tile(rows, at, B, H, COLUMNS)
            wide = rows[:, None] * G + columns[None, :]
            d = arriving(d_h, carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT, ON_CHIP)
            passing = tl.where(live, 0.0, d)
            d = ruled(tl.where(live, d, 0.0), f_h, RULE, THRESHOLD)
            later = d_c if ON_CHIP else read(before, place, here)
            passing_c = tl.where(live, 0.0, later)
            c = read(memories, place, here)
            old = read(memories - B * H, place, here)
            i = read(gates, wide, here)
            f = read(gates + H, wide, here)
            o = read(gates + 2 * H, wide, here)
            g = read(gates + 3 * H, wide, here)
            kept = tl.where(live, later, 0.0)
            phi, inner, total = memory_adjoint(d, kept, c, o, output_bias, columns, H, ACTIVATION, SLOPE)
            total = ruled(total, f_c, RULE, THRESHOLD)
            da_i = total * g * (i * (1.0 - i))
            da_f = total * old * (f * (1.0 - f))
            da_o = d * phi * (o * (1.0 - o))
            da_g = through(total * i, g, ACTIVATION, SLOPE)
            tl.store(gradients + wide, da_i, mask=here)
            tl.store(gradients + wide + H, da_f, mask=here)
            tl.store(gradients + wide + 2 * H, da_o, mask=here)
            tl.store(gradients + wide + 3 * H, da_g, mask=here)
            if ACTIVATION == "modrelu":
                tl.store(signs + rows[:, None] * (2 * H) + columns[None, :], signed(da_g, g), mask=here)
                tl.store(signs + rows[:, None] * (2 * H) + columns[None, :] + H, signed(inner, c), mask=here)
            earlier = tl.where(cut != 0, 0.0, total * f + passing_c)
            if ON_CHIP:
                d = product(da_i, w_i, passing, PRECISION)
                d = product(da_f, w_f, d, PRECISION)
                d = product(da_o, w_o, d, PRECISION)
                d = product(da_g, w_g, d, PRECISION)
                d_h = tl.where(cut != 0, 0.0, d)
                d_c = earlier
            else:
                tl.store(direct + place, passing, mask=here)
                tl.store(carried_c + slot(step + 1, False) * R * B * H + place, earlier, mask=here)
        if not ON_CHIP:
            back_through(
                carried, direct, gradients, transposed, rows, B, cut, G, G, H, PRECISION, ROWS, COLUMNS, DEPTH
            )  # fmt: skip
        gates -= B * G
        gradients -= B * G
        signs -= B * 2 * H
        memories -= B * H
    if ON_CHIP:
        tl.store(carried + place, d_h, mask=here)
        tl.store(carried_c + slot(steps, False) * R * B * H + place, d_c, mask=here)


@triton.jit(do_not_specialize=["T", "R", "B", "K", "every", "first", "steps", "blocks", "slots"])
def gru_backward(
    states, gates, transposed, mask, d_output, carried, direct, gradients, signs, norms,
    T, R, B, K, every, first, steps, blocks, slots,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, RULE: tl.constexpr, THRESHOLD: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr,
    PRECISION: tl.constexpr, ON_CHIP: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gradients: those of h's products for r, z and n, and of x's product for n; signs: that by modrelu's bias."""
    DTYPE: tl.constexpr = carried.dtype.element_ty
    G: tl.constexpr = 3 * H
    r, rows = own_rows(ROWS)
    transposed += r * G * H
    d_output += r * K * B * H
    carried += r * B * H
    direct += r * B * H
    gates += (r * (slots - 1) + steps - 1) * B * 4 * H
    gradients += (r * blocks + steps - 1) * B * 4 * H
    signs += (r * blocks + steps - 1) * B * H
    states += (r * slots + steps - 1) * B * H
    columns, here, place = tile(rows, 0, B, H, COLUMNS)
    d_h = 0.0
    if ON_CHIP:
        d_h = read(carried, place, here)
        w_r = block(transposed, H, 0, columns, H, DEPTH)
        w_z = block(transposed + H * H, H, 0, columns, H, DEPTH)
        w_n = block(transposed + 2 * H * H, H, 0, columns, H, DEPTH)
    for step in range(steps):
        t = first + tl.cast(steps - 1 - step, tl.int64)
        cut = cuts(t, every)
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)[:, None]
        squares = state_squares(
            norms, d_h, carried, d_output, live, t, r, T, R, B, K, rows,
            H, RULE, HAS_OUTPUT, RECORD, ON_CHIP, ROWS, COLUMNS,
        )  # fmt: skip
        factor_h = factor(squares, RULE, THRESHOLD, DTYPE)
        for at in range(0, H, COLUMNS):
            columns, here, place = tile(rows, at, B, H, COLUMNS)
            wide = rows[:, None] * (4 * H) + columns[None, :]
            d = arriving(d_h, carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT, ON_CHIP)
            passing = tl.where(live, 0.0, d)
            d = ruled(tl.where(live, d, 0.0), factor_h, RULE, THRESHOLD)
            old = read(states, place, here)
            reset = read(gates, wide, here)
            z = read(gates + H, wide, here)
            n = read(gates + 2 * H, wide, here)
            m = read(gates + 3 * H, wide, here)
            d_n = through(d * (1.0 - z), n, ACTIVATION, SLOPE)
            da_r = d_n * m * (reset * (1.0 - reset))
            da_z = d * (old - n) * (z * (1.0 - z))
            tl.store(gradients + wide, da_r, mask=here)
            tl.store(gradients + wide + H, da_z, mask=here)
            tl.store(gradients + wide + 2 * H, d_n * reset, mask=here)
            tl.store(gradients + wide + 3 * H, d_n, mask=here)
            if ACTIVATION == "modrelu":
                tl.store(signs + place, signed(d_n, n), mask=here)
            if ON_CHIP:
                d = product(da_r, w_r, d * z + passing, PRECISION)
                d = product(da_z, w_z, d, PRECISION)
                d = product(d_n * reset, w_n, d, PRECISION)
                d_h = tl.where(cut != 0, 0.0, d)
            else:
                tl.store(direct + place, d * z + passing, mask=here)
        if not ON_CHIP:
            back_through(
                carried, direct, gradients, transposed, rows, B, cut,
                G, 4 * H, H, PRECISION, ROWS, COLUMNS, DEPTH,
            )  # fmt: skip
        gates -= B * 4 * H
        gradients -= B * 4 * H
        signs -= B * H
        states -= B * H
    if ON_CHIP:
        tl.store(carried + place, d_h, mask=here)
