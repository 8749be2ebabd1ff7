#!/usr/bin/env python3
"""Draws what `expar bench` measured: time over bytes of every algorithm beside the bound, efficiency, and which one is
fastest where.

  scripts/plot_bench.py JSON [--out PNG] [--where KEY=VALUE...]

JSON is what `expar bench dispatch --json` wrote, or another of its benchmarks; `expar bench merge` joins several. One
picture shows one setting: where a file has several (experts, choices of a token, types, workloads), --where chooses, and
a line says what is left out. Rows of a probe become bars.

The script starts with the standard library alone; where matplotlib or numpy is missing, it makes or reuses a Python
environment in the build folder and runs again inside it.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from plots import bench_data  # noqa: E402
from reference import venv  # noqa: E402


def note(text: str):
    print(f"plot_bench.py: {text}", file=sys.stderr)


def chosen(points: list[bench_data.Point], where: list[str], path: Path) -> list[bench_data.Point]:
    """Of one setting."""
    for condition in where:
        key, equals, value = condition.partition("=")
        known = sorted({str(dict(point.setting)[key]) for point in points if key in dict(point.setting)})
        if not equals or value not in known:
            values = ", ".join(known) or f"no setting, known: {', '.join(bench_data.SETTING_KEYS)}"
            raise bench_data.Unreadable(f"--where {condition}: {path} has nothing of it; {key} is one of {values}")
        points = [point for point in points if str(dict(point.setting).get(key)) == value]
    first, *others = bench_data.settings_of(points)
    for other in others:
        note(f"left out: {bench_data.describe_setting(other, [first])}; see --where")
    return [point for point in points if point.setting == first]


def headline(provenance: dict, setting: tuple) -> str:
    """Two lines: of what, and on what."""
    said = dict(setting)
    on = [str(provenance[key]) for key in ("cpu", "mpi", "commit") if provenance.get(key)]
    what = bench_data.describe_setting(tuple((key, said[key]) for key in said if said[key] not in (None, "")))
    crowded = ["ranks outnumber cores"] if provenance.get("crowded") else []
    return "\n".join(line for line in (what, " · ".join([*on, *crowded])) if line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, metavar="JSON", help="what `expar bench ... --json` wrote")
    parser.add_argument("--out", type=Path, metavar="PNG", help="the picture to write (default: JSON with .png)")
    parser.add_argument("--where", nargs="+", default=[], metavar="KEY=VALUE", help="draw only this setting: top_k=8")
    parser.add_argument("--build-dir", type=Path, default=Path(__file__).resolve().parents[1] / "build", metavar="DIR",
                        help="where a missing Python environment is made (default: build, in the source tree)")
    args = parser.parse_args()
    out = args.out or args.json.with_suffix(".png")
    try:
        provenance, rows = bench_data.read_rows(args.json)  # told before an environment is made
        rates, points = bench_data.rates_of(rows), bench_data.points_of(rows)
        if not rates and not points:
            raise bench_data.Unreadable(f"{args.json}: no row has a time or a rate")
        if points:
            points = chosen(points, args.where, args.json)
        if not all(importlib.util.find_spec(module) for module in ("matplotlib", "numpy")):
            venv.enter(args.build_dir)
        from plots import bench_figure

        if points:
            bench_figure.draw_points(points, headline(provenance, points[0].setting), out)
        else:
            bench_figure.draw_rates(rates, headline(provenance, ()), out)
    except bench_data.Unreadable as error:
        venv.fail(str(error))
    except OSError as error:
        venv.fail(f"{error.filename or out}: {error.strerror}")
    print(out.resolve())


if __name__ == "__main__":
    sys.exit(main())
