"""Reading an npz archive of unknown origin. Imports no torch.

`numpy.load` believes what such a file says of itself: a damaged header becomes one of a dozen exceptions, a warning, or
an allocation of terabytes. Here a member is held against what numpy writes and against its own size before anything is
allocated, and whatever is wrong is a `ValueError`.
"""

import io
import math
import re
import struct
import zipfile
from typing import IO

import numpy as np

from rnnlab.messages import shown

LARGEST = 2**31
"""Bytes that the arrays of a compressed archive may come to; deflate makes a thousand zeros from one byte."""
_END = struct.Struct("<4s4H2LH")
"""The record that ends a zip archive: signature, disks, members on this disk, members, …"""
_HEADER = re.compile(
    rb"\{'descr': '(?P<order>[<>|])(?P<kind>[biufcUS])(?P<size>[1-9]\d{0,8})', "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,19}, ?)*(?:\d{1,19})?)\),? ?\} *\n"
)
"""What numpy writes before an array's bytes. Pickles (kind O) and records (V, or a list) are not of this form."""


class _ArchiveError(Exception):
    """What is wrong, in our own words."""


def load_arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an npz archive by name, in native byte order and writable.

    Args:
        content: the whole file, as `numpy.savez` or `savez_compressed` writes it.
    Raises:
        ValueError: the archive is damaged, holds something else than plain arrays, or expands to more than `LARGEST`
            bytes; the message says which.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _check_directory(content, members)
            return {member.filename.removesuffix(".npy"): _array(archive, member, len(content)) for member in members}
    except _ArchiveError as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # BadZipFile, zlib.error, EOFError, OverflowError, NotImplementedError, struct.error, …
        raise ValueError(f"it is damaged ({shown(error) or type(error).__name__})") from None


def _check_directory(content: bytes, members: list[zipfile.ZipInfo]) -> None:
    signature, *_, counted, size, at, comment = _END.unpack(content[-_END.size :])
    large = 0xFFFFFFFF in (size, at) or counted == 0xFFFF  # then the figures stand in another record
    whole = counted == len(members) and at + size + _END.size == len(content)
    if signature != b"PK\x05\x06" or comment or not (whole or large):
        raise _ArchiveError("its list of arrays is damaged")
    if not members:
        raise _ArchiveError("it holds no arrays")
    if len({member.filename for member in members}) != len(members):
        raise _ArchiveError("it holds two arrays of one name")
    if sum(member.file_size for member in members) > max(LARGEST, len(content)):
        raise _ArchiveError(f"its arrays come to more than {LARGEST:,} bytes")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, length: int) -> np.ndarray:
    """One member; `length` is that of the archive."""
    name = shown(member.filename)
    if not member.filename.endswith(".npy"):
        raise _ArchiveError(f"'{name}' in it is no array")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _ArchiveError(f"'{name}' in it is encrypted, or compressed in a way that numpy does not use")
    with archive.open(member) as stream:
        dtype, shape, fortran, header = _read_header(stream, name)
        # An empty array must not be absurd either: somebody may count its rows.
        if math.prod(max(n, 1) for n in shape) * dtype.itemsize > max(LARGEST, length):
            raise _ArchiveError(f"'{name}' in it claims the shape {shown(shape)}")
        expected = math.prod(shape) * dtype.itemsize
        if member.file_size != header + expected:
            raise _ArchiveError(f"'{name}' in it has not the {expected:,} bytes that its header promises")
        data = stream.read(expected)  # the last byte read, the checksum is compared
    if len(data) != expected:
        raise _ArchiveError(f"'{name}' in it ends too early")
    if dtype.kind == "U":
        _check_text(np.frombuffer(data, dtype.byteorder + "u4"), name)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="))


def _read_header(stream: IO[bytes], name: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """(dtype, shape, whether in Fortran's order, bytes read) of an array."""
    magic = stream.read(8)
    width = 2 if magic[6:7] == b"\x01" else 4  # of the header's length; format 1.0, and 2.0 or 3.0
    given = stream.read(width)
    text = stream.read(min(int.from_bytes(given, "little"), 10_000))
    found = _HEADER.fullmatch(text)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00") or found is None:
        raise _ArchiveError(f"'{name}' in it is no plain array of numpy's (objects are not loaded)")
    try:
        dtype = np.dtype(b"".join(found.group("order", "kind", "size")).decode("ascii"))
    except TypeError:
        raise _ArchiveError(f"'{name}' in it is of an unknown type") from None
    if dtype.kind in "fc" and dtype.itemsize > np.dtype(complex if dtype.kind == "c" else float).itemsize:
        raise _ArchiveError(f"'{name}' in it is of a precision that only some machines have")  # nor does torch
    shape = tuple(int(n) for n in found["shape"].split(b",") if n.strip())
    return dtype, shape, found["fortran"] == b"True", 8 + width + len(text)


def _check_text(points: np.ndarray, name: str) -> None:
    """Text must be made of characters: Python fails at others when it is printed."""
    if ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any():
        raise _ArchiveError(f"'{name}' in it holds what is no text")
