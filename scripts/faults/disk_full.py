"""Trains into small file systems in memory that run full, then makes room and resumes. Started by prove.py in a mount
namespace of its own, with which the file systems go, however it ends.

    disk_full.py EXPAR LIBRARY OUT SIZES
"""

import pathlib
import subprocess
import sys

import runs


def fill(program, layout, reference, kilobytes):
    """The verdict and what there is to say about it, as runs.recover."""
    mount = program.out / f"tmpfs-{kilobytes}"
    folder = mount / f"disk-full-{kilobytes}"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(mount)], check=True)
    try:
        run = runs.Run(program, layout, folder, runs.new_run_flags(program))
        status = run.wait()
        complaint = run.complaint()
        if status == 0:
            return "same" if not reference.difference(folder) else "lost", reference.difference(folder)
        if status != 2 or len(complaint) != 1:
            return "lost", f"status {status}, expected 2 and one line: {' / '.join(complaint)}"
        if not folder.exists():
            return "anew", complaint[0]
        subprocess.run(["mount", "-o", "remount,size=64m", str(mount)], check=True)
        verdict, reason = runs.recover(program, layout, folder, reference)
        return verdict, reason or complaint[0]
    except TimeoutError as error:
        return "lost", f"the run {error}"
    finally:
        subprocess.run(["umount", str(mount)], check=True)
        mount.rmdir()


def main():
    expar, library, out = map(pathlib.Path, sys.argv[1:4])
    program = runs.Program(expar, library, out)
    layout = runs.Layout(2, 2)
    reference = runs.reference(program, layout)
    # The last run needs the two checkpoints that it keeps, the one that it writes, and the record.
    files = [path.stat().st_size for path in (out / "reference-2x2").rglob("*") if path.is_file()]
    needed = (sum(files) + max(files)) // 1024
    count = int(sys.argv[4])
    lost = 0
    for i in range(count):
        kilobytes = 4 + 4 * (needed * (i + 1) // (count + 1) // 4)
        verdict, reason = fill(program, layout, reference, kilobytes)
        lost += verdict == "lost"
        print(f"  disk of {kilobytes} KiB: {verdict}{': ' if reason else ''}{reason}", flush=True)
    print(f"disk full: lost {lost} of {count}", flush=True)
    return 1 if lost else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        runs.Run.end_all()
