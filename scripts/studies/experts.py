#!/usr/bin/env python3
"""What experts are worth and what they choose by, from runs with and without them (scripts/study_experts.sh makes these).

  experts.py cut TEXT STUDY      cuts the held-out text of a prepared folder into STUDY/parts/DOMAIN.N.txt
  experts.py report STUDY        compares the runs STUDY/{moe,dense}-SEED as STUDY/evaluated/{moe,dense}-SEED.json has them

A part is a run of whole windows, so that the parts of a domain together are evaluated as the domain would be. That there
are several tells how much of what the experts' choices say of the domain is chance (information.py).
Needs Python's standard library alone.
"""

import argparse
import json
import math
import statistics
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from studies.information import Information, information_of  # noqa: E402

PARTS = 8
RANGES = {None: "one seed", True: "overlap", False: "apart"}


def cut(text: bytes, window: int) -> list[bytes]:
    """At most PARTS parts of nearly as many windows each; the last window may be short."""
    windows = -(-len(text) // window)
    count = min(PARTS, windows)
    edges = [n * windows // count * window for n in range(count + 1)]
    return [text[begin:end] for begin, end in zip(edges, edges[1:])]


def cut_corpus(corpus: Path, out: Path, window: int):
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted((corpus / "validation").glob("*.txt")):
        for number, part in enumerate(cut(path.read_bytes(), window)):
            (out / f"{path.stem}.{number}.txt").write_bytes(part)


# --- what the runs have left --------------------------------------------------------------------------------------------


def read_evaluation(path: Path) -> dict[str, list[dict | None]]:
    """{domain: its parts, None where the text was too short for so many}."""
    parts: dict[str, list[dict | None]] = {}
    for row in json.loads(path.read_text())["domains"]:
        domain, number = row["domain"].rsplit(".", 1)
        parts.setdefault(domain, [None] * PARTS)[int(number)] = row
    return parts


def bits_per_byte(evaluation: dict[str, list[dict | None]]) -> dict[str, float]:
    """Of each domain, and of all."""
    present = {domain: [row for row in rows if row] for domain, rows in evaluation.items()}
    present["all"] = sum(present.values(), [])
    return {domain: sum(row["loss"] * row["tokens"] for row in rows) / sum(row["tokens"] for row in rows) / math.log(2)
            for domain, rows in present.items()}


def layer_tables(evaluation: dict[str, list[dict | None]]) -> list[list[list[list[float]]]]:
    """[layers][parts][domains][experts], choices."""
    shape = next(rows[0] for rows in evaluation.values())["expert_loads"]
    return [[[rows[part]["expert_loads"][layer] if rows[part] else [0] * len(shape[layer])
              for rows in evaluation.values()] for part in range(PARTS)] for layer in range(len(shape))]


def byte_tables(folder: Path, domains: list[str]) -> list[list[list[float]]]:
    """[parts][domains][256]"""
    def counts(path: Path) -> list[float]:
        found = Counter(path.read_bytes() if path.exists() else b"")
        return [found[byte] for byte in range(256)]

    return [[counts(folder / f"{domain}.{part}.txt") for domain in domains] for part in range(PARTS)]


# --- figures ------------------------------------------------------------------------------------------------------------


def summed_up(values: list[float]) -> dict:
    return {"mean": statistics.mean(values), "lowest": min(values), "highest": max(values), "values": values}


def domain_rows(moe: list[dict[str, float]], dense: list[dict[str, float]]) -> list[dict]:
    """`moe` and `dense` have an entry per seed, in the same order."""
    rows = []
    for domain in moe[0]:
        with_experts, without = ([run[domain] for run in runs] for runs in (moe, dense))
        rows.append({"domain": domain, "moe": summed_up(with_experts), "dense": summed_up(without),
                     "difference": summed_up([a - b for a, b in zip(with_experts, without)]),
                     "ranges_overlap": None if len(moe) < 2 else
                     max(with_experts) >= min(without) and max(without) >= min(with_experts)})
    return rows


def layer_row(layer: int, runs: list[Information], domains: int) -> dict:
    return {"layer": layer, "bits": summed_up([run.bits for run in runs]),
            "bias": summed_up([run.bias for run in runs]),
            "standard_error": summed_up([run.standard_error for run in runs]),
            "expert_entropy": summed_up([run.column_entropy for run in runs]),
            "at_most": summed_up([min(run.column_entropy, math.log2(domains)) for run in runs])}


def seeds_of(study: Path) -> list[int]:
    """Those for which both models are evaluated: fewer than were asked for while a study goes on."""
    found = [{int(path.stem.split("-")[1]) for path in (study / "evaluated").glob(f"{model}-*.json")}
             for model in ("moe", "dense")]
    if not found[0] & found[1]:
        raise SystemExit(f"experts: {study / 'evaluated'}: holds no seed's moe-SEED.json and dense-SEED.json")
    return sorted(found[0] & found[1])


def study_report(study: Path) -> dict:
    seeds = seeds_of(study)
    evaluated = {model: [read_evaluation(study / "evaluated" / f"{model}-{seed}.json") for seed in seeds]
                 for model in ("moe", "dense")}
    summary = {model: json.loads((study / f"{model}-{seeds[0]}" / "summary.json").read_text()) for model in evaluated}
    domains = list(evaluated["moe"][0])
    tables = [layer_tables(evaluation) for evaluation in evaluated["moe"]]
    first = evaluated["moe"][0][domains[0]][0]
    return {
        "seeds": seeds, "steps": summary["moe"]["steps"], "tokens": summary["moe"]["tokens"],
        "experts": len(first["expert_loads"][0]), "top_k": sum(first["expert_loads"][0]) // first["tokens"],
        "parameters": {model: {kind: found[f"parameters_{kind}"] for kind in ("total", "active")}
                       for model, found in summary.items()},
        "domains": domain_rows(*(list(map(bits_per_byte, runs)) for runs in evaluated.values())),
        "layers": [layer_row(layer, [information_of(table[layer]) for table in tables], len(domains))
                   for layer in range(len(tables[0]))],
        "byte": vars(information_of(byte_tables(study / "parts", domains)))}


def spread(found: dict, digits: int = 3) -> str:
    return f"{found['mean']:.{digits}f} ({found['lowest']:.{digits}f} to {found['highest']:.{digits}f})"


def print_report(report: dict):
    parameters = report["parameters"]
    more = parameters["moe"]["active"] - parameters["dense"]["active"]
    print(f"{report['experts']} experts, top-{report['top_k']}: {parameters['moe']['total']:,} parameters, "
          f"{parameters['moe']['active']:,} of them active for a token; dense: {parameters['dense']['active']:,}, all active")
    print(f"the active ones differ by the routers' {more:,}, {100 * more / parameters['dense']['active']:.2f} %")
    print(f"{report['steps']:,} steps, {report['tokens']:,} bytes, equal for both; "
          f"mean (lowest to highest) of seeds {', '.join(map(str, report['seeds']))}\n")
    print(f"{'bits per byte of':<16}{'experts':>26}{'dense':>26}{'experts - dense':>29}  ranges")
    for row in report["domains"]:
        print(f"{row['domain']:<16}{spread(row['moe']):>26}{spread(row['dense']):>26}{spread(row['difference']):>29}  "
              f"{RANGES[row['ranges_overlap']]}")
    count = len(report["domains"]) - 1
    print(f"\nmutual information of domain and expert in bits; {count} domains, each counted alike: {math.log2(count):.2f} "
          "would tell them all.\nA choice is any one of a token's top-k; bias and error of one seed's value by the "
          f"jackknife over {PARTS} parts of the text")
    print(f"{'layer':<8}{'bits':>26}{'bias':>10}{'error':>10}{'at most':>10}")
    for row in report["layers"]:
        print(f"{row['layer']:<8}{spread(row['bits']):>26}" +
              "".join(f"{row[key]['mean']:10.3f}" for key in ("bias", "standard_error", "at_most")))
    byte = report["byte"]
    print(f"{'(byte)':<8}{byte['bits']:>26.3f}{byte['bias']:10.3f}{byte['standard_error']:10.3f}{math.log2(count):10.3f}")
    print("(byte): of the domain and the byte itself, which bounds an expert that was chosen by the byte alone")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cutter = commands.add_parser("cut", help="cut the held-out text into parts")
    cutter.add_argument("text", type=Path, metavar="TEXT", help="a folder made by prepare_text.py")
    cutter.add_argument("study", type=Path, metavar="STUDY")
    cutter.add_argument("--window", type=int, default=256, metavar="N", help="bytes (default: %(default)s)")
    reporter = commands.add_parser("report", help="compare the runs")
    reporter.add_argument("study", type=Path, metavar="STUDY")
    reporter.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    args = parser.parse_args()
    if args.command == "cut":
        cut_corpus(args.text, args.study / "parts", args.window)
        return
    report = study_report(args.study)
    print_report(report)
    if args.json:
        known = json.loads(json.dumps(report), parse_constant=lambda _: None)  # what is unknown is null, not NaN
        args.json.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
