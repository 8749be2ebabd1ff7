#!/usr/bin/env python3
"""Draws a folder that scripts/study_experts.sh made: losses with experts and without, and which experts serve which domain.

  scripts/plot_study.py STUDY [--out PNG]

Starts with the standard library alone; where matplotlib or numpy is missing, it makes or reuses a Python environment in
the build folder and runs again inside it.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reference import venv  # noqa: E402
from studies import experts  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, metavar="STUDY", help="a folder that scripts/study_experts.sh made")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the picture to write (default: STUDY/study.png)")
    parser.add_argument("--build-dir", type=Path, default=Path(__file__).resolve().parents[1] / "build", metavar="DIR",
                        help="where a missing Python environment is made (default: build, in the source tree)")
    args = parser.parse_args()
    out = args.out or args.study / "study.png"
    try:
        report = experts.study_report(args.study)  # told before an environment is made
        if not all(importlib.util.find_spec(module) for module in ("matplotlib", "numpy")):
            venv.enter(args.build_dir)
        from plots import study_figure

        first = experts.read_evaluation(args.study / "evaluated" / f"moe-{report['seeds'][0]}.json")
        study_figure.draw(report, experts.layer_tables(first), list(first), out)
    except OSError as error:
        venv.fail(f"{error.filename or out}: {error.strerror}")
    print(out.resolve())


if __name__ == "__main__":
    sys.exit(main())
