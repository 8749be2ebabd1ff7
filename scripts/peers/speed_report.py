"""What benchmark_training.py makes of its measurements: rows, derived lines, the table, facts of the machine."""

import os
import pathlib
import platform
import shutil
import statistics
import subprocess

from contestants import SIZES, Case, Expar, cores

FORMULA = ("2 * multiplications of the forward pass, causal attention by its (sequence + 1) / 2 keys per query, "
           "times 3 for forward and backward; nothing for norms, softmax, optimizer or recomputation")


def gflops_per_token(shape):
    """FORMULA for one token of a training step, in GFLOP."""
    hidden, sequence = shape["hidden"], shape["sequence"]
    key_value = hidden * shape["kv-heads"] // shape["heads"]
    projections = hidden * (2 * hidden + 2 * key_value)
    attention = 2 * hidden * (sequence + 1) / 2
    experts = shape["top-k"] * 3 * hidden * shape["intermediate"] + hidden * shape["experts"]
    return 3 * 2 * (shape["layers"] * (projections + attention + experts) + hidden * shape["vocabulary"]) / 1e9


class Results:
    """Everything measured. timings: case -> contestant's name -> one Timing per round."""

    def __init__(self):
        self.timings, self.trials, self.left_out, self.skipped = {}, {}, {}, {}
        self.dense_gflops = {}  # dtype -> one per round
        self.capability = ""
        self.checks = {}        # size -> errors of the peer for several ranks

    def speeds(self, case, name):
        """tokens/s by round"""
        return [case.tokens / timing.seconds for timing in self.timings[case][name]]

    def speed(self, case, name=Expar.name):
        return statistics.median(self.speeds(case, name))

    def fastest_peer(self, case):
        """Its name, or None where none finished."""
        peers = [name for name in self.timings[case] if name != Expar.name]
        return max(peers, key=lambda name: self.speed(case, name), default=None)

    def dense(self, dtype):
        """Of one core. Where bfloat16 products are slower than float32's, nobody is bound to them."""
        rates = {name: statistics.median(values) for name, values in self.dense_gflops.items()}
        return rates["float32"] if dtype == "float32" else max(rates.values())


def row_of(results, case):
    speeds, peer = results.speeds(case, Expar.name), results.fastest_peer(case)
    gflops = gflops_per_token(SIZES[case.size])
    peak = case.ranks * case.threads * results.dense(case.dtype)
    ours = statistics.median(speeds)
    row = {"size": case.size, "ranks": case.ranks, "threads": case.threads, "dtype": case.dtype,
           "expar_tokens_per_second": ours, "expar_spread": [min(speeds), max(speeds)], "peer": peer}
    theirs = results.speed(case, peer) if peer else None
    row |= {"peer_tokens_per_second": theirs, "ratio": ours / theirs if theirs else None,
            "share_of_peak": ours * gflops / peak, "peer_share_of_peak": theirs * gflops / peak if theirs else None,
            "gflops_per_token": gflops, "dense_gflops": results.dense(case.dtype)}
    loads = {name: statistics.median(timing.rank_load_max_over_mean for timing in timings)
             for name, timings in results.timings[case].items()}
    return row | {"rank_load_max_over_mean": {"expar": loads["expar"], "peer": loads.get(peer)},
                  "peers": peers_of_row(results, case)}


def peers_of_row(results, case):
    """Every peer: its speed in the rounds, or in its trial where that was enough, or why there is none."""
    peers = {}
    for name, timing in results.trials.get(case, {}).items():
        peers[name] = {"trial_tokens_per_second": case.tokens / timing.seconds,
                       "first_step_seconds": timing.first_seconds}
    for name in results.timings[case]:
        if name != Expar.name:
            speeds = results.speeds(case, name)
            peers[name] |= {"tokens_per_second": statistics.median(speeds), "spread": [min(speeds), max(speeds)]}
    return peers | {name: {"left_out": reason} for name, reason in results.left_out.get(case, {}).items()}


def derived_of(results):
    """Speed of some cases over that of others, expar's own."""
    kinds = {"two_ranks_over_one": {"ranks": 2}, "two_threads_over_one": {"threads": 2},
             "bf16_over_float32": {"dtype": "bf16"}}
    bases = {"ranks": 1, "threads": 1, "dtype": "float32"}
    found = []
    for kind, changed in kinds.items():
        for case in results.timings:
            fields = {"size": case.size, "ranks": case.ranks, "threads": case.threads, "dtype": case.dtype}
            base = Case(**(fields | {name: bases[name] for name in changed}))
            if all(fields[name] == value for name, value in changed.items()) and base in results.timings:
                found.append({"figure": kind, "case": case.name, "over": base.name,
                              "value": results.speed(case) / results.speed(base)})
    return found


def report_of(results, interleaving, load_before):
    import torch
    import transformers

    return {"processor": processor(),
            "machine": {"cores_used": len(cores()), "logical_processors": os.cpu_count(),
                        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
                        "pytorch_capability": results.capability, "torch": torch.__version__,
                        "transformers": transformers.__version__, "python": platform.python_version(),
                        "mpirun": first_line("mpirun", "--version"), "system": platform.platform(),
                        "commit": first_line("git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "HEAD")},
            "load_average": {"before": load_before, "after": os.getloadavg()},
            "interleaving": interleaving, "sizes": SIZES, "gflops_per_token_formula": FORMULA,
            "dense_gflops": {dtype: {"median": statistics.median(rates), "spread": [min(rates), max(rates)]}
                             for dtype, rates in results.dense_gflops.items()},
            "rows": [row_of(results, case) for case in results.timings],
            "derived": derived_of(results),
            "peer_check": results.checks,
            "skipped": [{"case": case.name, "reason": reason} for case, reason in results.skipped.items()]}


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def first_line(*command):
    if not shutil.which(command[0]):
        return None
    return (subprocess.run(command, capture_output=True, text=True).stdout.splitlines() or [None])[0]


def table(report):
    def spread(low_high):
        return f"{low_high[0]:,.0f} to {low_high[1]:,.0f}"

    lines = [f"{'size':6} {'ranks':>5} {'threads':>7} {'dtype':8} {'expar':>9} {'spread':>18} {'peer':>9} {'ratio':>6} "
             f"{'share':>6}  tokens/s; share of the dense rate; peer"]
    for row in report["rows"]:
        peer = f"{row['peer_tokens_per_second']:9,.0f} {row['ratio']:6.2f}" if row["peer"] else f"{'-':>9} {'-':>6}"
        lines.append(f"{row['size']:6} {row['ranks']:5} {row['threads']:7} {row['dtype']:8} "
                     f"{row['expar_tokens_per_second']:9,.0f} {spread(row['expar_spread']):>18} {peer} "
                     f"{row['share_of_peak']:6.2f}  {row['peer'] or 'no peer finished'}")
    lines += [f"{line['figure']}: {line['case']} over {line['over']}: {line['value']:.2f}"
              for line in report["derived"]]
    lines += [f"skipped {one['case']}: {one['reason']}" for one in report["skipped"]]
    lines += [f"one core, dense {dtype}: {rate['median']:,.0f} GFLOP/s"
              for dtype, rate in report["dense_gflops"].items()]
    return "\n".join([*lines, f"on {report['processor']}"])
