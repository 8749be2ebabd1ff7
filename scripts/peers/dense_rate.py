#!/usr/bin/env python3
"""Measures what one core makes of large square products in PyTorch, and prints GFLOP/s by dtype as JSON.

    python3 scripts/peers/dense_rate.py --dtypes float32,bf16

The best repetition of 1024 and of 2048 rows and columns, each for about --seconds.
"""

import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
import venv  # noqa: E402

ROWS = (1024, 2048)


def best_rate(rows, dtype, seconds):
    """FLOP/s of the fastest of several products."""
    import torch

    one, other = (torch.randn(rows, rows).to(dtype) for _ in range(2))
    out = torch.empty(rows, rows, dtype=dtype)
    torch.mm(one, other, out=out)  # warms up
    best, ends = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < ends:
        started = time.perf_counter()
        torch.mm(one, other, out=out)
        best = min(best, time.perf_counter() - started)
    return 2 * rows**3 / best


def main():
    parser = venv.Parser("Measure the dense rate of one core.")
    parser.add_argument("--dtypes", default="float32,bf16", help="default float32,bf16")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each size and dtype; default 0.5")
    options = parser.parse_args()
    venv.enter(options.build_dir)
    import torch

    torch.set_num_threads(1)
    names = {"float32": torch.float32, "bf16": torch.bfloat16}
    rates = {name: max(best_rate(rows, names[name], options.seconds) for rows in ROWS) / 1e9
             for name in options.dtypes.split(",")}
    print(json.dumps({"gflops": rates, "capability": torch.backends.cpu.get_cpu_capability()}))


if __name__ == "__main__":
    main()
