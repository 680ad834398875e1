"""The time loops of rnn, lstm and gru in Triton: what `cuda.py` launches.

One program owns a replica and ROWS examples for the whole sequence, so no program waits for another. It reads the state
before a step back from the trace that it wrote itself, a barrier behind it; hidden units come in tiles of COLUMNS, sums
in chunks of DEPTH, and rows and columns beyond the edge are masked: any size fits.

Not imported but loaded by path (`cuda.py`), compiled for tensors on a GPU and interpreted for those on the CPU. Its
folder is no package: where Triton is missing nobody stumbles over it, and tests that assert the shapes of every
module's functions leave Triton's alone.

Memory, one row of H (or of G = blocks * H) each: states (R, T + 1, B), slot 0 the initial state; projected (x U + b),
gates and gradients (R, T, B); mask (T, R, B); norms (S, T, R, B); carried and direct (R, B). `weight` is (R, H, G), and
`transposed` (R, G, H).
"""
# pyright: reportMissingImports=false, reportPossiblyUnboundVariable=false, reportUnknownMemberType=false

import triton
import triton.language as tl

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


# --- Forward ----------------------------------------------------------------------------------------------------------


@triton.jit
def live_rows(mask, t, r, R, B, rows, HAS_MASK: tl.constexpr):
    """Which examples there are and have step t."""
    live = rows < B
    if HAS_MASK:
        live = live & (tl.load(mask + (t * R + r) * B + rows, mask=live, other=0) != 0)
    return live


