#!/usr/bin/env python3
"""Times training of transformers' MixtralForCausalLM on the CPU: forward, backward and AdamW.

    python3 scripts/peers/mixtral_training.py --threads 1 --experts grouped_mm
    BUILD/reference-venv/bin/torchrun --nproc-per-node 2 scripts/peers/mixtral_training.py --experts expert_parallel

--experts expert_parallel spreads the experts over the processes that torchrun started (expert_parallel.py), and each
trains on its share of the batch; a step takes as long as on the slowest of them. With --check nothing is timed: one
step of one process on the whole batch is compared with the step of all. Tokens are random bytes and the learning rate
is too small to change anything: the time does not depend on them, but for the balance of the experts.
"""

import contextlib
import copy
import json
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
import venv  # noqa: E402

CHECK_TOLERANCE = 1e-5  # of loss and gradients in float32, relative to their largest value


def parse_arguments():
    parser = venv.Parser("Time training steps of transformers' MixtralForCausalLM, and print the figures as JSON.")
    for name, default in (("hidden", 256), ("layers", 4), ("experts-count", 8), ("intermediate", 512), ("top-k", 2),
                          ("vocabulary", 256), ("heads", 8), ("kv-heads", 8), ("sequence", 256), ("batch", 8),
                          ("threads", 1), ("warmup", 3), ("steps", 10)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--experts", choices=("eager", "grouped_mm", "batched_mm", "expert_parallel"),
                        default="grouped_mm", help="who computes the experts; batched_mm copies the expert's weights "
                        "for every token, tens of GB at the default shape; default grouped_mm")
    parser.add_argument("--dtype", choices=("float32", "autocast", "bfloat16"), default="float32",
                        help="autocast: bfloat16 where PyTorch deems it safe, over float32 weights; bfloat16: weights "
                             "and moments too; default float32")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--check", action="store_true", help="compare expert_parallel with one process")
    options = parser.parse_args()
    for name in ("batch", "sequence", "threads", "steps"):
        if getattr(options, name) < 1:
            venv.fail(f"--{name} is {getattr(options, name)}, expected at least 1")
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if options.batch % ranks or options.experts_count % ranks:
        venv.fail(f"--batch {options.batch} --experts-count {options.experts_count}: {ranks} processes need multiples "
                  "of their number")
    return options


def make_model(options):
    """The same weights in every process."""
    import torch
    import transformers

    torch.manual_seed(1)
    config = transformers.MixtralConfig(
        vocab_size=options.vocabulary, hidden_size=options.hidden, intermediate_size=options.intermediate,
        num_hidden_layers=options.layers, num_attention_heads=options.heads, num_key_value_heads=options.kv_heads,
        num_local_experts=options.experts_count, num_experts_per_tok=options.top_k, use_cache=False,
        bos_token_id=None, eos_token_id=None)
    config._attn_implementation = "sdpa"
    config._experts_implementation = "eager" if options.experts == "expert_parallel" else options.experts
    model = transformers.MixtralForCausalLM(config)
    return model.to(torch.bfloat16 if options.dtype == "bfloat16" else torch.float32).train()


def make_batch(options):
    """tokens [sequences, length] of all processes."""
    import torch
    generator = torch.Generator().manual_seed(2)
    return torch.randint(options.vocabulary, (options.batch, options.sequence), generator=generator)


def make_loss(options, model, tokens):
    """A function that computes this process' part of the loss: the mean over the tokens of all."""
    import torch
    targets = options.batch * (options.sequence - 1)

    def loss():
        cast = torch.autocast("cpu", torch.bfloat16) if options.dtype == "autocast" else contextlib.nullcontext()
        with cast:
            return model(input_ids=tokens, labels=tokens, num_items_in_batch=targets).loss

    return loss


def join(options):
    """Makes the process group that expert_parallel needs. Returns this process' share of the sequences."""
    if options.experts != "expert_parallel":
        return slice(None)
    import expert_parallel
    import torch.distributed as dist
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    else:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return expert_parallel.share_of(options.batch)


def check(options):
    """Whether all processes together compute what one does."""
    import expert_parallel
    mine = join(options)
    whole, tokens = make_model(options), make_batch(options)
    part = expert_parallel.distribute(copy.deepcopy(whole))
    losses = [make_loss(options, model, rows)() for model, rows in ((whole, tokens), (part, tokens[mine]))]
    for loss in losses:
        loss.backward()
    report = expert_parallel.compare(whole, part, *losses)
    return report | {"passed": all(error <= CHECK_TOLERANCE for error in report.values())}


def measure(options):
    """Seconds of each timed step, of the slowest process, and more."""
    import torch
    mine = join(options)
    model, tokens = make_model(options), make_batch(options)[mine]
    if options.experts == "expert_parallel":
        import expert_parallel
        model = expert_parallel.distribute(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    loss = make_loss(options, torch.compile(model) if options.compile else model, tokens)
    seconds = []
    for _ in range(options.warmup + options.steps):
        started = time.perf_counter()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    seconds, report = torch.tensor(seconds), {}
    if options.experts == "expert_parallel":
        torch.distributed.all_reduce(seconds, torch.distributed.ReduceOp.MAX)
        report["rank_load_max_over_mean"] = expert_parallel.load_max_over_mean(model)
    seconds = seconds.tolist()
    timed = seconds[options.warmup:]
    return report | {"median_seconds": statistics.median(timed), "min_seconds": min(timed), "max_seconds": max(timed),
                     "first_seconds": seconds[0],
                     "tokens_per_second": options.batch * options.sequence / statistics.median(timed)}


def main():
    options = parse_arguments()
    venv.enter(options.build_dir)
    import torch

    torch.set_num_threads(options.threads)
    report = check(options) if options.check else measure(options)
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(report, indent=1))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    raise SystemExit(0 if report.get("passed", True) else 1)


if __name__ == "__main__":
    main()
