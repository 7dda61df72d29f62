"""The text hashes that imported models were trained with.

PaddleRec's readers use Python's built-in `hash` of a text, modulo the size of the table. The hash of Python 2 is the
same everywhere. That of Python 3 is reproducible only under PYTHONHASHSEED=0: SipHash with a zero key, SipHash-2-4 up
to Python 3.10 and SipHash-1-3 from 3.11 on.
"""

import hashlib
import sys
import zlib
from functools import lru_cache
from typing import Literal

HashName = Literal["python2", "python3.4", "python3.11", "crc32", "md5"]
"""`python3.4` is the hash of Python 3.4 to 3.10, `python3.11` that of 3.11 and later. Both are those of 64-bit machines
with PYTHONHASHSEED=0."""

_MASK = (1 << 64) - 1
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


@lru_cache(maxsize=1 << 16)
def hashed(by: HashName, text: str) -> int:
    """Return a hash of a text. Python's hashes may be negative; their modulo is not."""
    if by == "crc32":
        return zlib.crc32(text.encode())
    if by == "md5":
        return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest(), "big")
    if by == "python2":
        return _python2(text.encode())
    return _python3(text, 1 if by == "python3.11" else 2, 3 if by == "python3.11" else 4)


def _python2(data: bytes) -> int:
    """Hash a byte string, which is what Python 2 reads from a text file."""
    if not data:
        return 0
    value = data[0] << 7
    for byte in data:
        value = (1000003 * value ^ byte) & _MASK
    return _signed(value ^ len(data))


def _python3(text: str, rounds: int, last_rounds: int) -> int:
    """Hash a text in the form in which Python stores it: every character takes the width of the widest one."""
    widest = max(map(ord, text), default=0)
    if widest < 1 << 8:
        data = text.encode("latin-1")
    else:
        width = "utf-16" if widest < 1 << 16 else "utf-32"
        data = text.encode(f"{width}-{'le' if sys.byteorder == 'little' else 'be'}", "surrogatepass")
    return _signed(_siphash(data, rounds, last_rounds)) if data else 0


def _siphash(data: bytes, rounds: int, last_rounds: int) -> int:
    """Compute SipHash with a zero key (Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF")."""
    state = list(_INITIAL)
    whole = len(data) - len(data) % 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append((len(data) & 255) << 56 | int.from_bytes(data[whole:], "little"))
    for word in words:
        state[3] ^= word
        _mix(state, rounds)
        state[0] ^= word
    state[2] ^= 255
    _mix(state, last_rounds)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _mix(state: list[int], rounds: int) -> None:
    a, b, c, d = state
    for _ in range(rounds):
        a, c = (a + b) & _MASK, (c + d) & _MASK
        b, d = _rotated(b, 13) ^ a, _rotated(d, 16) ^ c
        a, c = (_rotated(a, 32) + d) & _MASK, (c + b) & _MASK
        b, d = _rotated(b, 17) ^ c, _rotated(d, 21) ^ a
        c = _rotated(c, 32)
    state[:] = a, b, c, d


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & _MASK


def _signed(value: int) -> int:
    """Return the value as a signed 64-bit integer. CPython reserves -1 for errors and returns -2 instead."""
    value = value - (1 << 64) if value >> 63 else value
    return -2 if value == -1 else value
