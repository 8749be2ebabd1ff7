#!/usr/bin/env python3
"""Draws a training run as one picture: how the loss fell, what the experts did, and where the time went.

  scripts/plot_run.py RUN [--out PNG] [--references FILE] [--evaluated FILE...]

Of RUN, a folder that `expar train` wrote, also while it still runs or after it was killed:

  metrics.jsonl   bits per byte, communication, load and entropy of the router per step; time per phase
  routing.h5      load of every expert over time, a map per MoE layer
  summary.json    which experts serve which domain (of its validation, or of --evaluated)

Only metrics.jsonl must be there. What cannot be drawn is left out, with a line that says so. The script starts with the
standard library alone; where matplotlib, numpy or h5py is missing, it makes or reuses a Python environment in the build
folder and runs again inside it.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from plots import run_data  # noqa: E402
from reference import venv  # noqa: E402


def note(text: str):
    print(f"plot_run.py: {text}", file=sys.stderr)


def optional(what: str, path: Path, read):
    """What `read` makes of the file; None, and a line, where it is missing or damaged."""
    if not path.exists():
        return note(f"{path}: no such file; {what} left out")
    try:
        return read(path)
    except run_data.Unreadable as error:
        return note(f"{error}; {what} left out")


def gather(args, lines: list[dict]):
    """Everything of the run that can be drawn; a line for everything that cannot."""
    from plots import run_figure

    summary = optional("layout and validation are", args.run / "summary.json", run_data.read_json)
    phases = run_data.phases_of(lines)
    if not phases:
        note(f"{args.run / 'metrics.jsonl'}: has no phase_seconds; time per phase is left out")
    loads = run_data.domain_loads(summary, args.evaluated)
    special = run_data.specialisations(loads)
    if not special:
        note("no expert loads of two domains or more in summary.json or --evaluated; specialisation is left out")
    return run_figure.RunPicture(
        headline=run_figure.headline(args.run.resolve().name, lines, summary),
        lines=lines,
        references=run_data.read_json(args.references) if args.references else None,
        phases=phases,
        routing=optional("expert load over time is", args.run / "routing.h5", run_data.read_routing),
        domains=list(loads),
        specialisations=special), run_figure.draw


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder that `expar train` wrote")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the picture to write (default: RUN/run.png)")
    parser.add_argument("--references", type=Path, metavar="FILE",
                        help="what text_references.py --json wrote, drawn as lines")
    parser.add_argument("--evaluated", type=Path, nargs="+", default=[], metavar="FILE",
                        help="what `expar eval --json` wrote, or folders of it, for the specialisation")
    parser.add_argument("--build-dir", type=Path, default=Path(__file__).resolve().parents[1] / "build", metavar="DIR",
                        help="where a missing Python environment is made (default: build, in the source tree)")
    args = parser.parse_args()
    out = args.out or args.run / "run.png"
    try:
        lines, notes = run_data.read_metrics(args.run / "metrics.jsonl")  # told before an environment is made
        if not all(importlib.util.find_spec(module) for module in ("matplotlib", "numpy", "h5py")):
            venv.enter(args.build_dir)
        for text in notes:
            note(text)
        picture, draw = gather(args, lines)
        draw(picture, out)
    except run_data.Unreadable as error:
        venv.fail(str(error))
    except OSError as error:
        venv.fail(f"{error.filename or out}: {error.strerror}")
    print(out.resolve())


if __name__ == "__main__":
    sys.exit(main())
