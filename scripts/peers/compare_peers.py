#!/usr/bin/env python3
"""Measures dispatch of expar beside PyTorch over gloo; scripts/compare_peers.sh says what and how."""

import dataclasses
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reference"))
import expar_command  # noqa: E402
import venv  # noqa: E402

import contestants  # noqa: E402

OURS = ("window", "packed")
PHASES = ("dispatch", "combine", "total")
SHAPE = ("tokens", "hidden", "top_k", "experts")
LONGEST = 600  # seconds of one start of a side


@dataclasses.dataclass(frozen=True)
class Layout:
    """As contestants.py takes it."""
    ranks: int
    threads: int = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    build_dir: pathlib.Path
    peer_limit: int = LONGEST


def parse_arguments():
    parser = venv.Parser("Measure dispatch and combine beside PyTorch over gloo.")

    def numbers(text):
        return [int(word) for word in text.split(",")]

    for flag, default in (("tokens", "64,512,4096"), ("hidden", "1024"), ("top-k", "2"), ("experts", "8")):
        parser.add_argument(f"--{flag}", type=numbers, default=numbers(default), metavar="N,...",
                            help=f"default {default}")
    parser.add_argument("--ranks", type=int, default=2, help="default 2")
    parser.add_argument("--dtype", choices=("bf16", "float32"), default="bf16", help="default bf16")
    parser.add_argument("--workload", default="uniform", help="default uniform")
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--seconds", type=float, default=1, help="default 1")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--damage-peer", action="store_true", help="falsify a number of the peer, to see it found")
    options = parser.parse_args()
    if min(options.tokens + options.hidden + options.top_k + options.experts + [options.ranks, options.rounds]) < 1:
        venv.fail("a number is below 1")
    if options.ranks > len(contestants.cores()):
        venv.fail(f"--ranks {options.ranks}: {len(contestants.cores())} cores, and each rank needs one")
    if options.json and not options.json.absolute().parent.is_dir():
        venv.fail(f"{options.json}: the folder {options.json.absolute().parent} does not exist")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


def call(command, may_end_with=(0,)):
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    try:
        run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        venv.fail(f"'{' '.join(command)}' did not end in {LONGEST} s")
    if run.returncode not in may_end_with:
        last = (run.stderr.strip().splitlines() or ["no output"])[-1]
        venv.fail(f"'{' '.join(command)}' ended with status {run.returncode}: {last}")
    return run


def write_routings(options, folder):
    """A file for each number of tokens, experts and choices."""
    files = []
    for tokens, top_k, experts in itertools.product(options.tokens, options.top_k, options.experts):
        files.append(folder / f"{tokens}-{top_k}-{experts}.h5")
        flags = {"workload": options.workload, "ranks": options.ranks, "tokens": tokens, "experts": experts,
                 "top-k": top_k, "seed": options.seed, "step": 0, "out": files[-1]}
        call([str(expar_command.binary(options.build_dir)), "trace", "workload",
              *(text for name, value in flags.items() for text in (f"--{name}", str(value)))])
    return files


def joined(numbers):
    return ",".join(map(str, numbers))


def run_ours(options, folder):
    """Provenance, and a row for each shape, dispatcher and phase. A status of 3 is about bounds, no matter here."""
    report = folder / "expar.json"
    flags = {"tokens": joined(options.tokens), "hidden": joined(options.hidden), "top-k": joined(options.top_k),
             "experts": joined(options.experts), "dtype": options.dtype, "dispatcher": joined(OURS),
             "exchange": "native", "workload": options.workload, "seed": options.seed, "seconds": options.seconds,
             "json": report}
    program = [str(expar_command.binary(options.build_dir)), "bench", "dispatch"]
    program += [text for name, value in flags.items() for text in (f"--{name}", str(value))]
    command = ["mpirun", "-q", "--bind-to", "none"]
    for cores in contestants.cores_of_ranks(Layout(options.ranks)):
        command += ["-n", "1", "taskset", "-c", cores, *program, ":"]
    call(command[:-1], may_end_with=(0, 1, 3))
    try:
        read = json.loads(report.read_text())
    except (OSError, json.JSONDecodeError):
        venv.fail(f"'{' '.join(program)}' left no rows")
    return read["provenance"], [row | {"name": row["dispatcher"]} for row in read["rows"] if is_compared(row)]


def is_compared(row):
    return row["direction"] == "forward" and not row["cached_plan"] and row["phase"] in PHASES


