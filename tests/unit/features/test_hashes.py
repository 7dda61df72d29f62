"""The hashes agree with Python and with published values."""

import os
import subprocess
import sys
from typing import get_args

import pytest

from recmesh.features.hashes import HashName, hashed

TEXTS = ["", "a", "14abc", "1649.0", "0123456789abcdef", "\xe9", "\u4e2d\u6587", "\U0001f600x"]


def test_the_hash_of_python_3_agrees_with_the_interpreter() -> None:
    code = f"print([hash(text) for text in {TEXTS!r}])"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    by: HashName = "python3.11" if sys.version_info >= (3, 11) else "python3.4"
    assert done.stdout.strip() == str([hashed(by, text) for text in TEXTS])


@pytest.mark.parametrize(("text", "expected"), [("a", 12416037344), ("hello", 840651671246116861), ("", 0)])
def test_the_hash_of_python_2_is_that_of_byte_strings(text: str, expected: int) -> None:
    assert hashed("python2", text) == expected


def test_crc32_and_md5_agree_with_published_values() -> None:
    assert hashed("crc32", "123456789") == 0xCBF43926
    assert hashed("md5", "") == 0xD41D8CD98F00B204E9800998ECF8427E
    assert len({hashed(by, "brand") for by in get_args(HashName)}) == 5
