#!/usr/bin/env python3
"""Measures expar's training speed beside PyTorch's; scripts/benchmark_training.sh says what and how.

Every case (a row) has a trial first: each peer once, for a few steps, some of them after minutes in torch.compile. Only
the fastest, and who comes close, go on to the rounds. With 2 threads only those of 1 thread have a trial.
"""

import dataclasses
import fnmatch
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "reference"))
import expar_command  # noqa: E402
import venv  # noqa: E402

import contestants  # noqa: E402
import speed_report  # noqa: E402
from contestants import Case, Expar  # noqa: E402

SHAPES = ((1, 1, "float32"), (1, 2, "float32"), (2, 1, "float32"), (1, 1, "bf16"), (2, 1, "bf16"))
STEPS = {"small": 10, "large": 4}
CLOSE = 1.15      # slower than the fastest of the trial by at most this factor goes on to the rounds
CONTENDERS = 2    # that go on, at most


@dataclasses.dataclass(frozen=True)
class Settings:
    """Of one start of a contestant."""
    build_dir: pathlib.Path
    steps: int
    warmup: int
    peer_limit: int


def parse_arguments():
    parser = venv.Parser("Measure training speed beside PyTorch.")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--steps", type=int, help=f"timed steps of a round and contestant; default by size, {STEPS}")
    parser.add_argument("--sizes", help="default small,large; with --quick small")
    parser.add_argument("--only", default="*", metavar="PATTERN,...",
                        help="rows by their names, such as small-1x1-float32 (size, ranks x threads, dtype) or "
                             "'*-2x1-*'; default all")
    parser.add_argument("--peer-limit", type=int, default=300, metavar="SECONDS",
                        help="after which a peer that has not finished is left out; default 300")
    parser.add_argument("--quick", action="store_true", help="only try that all rows can be measured: small, one "
                        "round, one timed step, nothing compiled")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    options.sizes = options.sizes or ("small" if options.quick else "small,large")
    if options.quick:
        options.rounds, options.steps = 1, 1
    for name in ("rounds", "steps", "peer_limit"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            venv.fail(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected at least 1")
    if options.json and not options.json.absolute().parent.is_dir():
        venv.fail(f"{options.json}: the folder {options.json.absolute().parent} does not exist")
    options.cases = chosen_cases(options)
    return options


def chosen_cases(options):
    sizes = options.sizes.split(",")
    for size in sizes:
        if size not in contestants.SIZES:
            venv.fail(f"--sizes has '{size}', expected some of {', '.join(contestants.SIZES)}")
    every = [Case(size, *shape) for size in sizes for shape in SHAPES]
    cases = [case for case in every if any(fnmatch.fnmatch(case.name, one) for one in options.only.split(","))]
    if not cases:
        venv.fail(f"--only {options.only} fits no row, expected some of {', '.join(case.name for case in every)}")
    return cases


def say(text):
    print(text, file=sys.stderr, flush=True)


def reason_to_skip(case, build_dir):
    """Why a row cannot be measured here, or None."""
    if case.ranks * case.threads > len(contestants.cores()):
        return f"needs {case.ranks * case.threads} cores, this process may use {len(contestants.cores())}"
    if case.dtype != "float32":
        help_text = subprocess.run([expar_command.binary(build_dir), "train", "--help"], capture_output=True, text=True)
        if "--dtype" not in help_text.stdout:
            return "this expar has no --dtype"
    return None


class Benchmark:
    def __init__(self, options):
        self.options, self.results = options, speed_report.Results()
        self.contending = {}  # case -> peers

    def settings(self, case, trial=False):
        steps = self.options.steps or STEPS[case.size]
        return Settings(self.options.build_dir, min(3, steps) if trial else steps, 1 if self.options.quick else 3,
                        self.options.peer_limit)

    def run(self):
        cases = []
        for case in self.options.cases:
            reason = reason_to_skip(case, self.options.build_dir)
            if reason:
                say(f"{case.name}: skipped: {reason}")
                self.results.skipped[case] = reason
            else:
                cases.append(case)
        self.check(cases)
        entries = []
        for case in cases:
            self.results.timings[case] = {}
            entries += [(case, contestant) for contestant in [Expar(), *self.contenders(case)]]
        for number in range(self.options.rounds):
            say(f"round {number + 1} of {self.options.rounds}")
            self.dense_rate(cases)
            first = number * len(entries) // self.options.rounds
            for case, contestant in entries[first:] + entries[:first]:
                self.time(case, contestant)

    def check(self, cases):
        """The peer for several ranks computes what one rank does, or nothing is measured."""
        for case in cases:
            if case.ranks > 1 and case.dtype == "float32":
                peer = contestants.peers_of(case)[0]
                try:
                    errors = peer.check(case, self.settings(case))
                except contestants.Failed as problem:
                    venv.fail(f"{case.name}: {peer.name} is not the model on one rank: {problem}")
                say(f"{case.name}: {peer.name} is the model on one rank, loss to {errors['loss_error']:.1e}, gradients "
                    f"to {errors['gradient_error']:.1e}")
                self.results.checks[case.size] = errors

    def contenders(self, case):
        """The peers that go on to the rounds."""
        Expar().run(case, self.settings(case, trial=True))  # what is wrong with it is seen at once
        trials, left_out = {}, {}
        for peer in self.peers(case):
            try:
                trials[peer] = peer.run(case, self.settings(case, trial=True))
                say(f"trial: {case.name}: {peer.name}: {case.tokens / trials[peer].seconds:,.0f} tokens/s")
            except contestants.Failed as problem:
                left_out[peer.name] = str(problem)
                say(f"trial: {case.name}: {peer.name}: left out: {problem}")
        self.results.trials[case] = {peer.name: timing for peer, timing in trials.items()}
        self.results.left_out[case] = left_out
        ranking = sorted(trials, key=lambda peer: trials[peer].seconds)[:CONTENDERS]
        self.contending[case] = [peer for peer in ranking if trials[peer].seconds <= CLOSE * trials[ranking[0]].seconds]
        return self.contending[case]

    def peers(self, case):
        """Those that have a trial."""
        one_thread = dataclasses.replace(case, threads=1)
        if case.threads > 1 and one_thread in self.contending:
            return self.contending[one_thread]
        return [peer for peer in contestants.peers_of(case) if not (self.options.quick and peer.compiled)]

    def time(self, case, contestant):
        try:
            timing = contestant.run(case, self.settings(case))
        except contestants.Failed as problem:  # after a trial that went well
            venv.fail(f"{case.name}: {contestant.name}: {problem}")
        self.results.timings[case].setdefault(contestant.name, []).append(timing)
        say(f"{case.name}: {contestant.name}: {case.tokens / timing.seconds:,.0f} tokens/s")

    def dense_rate(self, cases):
        dtypes = sorted({"float32"} | {case.dtype for case in cases}, reverse=True)
        command = ["taskset", "-c", str(contestants.cores()[0]), sys.executable, str(HERE / "dense_rate.py"),
                   "--build-dir", str(self.options.build_dir), "--dtypes", ",".join(dtypes)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            venv.fail(f"'{' '.join(command)}' failed: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
        report = json.loads(done.stdout)
        self.results.capability = report["capability"]
        for dtype, rate in report["gflops"].items():
            self.results.dense_gflops.setdefault(dtype, []).append(rate)
            say(f"one core, dense {dtype}: {rate:,.0f} GFLOP/s")

    def interleaving(self):
        return {"rounds": self.options.rounds, "warmup_steps": self.settings(self.options.cases[0]).warmup,
                "steps": {case.size: self.settings(case).steps for case in self.options.cases},
                "order": "each round starts every contestant of every row once, in fresh processes, pinned to as many "
                         "cores as it has threads; it begins elsewhere in the list each time; figures are medians over "
                         "rounds of the median step, of the slowest rank"}


def main():
    options = parse_arguments()
    expar_command.binary(options.build_dir)
    venv.enter(options.build_dir)
    load_before = os.getloadavg()
    benchmark = Benchmark(options)
    benchmark.run()
    report = speed_report.report_of(benchmark.results, benchmark.interleaving(), load_before)
    print(speed_report.table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
