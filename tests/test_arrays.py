"""An npz archive of unknown origin is read right, or refused with a ValueError: nothing else comes out."""

import io
import random
import resource
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest

from rnnlab.arrays import load_arrays

ARRAYS = {
    "norm": np.linspace(0, 1, 12).reshape(3, 4),
    "rows": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
    "state": np.array(["h", "cell é"]),
    "scalar": np.array(3.5, np.float32),
    "empty": np.zeros((0, 3, 2)),
    "solved": np.array([True, False]),
    "bytes": np.array([b"a", b"bc"]),
    "zeros": np.zeros(500, np.uint8),
}


def archive(save=np.savez, **arrays):
    held = io.BytesIO()
    save(held, **arrays)
    return held.getvalue()


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", compression) as made:
        for name, content in members:
            made.writestr(name, content)
    return held.getvalue()


def npy(header, data=b"", version=b"\x01\x00"):
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


def header(descr="'<f8'", fortran="False", shape="(1,)"):
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()


def same(loaded):
    return loaded.keys() == ARRAYS.keys() and all(
        np.array_equal(loaded[name], array) and loaded[name].shape == array.shape for name, array in ARRAYS.items()
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(save):
    loaded = load_arrays(archive(save, **ARRAYS))
    assert same(loaded)
    assert all(array.flags.writeable and array.dtype.isnative for array in loaded.values())


def damaged(content, rng):
    """A few bits flipped, an end cut off, a run of zeros or of ones."""
    result, kind = bytearray(content), rng.randrange(6)
    at, length = rng.randrange(len(result)), rng.randrange(1, 40)
    if kind < 3:
        for _ in range(kind + 1):
            # half of them in the directory, where one byte says most
            result[rng.randrange(len(result)) if rng.random() < 0.5 else -rng.randrange(1, 600)] ^= 1 << rng.randrange(
                8
            )
    elif kind == 3:
        del result[at:]
    else:
        piece = len(result[at : at + length])
        result[at : at + length] = (b"\x00" if kind == 4 else b"\xff") * piece
    return bytes(result)


def test_a_damaged_archive_is_refused_or_read_right():
    rng = random.Random(0)
    whole = [archive(save, **ARRAYS) for save in (np.savez, np.savez_compressed)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reasons = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(6000):
            try:
                loaded = load_arrays(damaged(rng.choice(whole), rng))
            except ValueError as error:
                reasons.add(str(error))
            else:
                assert same(loaded)
    assert len(reasons) > 10
    assert all(reason.isprintable() and 0 < len(reason) <= 200 for reason in reasons)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


WRONG = {
    "nothing": b"",
    "no archive": b"junk" * 100,
    "no members": zipped([]),
    "not an array": zipped([("a.txt", b"hello")]),
    "a folder": zipped([("a/", b"")]),
    "pickle": archive(a=np.array([{}], dtype=object)),
    "record": archive(a=np.zeros(2, [("x", "<f8")])),
    "another compression": zipped([("a.npy", npy(header(), bytes(8)))], zipfile.ZIP_LZMA),
    "header cut": zipped([("a.npy", npy(header()[:-20]))]),
    "header that is code": zipped([("a.npy", npy(header(shape="(1,).__class__()"), bytes(8)))]),
    "header nested": zipped([("a.npy", npy(b"(" * 9000))]),
    "unknown type": zipped([("a.npy", npy(header("'<f3'"), bytes(3)))]),
    "longer than float64": archive(a=np.zeros(1, np.longdouble)),
    "later format": zipped([("a.npy", npy(header(), bytes(8), b"\x09\x00"))]),
    "too few bytes": zipped([("a.npy", npy(header(shape="(2,)"), bytes(8)))]),
    "too many bytes": zipped([("a.npy", npy(header(), bytes(9)))]),
    "terabytes": zipped([("a.npy", npy(header(shape="(1000000, 1000000)"), bytes(8)))]),
    "beyond 64 bits": zipped([("a.npy", npy(header(shape=f"({10**18}, {10**18})"), bytes(8)))]),
    "negative": zipped([("a.npy", npy(header(shape="(-1,)"), bytes(8)))]),
    "empty, of absurd shape": zipped([("a.npy", npy(header(shape=f"({2**62}, 0)")))]),
    "no text": zipped([("a.npy", npy(header("'<U1'"), b"\xff" * 4))]),
    "half of a character": zipped([("a.npy", npy(header("'<U1'"), b"\x00\xd8\x00\x00"))]),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_archive_of_plain_arrays_is_refused(content):
    with pytest.raises(ValueError, match=r"^(it|its|'a\S+' in it) ") as refused:
        load_arrays(content)
    assert str(refused.value).isprintable()


def test_two_arrays_of_one_name_are_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        content = zipped([("a.npy", npy(header(), bytes(8)))] * 2)
    with pytest.raises(ValueError, match="two arrays of one name"):
        load_arrays(content)


def test_an_encrypted_member_is_refused():
    content = bytearray(archive(a=np.zeros(3)))
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags, in the member and in the directory
        content[content.index(signature) + at] |= 1
    with pytest.raises(ValueError, match="encrypted"):
        load_arrays(bytes(content))


def test_zeros_that_expand_to_gigabytes_are_refused_unread():
    import rnnlab.arrays

    content = archive(np.savez_compressed, a=np.zeros(10**6), b=np.zeros(10**6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rnnlab.arrays, "LARGEST", 10**7)
        with pytest.raises(ValueError, match="more than 10,000,000 bytes"):
            load_arrays(content)
    assert len(load_arrays(content)) == 2


def test_no_torch_is_imported():
    code = "import rnnlab.arrays, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
