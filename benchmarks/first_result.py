"""How long a user waits for the first result: uJSCC over TDL-A, in fresh processes, without and with the compilation cache.

Printed: seconds from the start of the process until the first batch of 128 photographs has its PSNR. The cache is a
temporary folder, empty before the first process.

    python benchmarks/first_result.py
"""

import os
import subprocess
import sys
import tempfile
import time

CHILD = """
import semsim
images = semsim.data.load("embedded", limit=128)
print(semsim.run("ujscc", images, "qam16", "tdl-a", [12.0]).rows()[0]["value"])
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        for what in ("cold", "warm", "warm", "warm"):
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", CHILD], env=environment, check=True, stdout=subprocess.DEVNULL
            )
            print(f"{what} {time.perf_counter() - started:5.1f} s", flush=True)


if __name__ == "__main__":
    main()
