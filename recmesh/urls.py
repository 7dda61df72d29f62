"""URLs of model stores, data sets and archives: opened by fsspec, or refused with what to use instead."""

import re

import fsspec
from fsspec import AbstractFileSystem

from recmesh.errors import Unavailable

# The S3 client sends checksums by default, with which Google's store refuses the signature.
_GOOGLE = (
    "use its S3 interface: s3://BUCKET/PATH, AWS_ENDPOINT_URL=https://storage.googleapis.com, HMAC keys as "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
)
_AZURE = "use a folder, such as a volume of Azure Files, or an object store with an S3 interface (s3://)"
_INSTEAD = {
    "s3": "needs the extra \"s3\": pip install 'recmesh[s3]'",
    **dict.fromkeys(("gs", "gcs"), f"needs the package gcsfs, which the images do not have; {_GOOGLE}"),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), f"needs the package adlfs, which the images do not have; {_AZURE}"),
}


REACH = (
    "check the address, and whether this process may reach it (egress of a NetworkPolicy, a proxy); or put the files "
    "on a volume"
)
"""What to do about a host that does not answer."""


def open_url(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system and the path of a URL.

    Raises:
        ValueError: It names no place, or there is nothing here to open it with. The message says what to use instead.
        Unavailable: Its host does not answer.
    """
    scheme = url.partition(":")[0]
    if re.fullmatch(r"(s3|gs|gcs|az|abfss?|adl|https?)://(/.*)?", url):
        raise ValueError(f"names no {'host' if scheme.startswith('http') else 'bucket'} after {scheme}://")
    try:
        files, path = fsspec.url_to_fs(url, use_listings_cache=False)
    except OSError as error:  # some file systems connect at once
        raise Unavailable(f"{url}: {error}; {REACH}") from error
    except (ImportError, ValueError) as error:
        raise ValueError(_INSTEAD.get(scheme, f"{error}; use a folder or a file:// or s3:// URL")) from error
    return files, path
