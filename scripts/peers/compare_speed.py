#!/usr/bin/env python3
"""Compares the speed of a training step with transformers' Mixtral, interleaved in one run.

    python3 scripts/peers/compare_speed.py --rounds 3 --json speed.json

In every round each contestant trains some steps of the same shape after the other: expar on 1 rank with 1 thread, on 1
rank with 2 threads, on 2 ranks (EP=2) with 1 thread each, and transformers (PyTorch, float32, sdpa, AdamW) with 1 and 2
threads, experts grouped_mm and eager. The figure is the median over rounds of the median step (expar: of its slowest
rank; batches are drawn outside of it, as PyTorch's are). expar trains on its own headers, PyTorch on random bytes.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reference"))
import expar_command  # noqa: E402
import venv  # noqa: E402

SHAPE = {"hidden": 256, "layers": 4, "experts": 8, "intermediate": 512, "top-k": 2, "vocabulary": 256, "heads": 8,
         "kv-heads": 8, "sequence": 256, "batch": 8}
WARMUP = 20  # steps of expar before the timed ones, in which the router learns to balance: an idle rank is not measured
TOKENS = SHAPE["sequence"] * SHAPE["batch"]


def parse_arguments():
    parser = venv.Parser("Compare the speed of training with transformers' Mixtral.")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a round and contestant; default 10")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.rounds < 1 or options.steps < 1:
        venv.fail(f"--rounds {options.rounds} --steps {options.steps}: expected at least 1 of each")
    return options


def expar_step(options, ranks, threads):
    """Seconds of the median step of one short run."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        text = folder / "text.txt"
        text.write_bytes(b"".join(path.read_bytes() for path in sorted(venv.REPOSITORY.glob("include/expar/*/*.hpp"))))
        flags = SHAPE | {"text": text, "steps": options.steps + WARMUP, "ep": ranks, "threads": threads}
        expar_command.train(options.build_dir, folder / "run", ranks, flags)
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        return statistics.median(json.loads(line)["seconds"] for line in lines[WARMUP:])


def peer_step(options, threads, experts):
    command = [sys.executable, str(HERE / "mixtral_training.py"), "--build-dir", str(options.build_dir), "--threads",
               str(threads), "--expert-implementation", experts, "--iterations", str(options.steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        venv.fail(f"'{' '.join(command)}' failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return json.loads(done.stdout)["median_seconds"]


CONTESTANTS = {
    "expar, 1 rank, 1 thread": lambda options: expar_step(options, 1, 1),
    "transformers grouped_mm, 1 thread": lambda options: peer_step(options, 1, "grouped_mm"),
    "transformers eager, 1 thread": lambda options: peer_step(options, 1, "eager"),
    "expar, 1 rank, 2 threads": lambda options: expar_step(options, 1, 2),
    "expar, 2 ranks (EP=2), 1 thread": lambda options: expar_step(options, 2, 1),
    "transformers grouped_mm, 2 threads": lambda options: peer_step(options, 2, "grouped_mm"),
}


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    options = parse_arguments()
    venv.enter(options.build_dir)
    expar_command.binary(options.build_dir)
    seconds = {name: [] for name in CONTESTANTS}
    for round_number in range(options.rounds):
        for name, run in CONTESTANTS.items():
            seconds[name].append(run(options))
            print(f"round {round_number + 1}: {name}: {TOKENS / seconds[name][-1]:,.0f} tokens/s", file=sys.stderr)
    speed = {name: TOKENS / statistics.median(values) for name, values in seconds.items()}
    one = speed["expar, 1 rank, 1 thread"]
    peer = max(speed["transformers grouped_mm, 1 thread"], speed["transformers eager, 1 thread"])
    report = {"processor": processor(), "shape": SHAPE, "rounds": options.rounds, "tokens_per_second": speed,
              "spread": {name: [TOKENS / max(values), TOKENS / min(values)] for name, values in seconds.items()},
              "one_core_over_peer": one / peer,
              "two_ranks_over_one": speed["expar, 2 ranks (EP=2), 1 thread"] / one,
              "two_threads_over_one": speed["expar, 1 rank, 2 threads"] / one,
              "load_average": os.getloadavg()}
    for name, value in speed.items():
        print(f"{name:36} {value:8,.0f} tokens/s   {value / one:5.2f} x expar on one core")
    print(f"one core over the faster peer {report['one_core_over_peer']:.2f}, two ranks over one "
          f"{report['two_ranks_over_one']:.2f}, on {report['processor']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
