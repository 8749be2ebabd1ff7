#!/usr/bin/env python3
"""A table and a file of what exchange_study has found: report.py RESULTS --ranks-per-node N [--json FILE].

RESULTS/RANKS/KIND has a line of JSON for every shape, or one that says why there are no more.
"""
import argparse
import json
import pathlib
import sys

PLATFORM = "fat tree of 10 Gbit/s and 1 us a link, not oversubscribed; in a node 20 GB/s, 0.3 us; 0.4 us a message and side"


def lines_of(file):
    """The lines that are whole: a run that was ended may leave a part of one."""
    for line in file.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            pass


def read(results, ranks_per_node):
    """All rows, and why kinds have none or not all, by "KIND, RANKS ranks"."""
    rows, cannot_run = [], {}
    for folder in sorted(results.iterdir(), key=lambda path: int(path.name)):
        for file in sorted(folder.iterdir()):
            for line in lines_of(file):
                if "cannot_run" in line:
                    cannot_run[f"{file.name}, {folder.name} ranks"] = line["cannot_run"]
                else:
                    ranks = int(folder.name)
                    rows.append({"ranks": ranks, "nodes": ranks // ranks_per_node, **line, "exchange": file.name})
    return rows, cannot_run


def cells_of(rows):
    """The rows of one number of ranks and shape, by these."""
    cells = {}
    for row in rows:
        key = (row["ranks"], row["workload"], row["rows_per_pair"] * row["row_bytes"])
        cells.setdefault(key, {})[row["exchange"]] = row
    return cells


def judge(cells):
    """Adds to every row whether it is the best of its cell; `auto` chooses among the others and is none of them."""
    for cell in cells.values():
        others = [row["seconds"] for name, row in cell.items() if name != "auto"]
        best = min(others) if len(others) > 1 else None  # one alone has not won
        for name, row in cell.items():
            row["ratio_to_best"] = round(row["seconds"] / best, 3) if best else None
            row["best"] = name != "auto" and row["seconds"] == best


def print_table(cells):
    kinds = sorted({name for cell in cells.values() for name in cell})
    print("microseconds, simulated; * the best")
    print(f"{'ranks':>5} {'workload':>8} {'bytes/pair':>10}" + "".join(f"{kind:>12}" for kind in kinds))
    for (ranks, workload, size), cell in sorted(cells.items()):
        times = ""
        for kind in kinds:
            row = cell.get(kind)
            times += f"{row['seconds'] * 1e6:11.1f}" + ("*" if row["best"] else " ") if row else f"{'-':>11} "
        print(f"{ranks:5} {workload:>8} {size:10}{times}")
    ratios = sorted(cell["auto"]["ratio_to_best"] for cell in cells.values()
                    if "auto" in cell and cell["auto"]["ratio_to_best"])
    if ratios:
        print(f"auto takes {ratios[len(ratios) // 2]:.2f} (median), {ratios[-1]:.2f} (worst) times the best of"
              f" {len(ratios)} cells")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--ranks-per-node", type=int, required=True)
    parser.add_argument("--options", default="")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    rows, cannot_run = read(arguments.results, arguments.ranks_per_node)
    cells = cells_of(rows)
    judge(cells)
    print_table(cells)
    for what, why in cannot_run.items():
        print(f"{what}: {why}")
    if arguments.json:
        arguments.json.write_text(json.dumps(
            {"platform": PLATFORM, "ranks_per_node": arguments.ranks_per_node, "options": arguments.options,
             "cannot_run": cannot_run, "rows": rows}, indent=1) + "\n")
    if not rows:
        sys.exit("no exchange could run")


if __name__ == "__main__":
    main()
