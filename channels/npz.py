"""One array of an `.npz` of somebody else's, which may describe far more than the file holds."""

import math
import zipfile

import numpy as np


def member(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """The array `name`, no larger than its header says and than `most` bytes: zeros compress a thousandfold.

    Errors: ValueError for a larger one, and for a header that declares another size; KeyError for a missing one; as
    `zipfile` and NumPy for a damaged one.
    """
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > most:
        raise ValueError(f"{name} has {info.file_size:,} bytes, of {most:,} at most")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in headers:
            raise ValueError(f"{name} is written in version {version} of the format")
        shape, _, dtype = headers[version](stream)
        if math.prod(shape) * dtype.itemsize != info.file_size - stream.tell():
            raise ValueError(f"{name} declares shape {shape}, which its bytes are not")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)
