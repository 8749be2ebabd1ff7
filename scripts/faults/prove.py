"""The experiments of scripts/faults_checkpoint.sh, which says what they are; started by it."""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import time

import experiments
import runs

LAYOUTS = [runs.Layout(2, 2), runs.Layout(3, 3), runs.Layout(4, 2)]
NAMES = {"same": "resumed to the same run", "earlier": "with --from-step", "anew": "before the first checkpoint",
         "missed": "ended before their fault", "unreached": "never came to a fault point that was counted"}
FAILURES = ("lost", "unreached")


class Tally:
    """Counts verdicts, and prints what was lost at once."""

    def __init__(self):
        self.all = collections.Counter()

    def disturbed(self):
        return self.all.total() - self.all["missed"] - self.all["unreached"]

    def run(self, title, tasks, jobs, seconds_between_lines=20):
        """Runs the tasks, `jobs` of them at a time, and prints how far they are."""
        counts = collections.Counter()
        started = shown = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            futures = [pool.submit(task) for task in tasks]
            try:
                for done, future in enumerate(concurrent.futures.as_completed(futures), 1):
                    outcome = future.result()
                    counts[outcome.verdict] += 1
                    if outcome.verdict in (*FAILURES, "missed"):
                        print(f"  {outcome.verdict.upper()}: {outcome.name}: {outcome.reason}", flush=True)
                    if time.monotonic() - shown > seconds_between_lines and done < len(futures):
                        shown = time.monotonic()
                        print(f"  {title}: {done} of {len(futures)}, lost {counts['lost']}", flush=True)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                runs.Run.end_all()
                raise
        self.all += counts
        described = ", ".join(f"{counts[verdict]} {name}" for verdict, name in NAMES.items() if counts[verdict])
        print(f"{title}: lost {counts['lost']} of {len(futures)} ({described or 'none'}; "
              f"{time.monotonic() - started:.0f} s)", flush=True)


def disturb_saves(program, layout, reference, options, tally):
    """Every point of the first layout; of the others, whose ranks make the same calls, the ends of every stretch."""
    points = experiments.trace(program, layout)
    for complaint in experiments.unsynced(points):
        print(f"  LOST when the power goes: {complaint}", flush=True)
        tally.all["lost"] += 1
    points = experiments.points_of_a_save(points, layout.ranks)
    counted = collections.Counter(point.rank for point in points)
    if not points:
        raise RuntimeError(f"{layout}: the save shows no fault points, so nothing is tested")
    print(f"{layout}: fault points of a save and the steps up to the next: "
          + ", ".join(f"rank {rank} {count}" for rank, count in sorted(counted.items())), flush=True)
    if options.list:
        print(*(f"  {point}" for point in points), sep="\n")
        return
    few = experiments.ends_of_stretches(points)
    writes = [point for point in few if point.call in experiments.WRITES]
    chosen = points if layout == LAYOUTS[0] else few
    kinds = [("kill one rank", ["kill"], chosen), ("kill all ranks", ["kill-all"], chosen)]
    if layout == LAYOUTS[0]:
        kinds += [("torn writes", ["torn", "torn-all"], writes), ("failing calls", ["EIO", "ENOSPC"], few)]
    for title, actions, where in kinds:
        tasks = [lambda point=point, action=action:
                 experiments.at_fault_point(program, layout, reference, point, action)
                 for point in evenly(where, options.points) for action in actions]
        tally.run(f"{layout}: {title}", tasks, options.jobs)


def evenly(points, count):
    """So many of them; 0: all."""
    return points[::-(-len(points) // count)] if count else points


def fill_disks(program, options):
    """Runs disk_full.py where it may mount; returns whether it lost nothing."""
    private = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    probe = subprocess.run([*private, "mount", "-t", "tmpfs", "none", str(program.out)], capture_output=True, text=True)
    if probe.returncode != 0:
        print(f"disk full: skipped: no tmpfs can be mounted here ({probe.stderr.strip()})", flush=True)
        return True
    out = program.out / "disk-full"
    out.mkdir()
    (out / program.text.name).write_text(runs.TEXT)
    script = pathlib.Path(__file__).with_name("disk_full.py")
    return subprocess.run([*private, sys.executable, str(script), str(program.expar), str(program.library), str(out),
                           str(options.disks)]).returncode == 0


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--expar", type=pathlib.Path, required=True)
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--points", type=int, required=True)  # 0: all
    parser.add_argument("--disks", type=int, required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--list", action="store_true")
    return parser.parse_args()


def main():
    options = arguments()
    options.out.mkdir(parents=True)
    program = runs.Program(options.expar.resolve(), options.library.resolve(), options.out.resolve())
    program.text.write_text(runs.TEXT)
    references = {layout: runs.reference(program, layout) for layout in LAYOUTS}
    for layout, reference in references.items():
        print(f"{layout}: the undisturbed run took {reference.first_seconds + reference.seconds:.2f} s", flush=True)

    tally = Tally()
    for layout in LAYOUTS if not options.points else LAYOUTS[:1]:
        disturb_saves(program, layout, references[layout], options, tally)
    if options.list:
        return 1 if tally.all["lost"] else 0
    layouts = [LAYOUTS[i % len(LAYOUTS)] for i in range(options.kills)]
    tally.run("kills at random moments",
              [lambda i=i, layout=layout:
               experiments.at_random_moment(program, layout, references[layout], i, options.seed)
               for i, layout in enumerate(layouts)], options.jobs)
    full = fill_disks(program, options) if options.disks else True
    if runs.Run.stuck:
        print(f"{runs.Run.stuck} times mpirun did not end within {runs.KILLED_SECONDS} s of a kill and was ended")
    print(f"lost {tally.all['lost']} of {tally.disturbed()}")
    if not tally.disturbed():
        print("no run was disturbed, so nothing is proved")
        return 1
    if any(tally.all[verdict] for verdict in FAILURES) or not full:
        print(f"what was lost, or never came to its fault, is in {program.out}")
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"faults_checkpoint.sh: {error}")
    finally:
        runs.Run.end_all()
