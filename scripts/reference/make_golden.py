#!/usr/bin/env python3
"""Writes a golden file: one MoE block of `transformers` computed in float64, forward and backward.

    python3 scripts/reference/make_golden.py --model mixtral --hidden 48 --intermediate 80 --experts 6 --top-k 3 \\
        --tokens 37 --seed 5 --out g.h5
    build/expar verify --golden g.h5

The same flags and versions give the same numbers. Needs nothing but Python: see venv.py.
"""

import pathlib

import venv

MODELS = ("mixtral", "olmoe", "qwen2_moe", "switch")


def parse_arguments():
    parser = venv.Parser("Write one MoE block of transformers, in float64, as a golden file.")
    parser.add_argument("--model", required=True, choices=MODELS)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--intermediate", type=int, default=24, help="width of an expert")
    parser.add_argument("--shared-intermediate", type=int,
                        help="width of the shared expert of qwen2_moe (default: 2 * intermediate)")
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--top-k", type=int, help="choices per token (default: 2, for switch 1)")
    parser.add_argument("--tokens", type=int, default=29)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.h5")
    options = parser.parse_args()
    if options.top_k is None:
        options.top_k = 1 if options.model == "switch" else min(2, options.experts)
    if options.shared_intermediate is None:
        options.shared_intermediate = 2 * options.intermediate if options.model == "qwen2_moe" else 0
    check(options)
    return options


def check(options):
    for name in ("hidden", "intermediate", "experts", "top_k", "tokens"):
        if getattr(options, name) < 1:
            venv.fail(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected at least 1")
    if options.top_k > options.experts:
        venv.fail(f"--top-k is {options.top_k}, expected at most the {options.experts} experts")
    if options.model == "switch" and options.top_k != 1:
        venv.fail(f"--top-k is {options.top_k}, but a switch block sends every token to 1 expert")
    if options.model == "qwen2_moe" and options.shared_intermediate < 1:
        venv.fail(f"--shared-intermediate is {options.shared_intermediate}, expected at least 1 for qwen2_moe")
    if options.model != "qwen2_moe" and options.shared_intermediate != 0:
        venv.fail(f"--shared-intermediate is {options.shared_intermediate}, but {options.model} has no shared expert")
    if not 0 <= options.seed < 2**63:
        venv.fail(f"--seed is {options.seed}, expected 0 to 2^63 - 1")
    if not options.out.absolute().parent.is_dir():
        venv.fail(f"--out {options.out}: the folder {options.out.absolute().parent} does not exist")


def main():
    options = parse_arguments()
    venv.enter(options.build_dir)

    import golden
    try:
        print(golden.make(options))
    except golden.Refused as refusal:
        venv.fail(str(refusal))


if __name__ == "__main__":
    main()