@triton.jit
def rnn_forward(
    projected, weight, activation_bias, mask, states, T, R, B,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, HAS_MASK: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """h = phi(x U + b + h W)."""
    DTYPE: tl.constexpr = states.dtype.element_ty
    r = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there = (rows < B)[:, None]
    weight += r * H * H
    projected += r * T * B * H
    states += r * (T + 1) * B * H
    for t in range(T):
        live = live_rows(mask, tl.cast(t, tl.int64), r, R, B, rows, HAS_MASK)[:, None]
        for at in range(0, H, COLUMNS):
            columns = at + tl.arange(0, COLUMNS)
            own = columns < H
            place = rows[:, None] * H + columns[None, :]
            here = there & own[None, :]
            a = tl.load(projected + place, mask=here, other=0.0)
            for k in range(0, H, DEPTH):
                deep = k + tl.arange(0, DEPTH)
                h = tl.load(
                    states + rows[:, None] * H + deep[None, :], mask=there & (deep < H)[None, :], other=0.0
                )  # fmt: skip
                w = tl.load(
                    weight + deep[:, None] * H + columns[None, :],
                    mask=(deep < H)[:, None] & own[None, :],
                    other=0.0,
                )
                a = tl.dot(h, w, a, input_precision=PRECISION, out_dtype=DTYPE)
            bias = 0.0
            if ACTIVATION == "modrelu":
                bias = tl.load(activation_bias + r * H + columns, mask=own, other=0.0)[None, :]
            new = activate(a, bias, ACTIVATION, SLOPE)
            if HAS_MASK:
                new = tl.where(live, new, tl.load(states + place, mask=here, other=0.0))
            tl.store(states + B * H + place, new, mask=here)
        tl.debug_barrier()  # the next step reads what other threads of this program stored
        projected += B * H
        states += B * H


@triton.jit
def lstm_forward(
    projected, weight, candidate_bias, output_bias, mask, states, memories, gates, T, R, B,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, HAS_MASK: tl.constexpr, KEEP: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """c = f c + i g, h = o phi(c); gates keeps i, f, o, g."""
    DTYPE: tl.constexpr = states.dtype.element_ty
    G: tl.constexpr = 4 * H
    r = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there = (rows < B)[:, None]
    weight += r * H * G
    projected += r * T * B * G
    gates += r * T * B * G
    states += r * (T + 1) * B * H
    memories += r * (T + 1) * B * H
    for t in range(T):
        live = live_rows(mask, tl.cast(t, tl.int64), r, R, B, rows, HAS_MASK)[:, None]
        for at in range(0, H, COLUMNS):
            columns = at + tl.arange(0, COLUMNS)
            own = columns < H
            here = there & own[None, :]
            place = rows[:, None] * H + columns[None, :]
            wide = rows[:, None] * G + columns[None, :]
            a_i = tl.load(projected + wide, mask=here, other=0.0)
            a_f = tl.load(projected + wide + H, mask=here, other=0.0)
            a_o = tl.load(projected + wide + 2 * H, mask=here, other=0.0)
            a_g = tl.load(projected + wide + 3 * H, mask=here, other=0.0)
            for k in range(0, H, DEPTH):
                deep = k + tl.arange(0, DEPTH)
                h = tl.load(
                    states + rows[:, None] * H + deep[None, :], mask=there & (deep < H)[None, :], other=0.0
                )  # fmt: skip
                w = weight + deep[:, None] * G + columns[None, :]
                inside = (deep < H)[:, None] & own[None, :]
                a_i = tl.dot(h, tl.load(w, inside, 0.0), a_i, input_precision=PRECISION, out_dtype=DTYPE)
                a_f = tl.dot(h, tl.load(w + H, inside, 0.0), a_f, input_precision=PRECISION, out_dtype=DTYPE)
                a_o = tl.dot(h, tl.load(w + 2 * H, inside, 0.0), a_o, input_precision=PRECISION, out_dtype=DTYPE)
                a_g = tl.dot(h, tl.load(w + 3 * H, inside, 0.0), a_g, input_precision=PRECISION, out_dtype=DTYPE)
            bias_g = 0.0
            bias_c = 0.0
            if ACTIVATION == "modrelu":
                bias_g = tl.load(candidate_bias + r * H + columns, mask=own, other=0.0)[None, :]
                bias_c = tl.load(output_bias + r * H + columns, mask=own, other=0.0)[None, :]
            i = sigmoid(a_i)
            f = sigmoid(a_f)
            o = sigmoid(a_o)
            g = activate(a_g, bias_g, ACTIVATION, SLOPE)
            old = tl.load(memories + place, mask=here, other=0.0)
            c = f * old + i * g
            new = o * activate(c, bias_c, ACTIVATION, SLOPE)
            if HAS_MASK:
                c = tl.where(live, c, old)
                new = tl.where(live, new, tl.load(states + place, mask=here, other=0.0))
            tl.store(memories + B * H + place, c, mask=here)
            tl.store(states + B * H + place, new, mask=here)
            if KEEP:
                tl.store(gates + wide, i, mask=here)
                tl.store(gates + wide + H, f, mask=here)
                tl.store(gates + wide + 2 * H, o, mask=here)
                tl.store(gates + wide + 3 * H, g, mask=here)
        tl.debug_barrier()
        projected += B * G
        gates += B * G
        states += B * H
        memories += B * H


@triton.jit
def gru_forward(
    projected, weight, bias_recurrent, activation_bias, mask, states, gates, T, R, B,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, HAS_MASK: tl.constexpr, KEEP: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """n = phi(x U_n + b_n + r m) with m = h W_n + b_m, h = (1 - z) n + z h; gates keeps r, z, n, m."""
    DTYPE: tl.constexpr = states.dtype.element_ty
    G: tl.constexpr = 3 * H
    r = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there = (rows < B)[:, None]
    weight += r * H * G
    projected += r * T * B * G
    gates += r * T * B * 4 * H
    states += r * (T + 1) * B * H
    for t in range(T):
        live = live_rows(mask, tl.cast(t, tl.int64), r, R, B, rows, HAS_MASK)[:, None]
        for at in range(0, H, COLUMNS):
            columns = at + tl.arange(0, COLUMNS)
            own = columns < H
            here = there & own[None, :]
            place = rows[:, None] * H + columns[None, :]
            wide = rows[:, None] * G + columns[None, :]
            a_r = tl.load(projected + wide, mask=here, other=0.0)
            a_z = tl.load(projected + wide + H, mask=here, other=0.0)
            a_n = tl.load(projected + wide + 2 * H, mask=here, other=0.0)
            m = tl.full((ROWS, COLUMNS), 0.0, DTYPE)
            for k in range(0, H, DEPTH):
                deep = k + tl.arange(0, DEPTH)
                h = tl.load(
                    states + rows[:, None] * H + deep[None, :], mask=there & (deep < H)[None, :], other=0.0
                )  # fmt: skip
                w = weight + deep[:, None] * G + columns[None, :]
                inside = (deep < H)[:, None] & own[None, :]
                a_r = tl.dot(h, tl.load(w, inside, 0.0), a_r, input_precision=PRECISION, out_dtype=DTYPE)
                a_z = tl.dot(h, tl.load(w + H, inside, 0.0), a_z, input_precision=PRECISION, out_dtype=DTYPE)
                m = tl.dot(h, tl.load(w + 2 * H, inside, 0.0), m, input_precision=PRECISION, out_dtype=DTYPE)
            m += tl.load(bias_recurrent + r * H + columns, mask=own, other=0.0)[None, :]
            bias = 0.0
            if ACTIVATION == "modrelu":
                bias = tl.load(activation_bias + r * H + columns, mask=own, other=0.0)[None, :]
            reset = sigmoid(a_r)
            z = sigmoid(a_z)
            n = activate(a_n + reset * m, bias, ACTIVATION, SLOPE)
            old = tl.load(states + place, mask=here, other=0.0)
            new = n + z * (old - n)
            if HAS_MASK:
                new = tl.where(live, new, old)
            tl.store(states + B * H + place, new, mask=here)
            if KEEP:
                kept = rows[:, None] * (4 * H) + columns[None, :]
                tl.store(gates + kept, reset, mask=here)
                tl.store(gates + kept + H, z, mask=here)
                tl.store(gates + kept + 2 * H, n, mask=here)
                tl.store(gates + kept + 3 * H, m, mask=here)
        tl.debug_barrier()
        projected += B * G
        gates += B * 4 * H
        states += B * H


# --- Backward ---------------------------------------------------------------------------------------------------------


@triton.jit
def arriving(carried, d_output, t, T, K, B, place, here, H: tl.constexpr, HAS_OUTPUT: tl.constexpr):
    """What arrives at h_t from later steps and from the loss; only the last K outputs were returned."""
    d = tl.load(carried + place, mask=here, other=0.0)
    if HAS_OUTPUT:
        k = t - (T - K)
        d += tl.load(d_output + tl.maximum(k, 0) * B * H + place, mask=here & (k >= 0), other=0.0)
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
def back_through(
    carried, direct, gradients, transposed, rows, B, cut,
    G: tl.constexpr, STRIDE: tl.constexpr, H: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """carried = direct + gradients W^T, or nothing where the rule cuts; rows of `gradients` are STRIDE apart."""
    DTYPE: tl.constexpr = carried.dtype.element_ty
    there = (rows < B)[:, None]
    tl.debug_barrier()  # `direct` and `gradients` were stored by all threads of this program
    for at in range(0, H, COLUMNS):
        columns = at + tl.arange(0, COLUMNS)
        own = columns < H
        here = there & own[None, :]
        place = rows[:, None] * H + columns[None, :]
        d = tl.full((ROWS, COLUMNS), 0.0, DTYPE)
        if cut == 0:
            d = tl.load(direct + place, mask=here, other=0.0)
            for k in range(0, G, DEPTH):
                deep = k + tl.arange(0, DEPTH)
                da = tl.load(
                    gradients + rows[:, None] * STRIDE + deep[None, :], mask=there & (deep < G)[None, :], other=0.0
                )  # fmt: skip
                w = tl.load(
                    transposed + deep[:, None] * H + columns[None, :],
                    mask=(deep < G)[:, None] & own[None, :],
                    other=0.0,
                )
                d = tl.dot(da, w, d, input_precision=PRECISION, out_dtype=DTYPE)  # pyright: ignore[reportArgumentType]
        tl.store(carried + place, d, mask=here)
    tl.debug_barrier()  # the step before reads `carried`


@triton.jit
def cuts(t, every):
    """1 where nothing flows back from step t into the state before it."""
    return tl.where((every > 0) & (t > 0) & (t % tl.maximum(every, 1) == 0), 1, 0)


@triton.jit
def rnn_backward(
    states, transposed, mask, d_output, carried, direct, gradients, norms, T, R, B, K, every,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, RULE: tl.constexpr, THRESHOLD: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gradients: dL/d(x U + b + h W)."""
    DTYPE: tl.constexpr = states.dtype.element_ty
    r = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there = (rows < B)[:, None]
    transposed += r * H * H
    d_output += r * K * B * H
    carried += r * B * H
    direct += r * B * H
    gradients += (r * T + T - 1) * B * H
    states += (r * (T + 1) + T) * B * H
    for step in range(T):
        t = tl.cast(T - 1 - step, tl.int64)
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)
        squares = tl.full((ROWS,), 0.0, tl.float64)
        if RECORD or RULE == "clip_norm":
            for at in range(0, H, COLUMNS):
                columns = at + tl.arange(0, COLUMNS)
                here = there & (columns < H)[None, :]
                place = rows[:, None] * H + columns[None, :]
                d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
                squares += squares_of(tl.where(live[:, None], d, 0.0))
            if RECORD:
                tl.store(norms + (t * R + r) * B + rows, tl.sqrt(squares), mask=rows < B)
        f = factor(squares, RULE, THRESHOLD, DTYPE)
        for at in range(0, H, COLUMNS):
            columns = at + tl.arange(0, COLUMNS)
            here = there & (columns < H)[None, :]
            place = rows[:, None] * H + columns[None, :]
            d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
            tl.store(direct + place, tl.where(live[:, None], 0.0, d), mask=here)
            d = ruled(tl.where(live[:, None], d, 0.0), f, RULE, THRESHOLD)
            d = through(d, tl.load(states + place, mask=here, other=0.0), ACTIVATION, SLOPE)
            tl.store(gradients + place, d, mask=here)
        back_through(
            carried, direct, gradients, transposed, rows, B, cuts(t, every), H, H, H, PRECISION, ROWS, COLUMNS, DEPTH
        )
        gradients -= B * H
        states -= B * H


@triton.jit
def memory_adjoint(
    d, kept, c, o, output_bias, r, columns, own,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr,
):  # fmt: skip
    """(phi(c), d o phi'(c), c's total adjoint): `d` is h's adjoint that travels on, `kept` what c got from later."""
    bias = 0.0
    if ACTIVATION == "modrelu":
        bias = tl.load(output_bias + r * H + columns, mask=own, other=0.0)[None, :]
    phi = activate(c, bias, ACTIVATION, SLOPE)
    inner = through(d * o, phi, ACTIVATION, SLOPE)
    return phi, inner, kept + inner


@triton.jit
def lstm_backward(
    states, memories, gates, transposed, output_bias, mask, d_output, carried, direct, carried_c, gradients, inner_c,
    norms, T, R, B, K, every,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, RULE: tl.constexpr, THRESHOLD: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gradients: those of the preactivations of i, f, o, g.

    carried_c: (2, R, B, H); a step reads one half and writes the other. inner_c: dh o phi'(c), for modrelu's bias.
    """
    DTYPE: tl.constexpr = states.dtype.element_ty
    G: tl.constexpr = 4 * H
    r = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there = (rows < B)[:, None]
    transposed += r * G * H
    d_output += r * K * B * H
    carried += r * B * H
    direct += r * B * H
    gates += (r * T + T - 1) * B * G
    gradients += (r * T + T - 1) * B * G
    inner_c += (r * T + T - 1) * B * H
    memories += (r * (T + 1) + T) * B * H
    for step in range(T):
        t = tl.cast(T - 1 - step, tl.int64)
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)
        cut = cuts(t, every)
        read = carried_c + ((step % 2) * R + r) * B * H
        write = carried_c + (((step + 1) % 2) * R + r) * B * H
        squares = tl.full((ROWS,), 0.0, tl.float64)
        if RECORD or RULE == "clip_norm":
            for at in range(0, H, COLUMNS):
                columns = at + tl.arange(0, COLUMNS)
                here = there & (columns < H)[None, :]
                place = rows[:, None] * H + columns[None, :]
                d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
                squares += squares_of(tl.where(live[:, None], d, 0.0))
            if RECORD:
                tl.store(norms + (t * R + r) * B + rows, tl.sqrt(squares), mask=rows < B)
        f_h = factor(squares, RULE, THRESHOLD, DTYPE)
        squares = tl.full((ROWS,), 0.0, tl.float64)
        if RECORD or RULE == "clip_norm":
            for at in range(0, H, COLUMNS):
                columns = at + tl.arange(0, COLUMNS)
                own = columns < H
                here = there & own[None, :]
                place = rows[:, None] * H + columns[None, :]
                d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
                d = ruled(tl.where(live[:, None], d, 0.0), f_h, RULE, THRESHOLD)
                kept = tl.where(live[:, None], tl.load(read + place, mask=here, other=0.0), 0.0)
                c = tl.load(memories + place, mask=here, other=0.0)
                o = tl.load(gates + rows[:, None] * G + columns[None, :] + 2 * H, mask=here, other=0.0)
                phi, inner, total = memory_adjoint(d, kept, c, o, output_bias, r, columns, own, H, ACTIVATION, SLOPE)
                squares += squares_of(total)
            if RECORD:
                tl.store(norms + ((T + t) * R + r) * B + rows, tl.sqrt(squares), mask=rows < B)
        f_c = factor(squares, RULE, THRESHOLD, DTYPE)
        for at in range(0, H, COLUMNS):
            columns = at + tl.arange(0, COLUMNS)
            own = columns < H
            here = there & own[None, :]
            place = rows[:, None] * H + columns[None, :]
            wide = rows[:, None] * G + columns[None, :]
            d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
            d_c = tl.load(read + place, mask=here, other=0.0)
            tl.store(direct + place, tl.where(live[:, None], 0.0, d), mask=here)
            passing = tl.where(live[:, None], 0.0, d_c)
            d = ruled(tl.where(live[:, None], d, 0.0), f_h, RULE, THRESHOLD)
            c = tl.load(memories + place, mask=here, other=0.0)
            old = tl.load(memories - B * H + place, mask=here, other=0.0)
            i = tl.load(gates + wide, mask=here, other=0.0)
            f = tl.load(gates + wide + H, mask=here, other=0.0)
            o = tl.load(gates + wide + 2 * H, mask=here, other=0.0)
            g = tl.load(gates + wide + 3 * H, mask=here, other=0.0)
            kept = tl.where(live[:, None], d_c, 0.0)
            phi, inner, d_c = memory_adjoint(d, kept, c, o, output_bias, r, columns, own, H, ACTIVATION, SLOPE)
            if ACTIVATION == "modrelu":
                tl.store(inner_c + place, inner, mask=here)
            d_c = ruled(d_c, f_c, RULE, THRESHOLD)
            tl.store(gradients + wide, d_c * g * (i * (1.0 - i)), mask=here)
            tl.store(gradients + wide + H, d_c * old * (f * (1.0 - f)), mask=here)
            tl.store(gradients + wide + 2 * H, d * phi * (o * (1.0 - o)), mask=here)
            tl.store(gradients + wide + 3 * H, through(d_c * i, g, ACTIVATION, SLOPE), mask=here)
            tl.store(write + place, tl.where(cut != 0, 0.0, d_c * f + passing), mask=here)
        back_through(
            carried, direct, gradients, transposed, rows, B, cut, G, G, H, PRECISION, ROWS, COLUMNS, DEPTH
        )  # fmt: skip
        gates -= B * G
        gradients -= B * G
        inner_c -= B * H
        memories -= B * H


@triton.jit
def gru_backward(
    states, gates, transposed, mask, d_output, carried, direct, gradients, norms, T, R, B, K, every,
    H: tl.constexpr, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr, RULE: tl.constexpr, THRESHOLD: tl.constexpr,
    HAS_MASK: tl.constexpr, HAS_OUTPUT: tl.constexpr, RECORD: tl.constexpr,
    PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """gradients: those of h's products for r, z and n, and of x's product for n: rows of 4 H."""
    DTYPE: tl.constexpr = states.dtype.element_ty
    G: tl.constexpr = 3 * H
    r = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there = (rows < B)[:, None]
    transposed += r * G * H
    d_output += r * K * B * H
    carried += r * B * H
    direct += r * B * H
    gates += (r * T + T - 1) * B * 4 * H
    gradients += (r * T + T - 1) * B * 4 * H
    states += (r * (T + 1) + T) * B * H
    for step in range(T):
        t = tl.cast(T - 1 - step, tl.int64)
        live = live_rows(mask, t, r, R, B, rows, HAS_MASK)
        squares = tl.full((ROWS,), 0.0, tl.float64)
        if RECORD or RULE == "clip_norm":
            for at in range(0, H, COLUMNS):
                columns = at + tl.arange(0, COLUMNS)
                here = there & (columns < H)[None, :]
                place = rows[:, None] * H + columns[None, :]
                d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
                squares += squares_of(tl.where(live[:, None], d, 0.0))
            if RECORD:
                tl.store(norms + (t * R + r) * B + rows, tl.sqrt(squares), mask=rows < B)
        f = factor(squares, RULE, THRESHOLD, DTYPE)
        for at in range(0, H, COLUMNS):
            columns = at + tl.arange(0, COLUMNS)
            here = there & (columns < H)[None, :]
            place = rows[:, None] * H + columns[None, :]
            wide = rows[:, None] * (4 * H) + columns[None, :]
            d = arriving(carried, d_output, t, T, K, B, place, here, H, HAS_OUTPUT)
            passing = tl.where(live[:, None], 0.0, d)
            d = ruled(tl.where(live[:, None], d, 0.0), f, RULE, THRESHOLD)
            old = tl.load(states - B * H + place, mask=here, other=0.0)
            reset = tl.load(gates + wide, mask=here, other=0.0)
            z = tl.load(gates + wide + H, mask=here, other=0.0)
            n = tl.load(gates + wide + 2 * H, mask=here, other=0.0)
            m = tl.load(gates + wide + 3 * H, mask=here, other=0.0)
            d_n = through(d * (1.0 - z), n, ACTIVATION, SLOPE)
            tl.store(gradients + wide, d_n * m * (reset * (1.0 - reset)), mask=here)
            tl.store(gradients + wide + H, d * (old - n) * (z * (1.0 - z)), mask=here)
            tl.store(gradients + wide + 2 * H, d_n * reset, mask=here)
            tl.store(gradients + wide + 3 * H, d_n, mask=here)
            tl.store(direct + place, d * z + passing, mask=here)
        back_through(
            carried, direct, gradients, transposed, rows, B, cuts(t, every),
            G, 4 * H, H, PRECISION, ROWS, COLUMNS, DEPTH,
        )  # fmt: skip
        gates -= B * 4 * H
        gradients -= B * 4 * H
        states -= B * H
