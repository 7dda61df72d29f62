import os
import subprocess
import sys

import pytest

from recmesh.features.hashes import hashed

TEXTS = ["", "a", "14abc", "1649.0", "0123456789abcdef", "\xe9", "\u4e2d\u6587", "\U0001f600x"]


def test_python_hashes_as_the_interpreter_does() -> None:
    code = f"print([hash(text) for text in {TEXTS!r}])"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    ours = "python3.11" if sys.version_info >= (3, 11) else "python3.4"
    assert done.stdout.strip() == str([hashed(ours, text) for text in TEXTS])


@pytest.mark.parametrize(("text", "expected"), [("a", 12416037344), ("hello", 840651671246116861), ("", 0)])
def test_python_2_hashed_byte_strings(text: str, expected: int) -> None:
    assert hashed("python2", text) == expected


def test_the_other_hashes() -> None:
    assert hashed("crc32", "123456789") == 0xCBF43926
    assert hashed("md5", "") == 0xD41D8CD98F00B204E9800998ECF8427E
    assert len({hashed(by, "brand") for by in ("python2", "python3.4", "python3.11", "crc32", "md5")}) == 5
