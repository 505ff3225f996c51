"""Whether a shard of a zarr array is there as it was written.

zarr reads a missing chunk as fill values, which look like seeds that diverged; so a store writes
every chunk with a checksum, and this looks.
"""

import os
from pathlib import Path

import google_crc32c
import numpy as np


def shard_is_whole(file: Path, chunks: int, *, thorough: bool) -> bool:
    """Whether a shard (zarr's codec `sharding_indexed`) is there with all of its chunks.

    Its chunks stand one after the other, and then its index, the first byte and the length of each;
    every chunk and the index end with their CRC-32C.

    Args:
        file: the shard.
        chunks: how many it has.
        thorough: whether the chunks are held against their checksums, too, and not only the index.
    """
    size = 16 * chunks + 4
    try:
        with file.open("rb") as shard:
            end = shard.seek(0, os.SEEK_END) - size
            shard.seek(max(end, 0))
            index = np.frombuffer(shard.read(), np.uint8)
            shard.seek(0)
            data = np.frombuffer(shard.read(max(end, 0)) if thorough else b"", np.uint8)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    if len(index) != size or not _is_sealed(index):
        return False
    spans = index[:-4].view("<u8").reshape(-1, 2).tolist()  # huge numbers for one not written
    if any(first + length > end for first, length in spans):
        return False
    return not thorough or all(_is_sealed(data[first : first + n]) for first, n in spans)


def _is_sealed(data: np.ndarray) -> bool:
    """Whether bytes end with their own checksum, as zarr's codec `crc32c` has it."""
    return data.size >= 4 and google_crc32c.value(data[:-4]) == int(data[-4:].copy().view("<u4")[0])
