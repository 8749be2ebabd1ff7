"""Starts tiny training runs of expar, kills them, resumes them and compares them with the run that was left alone."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time

STEPS = 6
EVERY = 2            # steps between checkpoints; the first is written before step 1
KEEP = 2             # so that a save also removes
LIMIT_SECONDS = 120  # of one run, which takes about one
KILLED_SECONDS = 15  # of mpirun after a rank was killed
MODEL = {"layers": 1, "hidden": 16, "heads": 2, "intermediate": 8, "experts": 5, "sequence": 16, "batch": 4,
         "threads": 1, "seed": 7}
TEXT = "".join(f"line {i} of a text that can be learned a little\n" for i in range(400))


@dataclasses.dataclass(frozen=True)
class Layout:
    ranks: int
    ep: int

    def __str__(self):
        return f"EP={self.ep} x DP={self.ranks // self.ep}"


@dataclasses.dataclass(frozen=True)
class Program:
    """What is started, and where its files go."""
    expar: pathlib.Path
    library: pathlib.Path   # fault_points
    out: pathlib.Path       # without symbolic links

    @property
    def text(self):
        return self.out / "text.txt"


class Run:
    """A started `mpirun expar train`; its output is in program.out, in files named after its folder."""

    started = set()  # that were not waited for
    stuck = 0        # mpiruns that did not end after a kill
    lock = threading.Lock()

    def __init__(self, program, layout, folder, arguments=(), faults=None):
        self.folder = folder
        self.errors = program.out / f"{folder.name}.err"
        exported = {"LD_PRELOAD": program.library, "EXPAR_FAULT_FOLDER": folder,
                    **{f"EXPAR_FAULT_{name.upper()}": value for name, value in faults.items()}} if faults else {}
        command = ["mpirun", "-q", "-n", str(layout.ranks)]
        for name, value in exported.items():
            command += ["-x", f"{name}={value}"]
        command += [str(program.expar), "train", "--out", str(folder), "--ep", str(layout.ep),
                    *(str(argument) for argument in arguments)]
        with open(program.out / f"{folder.name}.out", "ab") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        with Run.lock:
            Run.started.add(self)

    def ranks(self):
        """Process ids of the ranks, which are the children of mpirun."""
        return [int(entry.name) for entry in pathlib.Path("/proc").iterdir()
                if entry.name.isdigit() and status_of(entry.name)[1] == self.process.pid]

    def await_file(self, path):
        """Returns when it is there, or the run is over."""
        while not path.exists() and self.process.poll() is None:
            time.sleep(0.001)

    def kill(self, victims):
        for rank in victims:
            try:
                os.kill(rank, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def wait_killed(self):
        """As wait, after a kill. Open MPI 4.1 may wait for ever for a rank that died in MPI_Finalize: None."""
        try:
            return self.wait(KILLED_SECONDS)
        except TimeoutError:
            with Run.lock:
                Run.stuck += 1
            return None

    def wait(self, limit=LIMIT_SECONDS):
        """The status mpirun ends with; none of its ranks runs then. A run that does not end is killed: TimeoutError."""
        ranks = set(self.ranks())
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            ranks |= set(self.ranks())
            self.kill(ranks)
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"did not end in {limit} s") from None
        finally:
            patience = time.monotonic() + 10
            while any(map(is_alive, ranks)) and time.monotonic() < patience:
                time.sleep(0.01)
            with Run.lock:
                Run.started.discard(self)

    def complaint(self):
        """What it wrote on standard error, without mpirun's own words about how ranks ended."""
        text = self.errors.read_text(errors="replace")
        text = re.sub(r"^-{20,}\n.*?^-{20,}\n", "", text, flags=re.DOTALL | re.MULTILINE)
        return [line for line in text.splitlines() if line.strip()]

    @staticmethod
    def end_all():
        with Run.lock:
            started = list(Run.started)
        for run in started:
            run.kill(run.ranks())
            run.process.kill()


def status_of(process):
    """State and parent of a process; nothing when it is gone."""
    try:
        state, parent = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[:2]
        return state, int(parent)
    except OSError:
        return "", 0


def is_alive(process):
    return status_of(process)[0] not in ("", "Z", "X")


def new_run_flags(program):
    flags = MODEL | {"text": program.text, "steps": STEPS, "checkpoint-every": EVERY, "keep": KEEP}
    return [word for name, value in flags.items() for word in (f"--{name}", value)]


def losses(folder):
    """(step, loss as it is written) of every line of metrics.jsonl, in their order."""
    found = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        found.append((json.loads(line)["step"], re.search(r'"loss": ?([^,}]*)', line)[1]))
    return found


