#!/usr/bin/env python3
"""Tables what `expar bench dispatch --link NAME` measured across nodes, beside what the links can carry.

  scripts/cluster_figures.py --rate 1gbit=FILE [--rate 200mbit=FILE ...] [--json FILE]

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
    with open(path, encoding="utf-8") as file:
        rows = json.load(file)["rows"]
    for row in rows:
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", action="append", required=True, metavar="RATE=FILE")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    rows = []
    for given in arguments.rate:
        rate, separator, path = given.partition("=")
        if not separator:
            sys.exit(f"--rate: '{given}', expected RATE=FILE")
        rows += figures(rate, path)
    print(f"{'rate':>8} {'dispatcher':<10} {'exchange':<18} {'order':<8} {'direction':<9} {'phase':<8} "
          f"{'ms':>8} {'link':>5} {'of bound':>8} {'kernel':>6} {'wrong':>5}")
    for row in rows:
        kernel = row["kernel_over_payload"]
        print(f"{row['rate']:>8} {row['dispatcher']:<10} {row['exchange']:<18} {row['combine_order']:<8} "
              f"{row['direction']:<9} {row['phase']:<8} {row['median_seconds'] * 1e3:8.1f} {row['link_share']:5.2f} "
              f"{row['efficiency']:8.2f} {'-' if kernel is None else format(kernel, '6.2f')} {row['wrong_rows']:5}")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"rows": rows}, file, indent=1)
            file.write("\n")
    if any(row["wrong_rows"] for row in rows):
        sys.exit("wrong rows")


if __name__ == "__main__":
    main()
