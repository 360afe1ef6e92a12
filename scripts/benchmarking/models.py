"""Write GGUF files of a wished size."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np

ROW = 4096  # bytes of one row of the one tensor
BLOCK = 64 << 20


def write_model(path: Path, size: int, *, name: str, holes: bool = False) -> None:
    """Write a model of about ``size`` bytes: random blocks of 64 MiB repeated, or with ``holes`` a sparse file that takes no room.

    Two names give two digests.
    """
    rows = size // ROW
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_tensor_info("token_embd.weight", (rows, ROW // 4), np.dtype(np.float32), rows * ROW)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as stream:
        stream.write(b"\0" * (-stream.tell() % 32))
        if holes:
            stream.truncate(stream.tell() + rows * ROW)
            return
        block, left = os.urandom(BLOCK), rows * ROW
        while left:
            left -= stream.write(block[:left])
        stream.flush()
        os.fsync(stream.fileno())
