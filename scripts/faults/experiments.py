"""The ways in which a run is disturbed: each returns an Outcome."""

import dataclasses
import itertools
import os
import random
import time

import runs

FROM = "step-000004"   # the save that is disturbed: there are older checkpoints, and it removes one
UNTIL = "step-000006"
WRITES = ("write", "writev", "pwrite", "pwrite64", "pwritev")


@dataclasses.dataclass
class Outcome:
    name: str
    verdict: str   # see runs.recover; missed: the run was over before; unreached: never came to a point that was counted
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class FaultPoint:
    rank: int
    number: int
    call: str
    path: str   # in the run's folder

    def __str__(self):
        return f"rank {self.rank}, point {self.number}, {self.call} {self.path}"


def trace(program, layout):
    """Every fault point of an undisturbed run, in the order of their times."""
    folder = program.out / f"counted-{layout.ranks}x{layout.ep}"
    log = folder.with_suffix(".points")
    if runs.Run(program, layout, folder, runs.new_run_flags(program), {"log": log}).wait() != 0:
        raise RuntimeError(f"{folder}: the run whose calls are counted failed")
    lines = sorted((line.split("\t") for line in log.read_text().splitlines()), key=lambda fields: int(fields[1]))
    runs.forget(program, folder)
    return [FaultPoint(int(rank), int(number), call, path.removeprefix(f"{folder}/").removeprefix(str(folder)))
            for rank, _, number, call, _, path in lines]


def points_of_a_save(points, ranks):
    """Those of the save at FROM and of what follows up to the next, rank by rank, numbered from the save's first."""
    chosen = []
    for rank in range(ranks):
        own = itertools.dropwhile(lambda point: FROM not in point.path, (p for p in points if p.rank == rank))
        own = itertools.takewhile(lambda point: UNTIL not in point.path, own)
        chosen += [dataclasses.replace(point, number=number) for number, point in enumerate(own, 1)]
    return chosen


def unsynced(points):
    """Renames that a loss of power could put before the data they name, or that it could undo; empty: none.

    A kill leaves what was written in the page cache, so only the order of the calls says what a loss of power leaves.
    """
    found = []
    for i, rename in enumerate(points):
        if not rename.call.startswith("rename") or not rename.path.startswith("checkpoints/"):
            continue
        calls = [point.call for point in points[:i] if point.path == f"{rename.path}.partial"
                 and point.call in (*WRITES, "fsync")]
        if calls[-1:] != ["fsync"]:
            found.append(f"{rename.path} is renamed before all of it is synced")
        after = next((point for point in points[i + 1:] if point.rank == rename.rank and point.call != "close"), None)
        if after is None or (after.call, after.path) != ("fsync", "checkpoints"):
            found.append(f"the folder is not synced after {rename.path} is renamed")
    return found


def ends_of_stretches(points):
    """First, middle and last of every stretch of like calls on one file: what comes between is more of the same."""
    chosen = []
    for _, stretch in itertools.groupby(points, lambda point: (point.rank, point.call, point.path)):
        stretch = list(stretch)
        chosen += dict.fromkeys((stretch[0], stretch[len(stretch) // 2], stretch[-1]))
    return chosen


def at_fault_point(program, layout, reference, point, action):
    """A run in which `action` (see fault_points.cpp) happens at this point, and its resume."""
    name = f"{action} at {point} of {layout}"
    folder = program.out / f"{action}-{layout.ranks}x{layout.ep}-{point.rank}-{point.number}"
    faults = {"from": FROM, "rank": point.rank, "at": point.number, "action": action,
              "log": f"{folder}.points", "pids": f"{folder}.pids"}
    try:
        run = runs.Run(program, layout, folder, runs.new_run_flags(program), faults)
        status = run.wait() if action.startswith("E") else run.wait_killed()
        complaint = run.complaint()
    except TimeoutError as error:
        return Outcome(name, "lost", f"the run {error}")
    if not came_to(f"{folder}.points", point):
        # A call that fails can be one that only some runs make; those of kills were all counted.
        verdict = "missed" if action.startswith("E") else "unreached"
        return keep_unless_fine(program, folder, Outcome(name, verdict, "the program did not come to this point"))
    if action.startswith("E") and not (status == 0 or status == 2 and len(complaint) == 1):
        return Outcome(name, "lost", f"status {status}, expected 0, or 2 and one line: {' / '.join(complaint)}")
    if status == 0 and not action.startswith("E"):
        return Outcome(name, "missed", "the run ended well although a rank was killed")
    return keep_unless_fine(program, folder, Outcome(name, *runs.recover(program, layout, folder, reference)))


def came_to(log, point):
    if not os.path.exists(log):
        return False
    with open(log) as lines:
        return any(line.split("\t")[0::2][:2] == [str(point.rank), str(point.number)] for line in lines)


def keep_unless_fine(program, folder, outcome):
    if outcome.verdict not in ("lost", "unreached"):
        runs.forget(program, folder)
    return outcome


def at_random_moment(program, layout, reference, number, seed):
    """A run that is killed at a moment drawn from its length, and its resume; every fourth resume is killed as well.

    The length begins when the first checkpoint is complete, for every tenth run with its folder: before, there is
    little to lose.
    """
    folder = program.out / f"random-{number}"
    draw = random.Random(f"{seed}/{number}")
    begin = folder if number % 10 == 0 else runs.first_digest(folder)
    seconds = reference.seconds + (reference.first_seconds if begin == folder else 0)
    for attempt in range(1, 11):
        runs.forget(program, folder)
        run = runs.Run(program, layout, folder, runs.new_run_flags(program))
        # Side by side, runs are slower than the reference; where one was over, the next gets less time.
        who, late = kill_once(run, draw, begin, 1.5 * seconds / attempt)
        if who:
            break
    else:
        return Outcome(f"kill {number}", "missed", "the run was over ten times before its kill")
    name = f"kill {number}: {who} of {layout}, {late:.2f} s after {begin.name}"
    run.wait_killed()
    if draw.random() < 0.25 and any(map(runs.is_complete, runs.checkpoints(folder))):
        run = runs.Run(program, layout, folder, ["--resume"])
        who, late = kill_once(run, draw, None, 2 * reference.seconds)
        run.wait_killed()
        name += f", and {who} of its resume after {late:.2f} s" if who else ", and its resume too late"
    return keep_unless_fine(program, folder, Outcome(name, *runs.recover(program, layout, folder, reference)))


def kill_once(run, draw, begin, seconds):
    """Kills a rank or all, up to so many seconds after a file is there, or, without one, after ranks are.

    Returns who was killed, None when the run was over before, and when.
    """
    delay = draw.uniform(0, seconds)
    victim = draw.choice((None, draw.randrange(64)))
    while not run.ranks() and run.process.poll() is None:
        time.sleep(0.002)
    if begin:
        run.await_file(begin)
    time.sleep(delay)
    ranks = sorted(run.ranks())
    if not ranks or run.process.poll() is not None:
        run.wait()
        return None, delay
    chosen = ranks if victim is None else [ranks[victim % len(ranks)]]
    run.kill(chosen)
    return ("all ranks" if victim is None else f"rank {victim % len(ranks)}"), delay
