"""Who takes part in benchmark_training.py, and how each is started: in fresh processes, each on cores of its own."""

import dataclasses
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile

import expar_command

HERE = pathlib.Path(__file__).resolve().parent
MODEL = {"vocabulary": 256, "heads": 8, "kv-heads": 8, "sequence": 256, "batch": 8}
SIZES = {"small": MODEL | {"hidden": 256, "layers": 4, "experts": 8, "intermediate": 512, "top-k": 2},
         "large": MODEL | {"hidden": 512, "layers": 6, "experts": 16, "intermediate": 1024, "top-k": 4}}
TEXT_BYTES = 1 << 20
# Hardly a weight moves, and routers stay as even as they are drawn: a text's trained routers would be the other choice,
# and need many steps before each measurement. With this seed expar's ranks are about as unevenly loaded as PyTorch's.
STEADY = {"learning-rate": 1e-6, "seed": 2, "validate": "false"}


class Failed(Exception):
    """A contestant did not finish; one line that says why."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What a row of the report measures."""
    size: str
    ranks: int
    threads: int
    dtype: str  # float32, bf16

    @property
    def name(self):
        return f"{self.size}-{self.ranks}x{self.threads}-{self.dtype}"

    @property
    def tokens(self):
        """of a step"""
        return SIZES[self.size]["batch"] * SIZES[self.size]["sequence"]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Of some steps in one start of a contestant, each as long as on its slowest rank."""
    seconds: float               # median
    rank_load_max_over_mean: float
    first_seconds: float = 0.0   # of the first step, in which torch.compile compiles


@dataclasses.dataclass(frozen=True)
class Expar:
    name = "expar"

    def run(self, case, settings):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            text = folder / "text.bin"
            text.write_bytes(random.Random(1).randbytes(TEXT_BYTES))
            flags = SIZES[case.size] | STEADY | {"text": text, "steps": settings.warmup + settings.steps,
                                                 "ep": case.ranks, "threads": case.threads, "out": folder / "run"}
            if case.dtype != "float32":
                flags["dtype"] = case.dtype
            program = [str(expar_command.binary(settings.build_dir)), "train"]
            program += [text for name, value in flags.items() for text in (f"--{name}", str(value))]
            command = ["mpirun", "-q", "--bind-to", "none"]
            for cores in cores_of_ranks(case):
                command += ["-n", "1", "taskset", "-c", cores, *program, ":"]
            expar_command.call(command[:-1], folder / "run.log", crowded=False)
            lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        timed = lines[settings.warmup:]
        return Timing(statistics.median(line["seconds"] for line in timed),
                      statistics.median(line["rank_load_max_over_mean"] for line in timed))


@dataclasses.dataclass(frozen=True)
class Peer:
    """PyTorch: mixtral_training.py with these flags."""
    experts: str
    dtype: str
    compiled: bool

    @property
    def name(self):
        program = "PyTorch all_to_all_single" if self.experts == "expert_parallel" else f"transformers {self.experts}"
        return ", ".join([program, self.dtype] + ["compiled"] * self.compiled)

    def run(self, case, settings):
        if self.experts == "batched_mm":
            self.require_memory(case)
        flags = ["--warmup", settings.warmup, "--steps", settings.steps, "--threads", case.threads, *self.flags(case),
                 *(["--compile"] if self.compiled else [])]
        report = run_peer(case, settings, flags)
        return Timing(report["median_seconds"], report.get("rank_load_max_over_mean", 1.0), report["first_seconds"])

    def require_memory(self, case):
        """batched_mm keeps the weights of each choice's expert until backward."""
        shape = SIZES[case.size]
        weights = 3 * shape["hidden"] * shape["intermediate"] * (2 if self.dtype == "bfloat16" else 4)
        needed = shape["layers"] * case.tokens * shape["top-k"] * weights / 2**30
        if needed > free_gib() / 2:
            raise Failed(f"copies {needed:,.0f} GiB of weights, and {free_gib():,.0f} GiB are free")

    def check(self, case, settings):
        """How far its loss and gradients on several ranks are from those of one, on a small batch."""
        return run_peer(case, settings, [*self.flags(case), "--batch", case.ranks, "--check"])

    def flags(self, case):
        shape = {"experts-count" if name == "experts" else name: value for name, value in SIZES[case.size].items()}
        shape |= {"experts": self.experts, "dtype": self.dtype}
        return [text for name, value in shape.items() for text in (f"--{name}", value)]


def peers_of(case):
    precisions = ("float32",) if case.dtype == "float32" else ("autocast", "bfloat16")
    if case.ranks > 1:
        return [Peer("expert_parallel", dtype, compiled) for dtype in precisions for compiled in (False, True)]
    peers = [Peer(experts, dtype, compiled) for experts in ("grouped_mm", "eager", "batched_mm") for dtype in precisions
             for compiled in (False, True)]
    # What the program for several ranks costs when there is nobody to send to.
    return peers + [Peer("expert_parallel", precisions[0], False)]


def run_peer(case, settings, flags, program="mixtral_training.py"):
    """Starts all ranks of a program of this folder. Returns the report of the first."""
    command = [sys.executable, str(HERE / program), "--build-dir", str(settings.build_dir),
               *map(str, flags)]
    with tempfile.TemporaryDirectory() as folder:
        logs = [pathlib.Path(folder) / f"rank-{rank}.log" for rank in range(case.ranks)]
        port = free_port()
        processes = []
        for rank, cores in enumerate(cores_of_ranks(case)):
            environment = dict(os.environ, RANK=str(rank), WORLD_SIZE=str(case.ranks), MASTER_ADDR="127.0.0.1",
                               MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS=str(case.threads))
            with open(logs[rank], "w") as log:
                processes.append(subprocess.Popen(["taskset", "-c", cores, *command], stdout=subprocess.PIPE,
                                                  stderr=log, env=environment, start_new_session=True))
        try:
            output, _ = processes[0].communicate(timeout=settings.peer_limit)
            for process in processes[1:]:
                process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            raise Failed(f"did not finish in {settings.peer_limit} s") from None
        finally:
            end(processes)
        if any(process.returncode != 0 for process in processes):
            raise Failed(last_error(logs) or f"ended with status {[process.returncode for process in processes]}")
    return json.loads(output)


def end(processes):
    """Those that still run, with what they started (torch.compile's workers)."""
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_error(logs):
    for log in logs:
        lines = [line.strip() for line in log.read_text().splitlines() if "Error" in line]
        if lines:
            return lines[-1]
    return ""


def free_gib():
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cores():
    """One logical processor of each core that this process may use."""
    found = {}
    for processor in sorted(os.sched_getaffinity(0)):
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
        found.setdefault(siblings.read_text() if siblings.exists() else processor, processor)
    return sorted(found.values())


def cores_of_ranks(case):
    """For each rank its cores as taskset takes them."""
    free = cores()
    return [",".join(map(str, free[rank * case.threads:(rank + 1) * case.threads])) for rank in range(case.ranks)]