def checkpoints(folder):
    """Paths of the checkpoints, complete or not, oldest first."""
    return sorted((folder / "checkpoints").glob("step-*.h5"))


def is_complete(checkpoint):
    return digest_of(checkpoint).exists()


def first_digest(folder):
    return digest_of(folder / "checkpoints/step-000000.h5")


def digest_of(checkpoint):
    return pathlib.Path(f"{checkpoint}.digest")


def datasets(checkpoint):
    """The bytes of every dataset: the digest beside the file says where they are."""
    pieces = {}
    data = checkpoint.read_bytes()
    for line in digest_of(checkpoint).read_text().splitlines()[1:-1]:
        _, offset, size, name = line.split(maxsplit=3)
        if name != "-":
            pieces[name] = data[int(offset):int(offset) + int(size)]
    return pieces


@dataclasses.dataclass
class Reference:
    """The run that nobody disturbed."""
    losses: list
    datasets: dict
    first_seconds: float  # from the moment its folder is there to its first complete checkpoint
    seconds: float        # from then to its end

    def difference(self, folder):
        """What another run, which has ended, has not like this one; empty: nothing."""
        try:
            found = losses(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"metrics.jsonl cannot be read: {error}"
        if found != self.losses:
            return f"metrics.jsonl has {compact(found)}, expected {compact(self.losses)}"
        saved = checkpoints(folder)
        if not saved or saved[-1].name != f"step-{STEPS:06d}.h5" or not is_complete(saved[-1]):
            return f"the last checkpoint is {saved[-1].name if saved else 'missing'}, or has no digest"
        found = datasets(saved[-1])
        if found.keys() != self.datasets.keys():
            return f"{saved[-1].name} has other datasets: {sorted(found.keys() ^ self.datasets.keys())}"
        changed = [name for name, data in self.datasets.items() if found[name] != data]
        if changed:
            return f"{saved[-1].name} differs in {', '.join(changed)}"
        left = [path.name for path in folder.rglob("*.partial")]
        return f"left behind: {', '.join(left)}" if left else ""


def compact(numbered_losses):
    return " ".join(f"{step}:{loss}" for step, loss in numbered_losses)


def reference(program, layout):
    folder = program.out / f"reference-{layout.ranks}x{layout.ep}"
    run = Run(program, layout, folder, new_run_flags(program))
    run.await_file(folder)
    began = time.monotonic()
    run.await_file(first_digest(folder))
    first = time.monotonic()
    if run.wait() != 0:
        raise RuntimeError(f"the run that nobody disturbs failed: {' '.join(run.complaint())}")
    end = time.monotonic()
    saved = checkpoints(folder)
    if [step for step, _ in losses(folder)] != list(range(1, STEPS + 1)) or not saved or not datasets(saved[-1]):
        raise RuntimeError(f"{folder}: not a whole run")
    return Reference(losses(folder), datasets(saved[-1]), first - began, end - first)


def recover(program, layout, folder, reference):
    """Resumes a run that has ended and compares it. Returns the verdict and what there is to say about it.

    same     the resumed run is the undisturbed one
    earlier  and it took --from-step, as the refusal said, because the newest checkpoint had no digest yet
    anew     there was nothing to lose: no complete checkpoint and no step
    lost     anything else
    """
    saved = checkpoints(folder)
    complete = [path for path in saved if is_complete(path)]
    metrics = folder / "metrics.jsonl"
    began = metrics.exists() and metrics.stat().st_size > 0
    try:
        run = Run(program, layout, folder, ["--resume"])
        if run.wait() == 0:
            difference = reference.difference(folder)
            return ("lost", difference) if difference else ("same", "")
        refusal = " ".join(run.complaint())
        if not complete:
            return ("lost", f"steps but no checkpoint: {refusal}") if began else ("anew", refusal)
        wanted = re.search(r"--from-step (\d+)", refusal)
        if is_complete(saved[-1]) or not wanted or saved[-1].name not in refusal:
            return "lost", f"the resume failed: {refusal}"
        run = Run(program, layout, folder, ["--resume", "--from-step", wanted[1]])
        difference = reference.difference(folder) if run.wait() == 0 else " ".join(run.complaint())
        return ("lost", f"with --from-step: {difference}") if difference else ("earlier", refusal)
    except TimeoutError as error:
        return "lost", f"the resume {error}"


def forget(program, folder):
    shutil.rmtree(folder, ignore_errors=True)
    for path in program.out.glob(f"{folder.name}.*"):
        path.unlink()