def run_peers(options, files, cold_bytes):
    flags = ["--routing", *files, "--hidden", *options.hidden, "--dtype", options.dtype, "--seconds", options.seconds,
             "--cold-bytes", cold_bytes, *(["--damage"] if options.damage_peer else [])]
    try:
        return contestants.run_peer(Layout(options.ranks), Settings(options.build_dir), flags, "dispatch_gloo.py")
    except contestants.Failed as error:
        venv.fail(f"dispatch_gloo.py {error}")


def merged(rounds):
    """A row for each shape, side and phase: the median over rounds, and the most wrong rows."""
    found = {}
    for row in itertools.chain.from_iterable(rounds):
        key = (*(row[name] for name in SHAPE), row["name"], row["phase"])
        found.setdefault(key, []).append(row)
    rows = []
    for (*shape, name, phase), same in found.items():
        seconds = [row["median_seconds"] for row in same]
        rows.append(dict(zip(SHAPE, shape)) | {
            "name": name, "phase": phase, "hash": same[0]["hash"], "median_seconds": statistics.median(seconds),
            "rounds_seconds": seconds, "wrong_rows": max(row["wrong_rows"] for row in same)})
    return rows


def disagreements(rows):
    """Shapes in which not all sides moved the same routing."""
    hashes = {}
    for row in rows:
        hashes.setdefault(tuple(row[name] for name in SHAPE), set()).add(row["hash"])
    return [shape for shape, found in hashes.items() if len(found) > 1]


def ratios(rows):
    """How many times as long a peer takes."""
    seconds = {(*(row[name] for name in SHAPE), row["phase"], row["name"]): row["median_seconds"] for row in rows}
    names = list(dict.fromkeys(row["name"] for row in rows))
    found = []
    for shape in dict.fromkeys(tuple(row[name] for name in SHAPE) for row in rows):
        for phase, ours, peer in itertools.product(PHASES, OURS, [name for name in names if name not in OURS]):
            ratio = seconds[(*shape, phase, peer)] / seconds[(*shape, phase, ours)]
            found.append(dict(zip(SHAPE, shape)) | {"phase": phase, "ours": ours, "peer": peer, "ratio": ratio})
    return found


def print_table(rows, found):
    names = list(dict.fromkeys(row["name"] for row in rows))
    peers = [name for name in names if name not in OURS]
    seconds = {(*(row[name] for name in SHAPE), row["phase"], row["name"]): row["median_seconds"] for row in rows}
    quotients = {(*(one[name] for name in SHAPE), one["phase"], one["ours"], one["peer"]): one["ratio"]
                 for one in found}
    head = [f"{name}, ms" for name in names] + [f"{peer} / {ours}" for ours in OURS for peer in peers]
    widths = [max(len(text), 9) for text in head]
    print(f"{'tokens':>6} {'hidden':>6} {'k':>3} {'E':>3}  {'phase':8}", *(f"{t:>{w}}" for t, w in zip(head, widths)),
          sep="  ")
    for shape in sorted(dict.fromkeys(tuple(row[name] for name in SHAPE) for row in rows)):
        for phase in PHASES:
            values = [f"{1e3 * seconds[(*shape, phase, name)]:.3f}" for name in names]
            values += [f"{quotients[(*shape, phase, ours, peer)]:.2f}" for ours in OURS for peer in peers]
            tokens, hidden, top_k, experts = shape
            print(f"{tokens:6} {hidden:6} {top_k:3} {experts:3}  {phase:8}",
                  *(f"{value:>{width}}" for value, width in zip(values, widths)), sep="  ")


def main():
    options = parse_arguments()
    venv.enter(options.build_dir)
    rounds, provenance = [], {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        files = write_routings(options, folder)
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}: expar")
            provenance, ours = run_ours(options, folder)
            say(f"round {number + 1} of {options.rounds}: PyTorch")
            peers = run_peers(options, files, provenance["cold_bytes"])
            rounds += [ours, peers["rows"]]
    rows = merged(rounds)
    found = ratios(rows)
    print_table(rows, found)
    if options.json:
        facts = provenance | {"command": " ".join(sys.argv), "torch": peers["torch"], "dtype": options.dtype,
                              "workload": options.workload, "seed": options.seed, "rounds": options.rounds}
        options.json.write_text(json.dumps({"provenance": facts, "rows": rows, "ratios": found}, indent=1) + "\n")
    wrong = sum(row["wrong_rows"] for row in rows)
    for shape in disagreements(rows):
        say(f"{dict(zip(SHAPE, shape))}: the sides moved different routings")
    print(f"wrong rows {wrong}, different routings {len(disagreements(rows))}")
    raise SystemExit(1 if wrong or disagreements(rows) else 0)


if __name__ == "__main__":
    main()
