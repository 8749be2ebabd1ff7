#!/usr/bin/env python3
"""Times training of transformers' MixtralForCausalLM on the CPU: forward, backward and AdamW, in float32.

    python3 scripts/peers/mixtral_training.py --threads 1 --expert-implementation grouped_mm

Tokens are random bytes; the time does not depend on them, but for the balance of the experts.
"""

import json
import pathlib
import platform
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
import venv  # noqa: E402


def parse_arguments():
    parser = venv.Parser("Time training steps of transformers' MixtralForCausalLM, and print the figures as JSON.")
    for name, default in (("hidden", 256), ("layers", 4), ("experts", 8), ("intermediate", 512), ("top-k", 2),
                          ("vocabulary", 256), ("heads", 8), ("kv-heads", 8), ("sequence", 256), ("batch", 8),
                          ("threads", 1), ("warmup", 3), ("iterations", 10)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--expert-implementation", choices=("eager", "grouped_mm", "batched_mm"), default="eager",
                        help="how transformers computes the experts (default eager); batched_mm copies the expert's "
                             "weights for every token, tens of GB at the default shape")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    for name in ("batch", "sequence", "threads", "iterations"):
        if getattr(options, name) < 1:
            venv.fail(f"--{name} is {getattr(options, name)}, expected at least 1")
    return options


def make_training(options):
    """A function that makes one step."""
    import torch
    import transformers

    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    config = transformers.MixtralConfig(
        vocab_size=options.vocabulary, hidden_size=options.hidden, intermediate_size=options.intermediate,
        num_hidden_layers=options.layers, num_attention_heads=options.heads, num_key_value_heads=options.kv_heads,
        num_local_experts=options.experts, num_experts_per_tok=options.top_k, use_cache=False,
        bos_token_id=None, eos_token_id=None)
    config._attn_implementation = "sdpa"
    config._experts_implementation = options.expert_implementation
    model = transformers.MixtralForCausalLM(config).float().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.randint(options.vocabulary, (options.batch, options.sequence))

    def step():
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()

    return step


def main():
    options = parse_arguments()
    venv.enter(options.build_dir)
    import torch
    import transformers

    step, seconds, processor_seconds = make_training(options), [], []
    for _ in range(options.warmup + options.iterations):
        started, processor_started = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - started)
        processor_seconds.append(time.process_time() - processor_started)
    seconds = seconds[options.warmup:]
    median = statistics.median(seconds)
    report = {name: value for name, value in vars(options).items() if name not in ("build_dir", "json")}
    report |= {"median_seconds": median, "min_seconds": min(seconds), "max_seconds": max(seconds),
               "median_processor_seconds": statistics.median(processor_seconds[options.warmup:]),
               "tokens_per_second": options.batch * options.sequence / median,
               "torch": torch.__version__, "transformers": transformers.__version__, "machine": platform.machine(),
               "processor_capability": torch.backends.cpu.get_cpu_capability()}
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
