#!/usr/bin/env python3
"""Tables what `expar bench dispatch --link NAME` measured across nodes, beside what the links can carry, and how much of
communication or computation, whichever is shorter, `expar bench layer` has hidden.

  scripts/cluster_figures.py --rate 1gbit=FILE [--rate 200mbit=FILE ...] [--layer 1gbit=FILE ...] [--json FILE]

Each FILE is the --json of one launch; a rate may have several. `link` is the payload that the busiest node must send or
receive, by routing and placement alone, at the rate of its link, over the time that was measured; `kernel` the bytes
that the system counted on that link (both ends of TCP and plan included) over that payload. The rows go to --json with
`rate`, `link_bytes_per_second`, `link_share` and `kernel_over_payload` beside their own keys. Needs nothing but Python.
"""

import argparse
import json
import re
import sys

ROW_BYTES = {"bf16": 2, "float32": 4}
UNITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}


def bytes_per_second(rate):
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(kbit|mbit|gbit)", rate)
    if not match:
        sys.exit(f"--rate: '{rate}', expected a number and kbit, mbit or gbit")
    return float(match[1]) * UNITS[match[2]] / 8


def payload_rows(row):
    """Rows that cross the busiest node's link in what this row timed."""
    if row["dispatcher"] == "naive":
        return row["x0_busiest"]
    outward = (row["phase"] == "dispatch") == (row["direction"] == "forward")
    return row["x1_busiest"] if outward or row["combine_order"] == "reduced" else row["x0_busiest"]


def figures(rate, path):
    capacity = bytes_per_second(rate)
    for row in read_rows(path):
        if row["phase"] not in ("dispatch", "combine") or row["nodes"] < 2:
            continue
        payload = payload_rows(row) * row["hidden"] * ROW_BYTES[row["dtype"]]
        kernel = row["kernel_link_bytes"]
        yield row | {
            "rate": rate,
            "link_bytes_per_second": capacity,
            "link_share": payload / capacity / row["median_seconds"],
            "kernel_over_payload": kernel / payload if kernel is not None and payload else None,
        }


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)["rows"]


def named_file(flag, given):
    rate, separator, path = given.partition("=")
    if not separator:
        sys.exit(f"{flag}: '{given}', expected RATE=FILE")
    return rate, path


def print_layers(rows):
    print(f"\n{'rate':>8} {'dispatcher':<10} {'exchange':<18} {'chunks':>6} {'direction':<9} {'ms':>8} {'communicate':>11} "
          f"{'compute':>8} {'of bound':>8} {'hidden':>6} {'wrong':>5}")
    for row in rows:
        if row["phase"] != "total":
            continue
        same = ("rate", "dispatcher", "exchange", "combine_order", "chunks", "direction")
        seconds = {one["phase"]: one["median_seconds"] for one in rows if all(one[key] == row[key] for key in same)}
        hidden = row["hidden_fraction"]
        print(f"{row['rate']:>8} {row['dispatcher']:<10} {row['exchange']:<18} {row['chunks']:6} {row['direction']:<9} "
              f"{seconds['total'] * 1e3:8.1f} {(seconds['dispatch'] + seconds['combine']) * 1e3:11.1f} "
              f"{seconds['compute'] * 1e3:8.1f} {row['efficiency']:8.2f} "
              f"{'-' if hidden is None else format(hidden, '6.2f'):>6} {row['wrong_rows']:5}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", action="append", required=True, metavar="RATE=FILE")
    parser.add_argument("--layer", action="append", default=[], metavar="RATE=FILE")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    for given in arguments.rate:
        rows += figures(*named_file("--rate", given))
    layers = []
    for given in arguments.layer:
        rate, path = named_file("--layer", given)
        layers += [row | {"rate": rate, "link_bytes_per_second": bytes_per_second(rate)} for row in read_rows(path)]
    print(f"{'rate':>8} {'dispatcher':<10} {'exchange':<18} {'order':<8} {'direction':<9} {'phase':<8} "
          f"{'ms':>8} {'link':>5} {'of bound':>8} {'kernel':>6} {'wrong':>5}")
    for row in rows:
        kernel = row["kernel_over_payload"]
        print(f"{row['rate']:>8} {row['dispatcher']:<10} {row['exchange']:<18} {row['combine_order']:<8} "
              f"{row['direction']:<9} {row['phase']:<8} {row['median_seconds'] * 1e3:8.1f} {row['link_share']:5.2f} "
              f"{row['efficiency']:8.2f} {'-' if kernel is None else format(kernel, '6.2f')} {row['wrong_rows']:5}")
    if layers:
        print_layers(layers)
    rows += layers
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows}, file, indent=1)
            file.write("\n")
    if any(row["wrong_rows"] for row in rows):
        sys.exit("wrong rows")


if __name__ == "__main__":
    main()
