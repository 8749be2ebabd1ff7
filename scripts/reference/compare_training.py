#!/usr/bin/env python3
"""Trains a small model with expar and with PyTorch on the same batches, and compares every step.

    python3 scripts/reference/compare_training.py --steps 50 --layouts 1x1,2x2 --json c.json

For every layout EPxDP, expar runs on EP * DP ranks, dropless, with neither balance nor z-loss. PyTorch is transformers'
MixtralForCausalLM in float32. Three comparisons:
  sgd         both start from the same weights and run freely
  adamw       before each step PyTorch takes expar's weights and moments
  adamw_free  both start from the same weights and run freely: drawn, not judged, because Adam divides small gradients
              by their own size, and so turns rounding into steps
Judged are the loss (1e-5 relative) and the gradient norms of dense parameters, routers and experts (1e-4), under adamw
also both moments after the step (1e-4 in norm) and that expar's new weights are what AdamW makes of its own moments
(1e-3 of the learning rate). Where a token's experts differ, the difference is listed with its margin: how far expar's
choice scores, in logits, below PyTorch's k-th. Up to 1e-4 that is rounding, and PyTorch computes the step again with
expar's choices; beyond, it fails.
"""

import json
import pathlib
import shutil

import venv

import expar_command

TOLERANCES = {"loss": 1e-5, "gradient_norm_dense": 1e-4, "gradient_norm_router": 1e-4, "gradient_norm_experts": 1e-4,
              "moment1": 1e-4, "moment2": 1e-4, "weights_in_learning_rates": 1e-3,
              "choice_margin": 1e-4}


def parse_arguments():
    parser = venv.Parser("Compare expar's training with PyTorch's, step by step.")
    parser.add_argument("--steps", type=int, default=50, help="steps of AdamW (default 50)")
    parser.add_argument("--sgd-steps", type=int, help="steps of SGD (default: 20, at most --steps)")
    parser.add_argument("--layouts", default="1x1,2x2", metavar="EPxDP,...", help="default 1x1,2x2")
    parser.add_argument("--text", type=pathlib.Path, help="text to train on (default: sources of Python's library)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go")
    parser.add_argument("--plot", type=pathlib.Path, metavar="FILE.png", help="default: the JSON file's name with .png")
    parser.add_argument("--flag", action="append", default=[], metavar="NAME=VALUE",
                        help="a flag of expar train, instead of or besides the small model's")
    parser.add_argument("--runs", type=pathlib.Path, metavar="DIR",
                        help="new folder for the runs (default: compare_training in the build folder, replaced)")
    options = parser.parse_args()
    if options.steps < 1:
        venv.fail(f"--steps is {options.steps}, expected at least 1")
    options.sgd_steps = options.sgd_steps or min(20, options.steps)
    options.layouts = [parse_layout(layout) for layout in options.layouts.split(",")]
    options.flags = dict(parse_flag(flag) for flag in options.flag)
    options.plot = options.plot or (options.json.with_suffix(".png") if options.json else None)
    for path in (options.json, options.plot, options.runs):
        if path and not path.absolute().parent.is_dir():
            venv.fail(f"{path}: the folder {path.absolute().parent} does not exist")
    if options.text and not options.text.is_file():
        venv.fail(f"--text {options.text} is no file")
    if options.runs and options.runs.exists():
        venv.fail(f"--runs {options.runs} exists already")
    return options


def parse_layout(text):
    ep, _, dp = text.partition("x")
    if not (ep.isdecimal() and dp.isdecimal() and int(ep) > 0 and int(dp) > 0):
        venv.fail(f"--layouts holds '{text}', expected EPxDP such as 2x2")
    return int(ep), int(dp)


def parse_flag(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        venv.fail(f"--flag is '{text}', expected NAME=VALUE")
    return name, value


def main():
    options = parse_arguments()
    expar_command.binary(options.build_dir)
    venv.enter(options.build_dir)

    import training_comparison
    if options.runs is None:
        options.runs = options.build_dir.resolve() / "compare_training"
        shutil.rmtree(options.runs, ignore_errors=True)
    options.runs.mkdir(parents=True)
    options.text = options.text or expar_command.sample_text(options.runs / "text.txt", 1 << 20)
    try:
        report = training_comparison.compare(options, TOLERANCES)
    except training_comparison.Unusable as problem:
        venv.fail(str(problem))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.plot:
        training_comparison.plot(report, options.plot)
    print("passed" if report["passed"] else "FAILED")
    raise SystemExit(0 if report["passed"] else 1)


if __name__ == "__main__":
    main()
