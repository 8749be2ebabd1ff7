#!/usr/bin/env python3
"""Draws a training run: bits per byte beside references, the share of communication, and the balance of the experts.

  scripts/plot_run.py RUN --out run.png [--references references.json]

Reads RUN/metrics.jsonl, and RUN/summary.json where the run has ended; references.json is what text_references.py
writes. Starts with the standard library alone. Where matplotlib is missing, makes or reuses a Python environment in the
build folder and runs again inside it.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reference import venv  # noqa: E402

REFERENCES = (("unigram", "unigram entropy"), ("bigram", "bigram entropy"), ("trigram", "trigram entropy"),
              ("gzip", "gzip -9"), ("xz", "xz -9"))
INK, GRAY, BLUE, RED = "#222222", "#8c8c8c", "#1f5fa8", "#b5402f"


def read_lines(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    except OSError as error:
        venv.fail(f"{path}: {error.strerror}")
    except json.JSONDecodeError:
        venv.fail(f"{path}: holds a line that is no JSON")
    if not lines:
        venv.fail(f"{path}: holds no step yet")
    return lines


def read_optional(path: Path | None):
    return json.loads(path.read_text()) if path and path.is_file() else None


def column(lines: list[dict], key: str) -> list[float]:
    """A value per step; what is missing or null becomes a gap in the curve."""
    return [line[key] if line.get(key) is not None else float("nan") for line in lines]


def running_mean(values: list[float], width: int) -> list[float]:
    """The mean over `width` steps around each, over fewer at the ends."""
    around = [values[max(0, n - width // 2):n + width // 2 + 1] for n in range(len(values))]
    return [sum(part) / len(part) for part in around]


def headline(run: Path, lines: list[dict], summary: dict | None) -> str:
    speeds = sorted(column(lines, "tokens_per_second"))
    parts = [run.resolve().name, f"{len(lines)} steps", f"median {speeds[len(speeds) // 2]:,.0f} tokens/s"]
    if summary:
        parts.append(f"{summary['ranks']} ranks, EP={summary['ep']} x DP={summary['dp']}")
        parts.append(f"{summary['parameters_total'] / 1e6:.1f} M parameters, {summary['parameters_active'] / 1e6:.1f} M active")
    return " · ".join(parts)


def draw_loss(axes, lines: list[dict], rows: list[dict] | None):
    steps, values = column(lines, "step"), column(lines, "bits_per_byte")
    width = max(1, len(values) // 50)
    axes.plot(steps, values, color=BLUE, alpha=0.3, linewidth=0.8)
    axes.plot(steps, running_mean(values, width), color=BLUE, linewidth=1.8)
    axes.set_ylabel("training bits per byte")
    low, high = min(values), min(8.5, max(values) + 0.3)
    if rows:
        whole = rows[-1]
        low = min([low, *(whole[key] for key, _ in REFERENCES), whole.get("expar", low)])
        # Labels share the right margin: each is lifted clear of the one below it.
        floor = 0.0
        for key, label in sorted(REFERENCES, key=lambda reference: whole[reference[0]]):
            floor = max(whole[key], floor + 0.045 * (high - low))
            axes.axhline(whole[key], color=GRAY, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(f"{label} {whole[key]:.2f}", (1.01, floor), xycoords=axes.get_yaxis_transform(), color=GRAY,
                          va="center", fontsize=8)
        if "expar" in whole:
            axes.plot(steps[-1], whole["expar"], marker="o", color=RED, clip_on=False, zorder=3)
            axes.annotate(f"held out {whole['expar']:.2f} ", (steps[-1], whole["expar"]), xytext=(-6, 7), ha="right",
                          textcoords="offset points", color=RED, fontsize=9)
    axes.set_ylim(low - 0.15, high)


def draw_curve(axes, lines: list[dict], key: str, label: str, scale: float = 1.0):
    axes.plot(column(lines, "step"), [scale * value for value in column(lines, key)], color=INK, linewidth=0.9)
    axes.set_ylabel(label)


def draw(run: Path, out: Path, rows: list[dict] | None):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = read_lines(run)
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.edgecolor": INK})
    figure, (loss, share, balance) = plt.subplots(3, 1, figsize=(8, 7), sharex=True, height_ratios=(3, 1, 1),
                                                  layout="constrained")
    draw_loss(loss, lines, rows)
    draw_curve(share, lines, "communication_share", "communication,\n% of the step", 100)
    share.set_ylim(bottom=0)
    draw_curve(balance, lines, "load_max_over_mean", "load,\nmaximum / mean")
    balance.set_ylim(bottom=1)
    balance.set_xlabel("step")
    loss.set_title(headline(run, lines, read_optional(run / "summary.json")), loc="left", fontsize=9, color=INK)
    try:
        figure.savefig(out, dpi=150)
    except OSError as error:
        venv.fail(f"{out}: {error.strerror}")
    print(out.resolve())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a folder that `expar train` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="the picture to write")
    parser.add_argument("--references", type=Path, metavar="FILE", help="references.json, drawn as lines")
    parser.add_argument("--build-dir", type=Path, default=Path(__file__).resolve().parents[1] / "build", metavar="DIR",
                        help="where a missing Python environment is made (default: build, in the source tree)")
    args = parser.parse_args()
    read_lines(args.run)  # bad input is told before an environment is made
    if args.references and not args.references.is_file():
        venv.fail(f"{args.references}: no such file")
    if not importlib.util.find_spec("matplotlib"):
        venv.enter(args.build_dir)
    draw(args.run, args.out, read_optional(args.references))


if __name__ == "__main__":
    sys.exit(main())
