#!/usr/bin/env python3
"""Loads what `expar export` wrote into transformers, and compares logits and loss with expar's own.

    python3 scripts/reference/compare_logits.py RUN --json l.json
    python3 scripts/reference/compare_logits.py             # trains a small model for 20 steps first

Judged are the logits (max|difference| / max|reference|, 1e-5), the loss (1e-5 relative, against the bits per byte of
`expar eval`), that the byte-level tokenizer yields the bytes of the text, and, where the model is a Mixtral, that every
exported weight has the bits of the checkpoint, which is read here without expar's help.
"""

import json
import pathlib
import shutil

import venv

import expar_command

TOLERANCES = {"logits": 1e-5, "loss": 1e-5}


def parse_arguments():
    parser = venv.Parser("Compare transformers' logits of an exported run with expar's.")
    parser.add_argument("run", nargs="?", type=pathlib.Path, metavar="RUN", help="default: a new, small run")
    parser.add_argument("--text", type=pathlib.Path, help="text to predict (default: sources of Python's library)")
    parser.add_argument("--sequence", type=int, default=128, help="tokens of a window (default 128)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go")
    options = parser.parse_args()
    if options.sequence < 2:
        venv.fail(f"--sequence is {options.sequence}, expected at least 2")
    for path in (options.run, options.text):
        if path and not path.exists():
            venv.fail(f"{path} does not exist")
    if options.json and not options.json.absolute().parent.is_dir():
        venv.fail(f"--json {options.json}: the folder {options.json.absolute().parent} does not exist")
    return options


def main():
    options = parse_arguments()
    expar_command.binary(options.build_dir)
    venv.enter(options.build_dir)

    import logit_comparison
    work = options.build_dir.resolve() / "compare_logits"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        report = logit_comparison.compare(options, work, TOLERANCES)
    except (OSError, KeyError, ValueError) as error:
        venv.fail(f"{type(error).__name__}: {error}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    for check in report["checks"]:
        verdict = "passed" if check["passed"] else "FAILED"
        print(f"{check['name']}: {check['seen']}, expected {check['expected']}: {verdict}")
    print("passed" if report["passed"] else "FAILED")
    raise SystemExit(0 if report["passed"] else 1)


if __name__ == "__main__":
    main()
