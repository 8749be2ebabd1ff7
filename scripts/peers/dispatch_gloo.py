#!/usr/bin/env python3
"""Times dispatch and combine in PyTorch over gloo, on the routing that expar moves, and prints the figures as JSON.

    BUILD/expar trace workload --ranks 2 --tokens 512 --experts 8 --top-k 2 --seed 1 --out routing.h5
    BUILD/reference-venv/bin/torchrun --nproc-per-node 2 scripts/peers/dispatch_gloo.py --routing routing.h5

A time is from a barrier, each rank's own, the largest of them, as in `expar bench dispatch`; experts copy their rows,
which is not timed. Buffers are allocated before, and so many in turn that they exceed --cold-bytes. Before and after,
every expert applies a transform of its own, and each row is compared with what torch computes from x and the choices.
"""

import json
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "reference"))
import venv  # noqa: E402

DTYPES = ("bf16", "float32")
MOST_SLOTS, LEAST, MOST = 64, 5, 2000  # sets of buffers; iterations


def parse_arguments():
    parser = venv.Parser("Time dispatch and combine in PyTorch over gloo, and print the figures as JSON.")
    parser.add_argument("--routing", type=pathlib.Path, nargs="+", required=True, metavar="FILE",
                        help="what `expar trace workload --out` wrote, for as many ranks as there are processes")
    parser.add_argument("--hidden", type=int, nargs="+", default=[1024], help="columns of a row; default 1024")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="of rows; default bf16")
    parser.add_argument("--seconds", type=float, default=1, help="of measuring for each shape; default 1")
    parser.add_argument("--cold-bytes", type=float, default=0, help="of all ranks' buffers in turn; default: the same")
    parser.add_argument("--threads", type=int, default=1, help="of a rank; default 1")
    parser.add_argument("--damage", action="store_true", help="falsify a number, to see the check fail")
    return parser.parse_args()


def read_routing(path):
    """Its attributes, and of each rank choices [T, k] and weights [T, k]."""
    import h5py
    import torch

    with h5py.File(path) as file:
        tokens = file["tokens"][:].tolist()
        choices = torch.from_numpy(file["experts"][:].astype("int64")).split(tokens)
        weights = torch.from_numpy(file["weights"][:]).split(tokens)
        facts = {key: value.decode() if isinstance(value, bytes) else value for key, value in file.attrs.items()}
    return facts, choices, weights


class Check:
    """Rows that all ranks can make again, and experts that differ."""

    def __init__(self, choices, weights, mover):
        import torch

        self.torch, self.choices, self.mover = torch, choices, mover
        self.x = [self.numbers(rank, own.size(0)) for rank, own in enumerate(choices)]
        experts = torch.arange(mover.experts)
        self.factor = (experts % 3 + 1) * (1 - 2 * (experts % 2))  # -3 … 3
        self.offset = experts % 29 - 14
        self.weights = weights[mover.rank]

    def numbers(self, rank, rows):
        """Whole ones, which no type here rounds."""
        generator = self.torch.Generator().manual_seed(rank)
        shape = (rows, self.mover.hidden)
        return self.torch.randint(-16, 16, shape, generator=generator).to(self.mover.dtype)

    def expected_rows(self):
        """Which experts, and x of whoever chose them, in the order of expert rows."""
        rows, experts = [], []
        for expert in range(self.mover.first, self.mover.first + self.mover.sizes[self.mover.rank]):
            for x, choices in zip(self.x, self.choices):
                rows.append(x[(choices == expert).any(1)])
                experts += [expert] * rows[-1].size(0)
        return self.torch.tensor(experts, dtype=self.torch.int64), self.torch.cat(rows)

    def wrong_rows(self, damage):
        """Of dispatch and of combine, on all ranks."""
        torch, mover = self.torch, self.mover
        own = self.choices[mover.rank]
        x = self.x[mover.rank]
        mover.plan(own, self.weights.to(mover.dtype))
        rows = mover.dispatch(x)
        experts, expected = self.expected_rows()
        if damage and rows.size(0):
            rows[0, 0] += 1
        wrong_rows = (rows != expected).any(1).sum() if rows.shape == expected.shape else max(len(rows), len(expected))
        outputs = rows * self.factor[experts].unsqueeze(1) + self.offset[experts].unsqueeze(1) if len(rows) == len(
            experts) else rows
        y = mover.combine(outputs.to(mover.dtype), torch.empty_like(x))
        if damage and y.size(0):
            y[0, 0] += 8
        # A term for each choice; what is added in the rows' type is rounded as often.
        terms = self.weights.unsqueeze(2) * (self.factor[own].unsqueeze(2) * x.float().unsqueeze(1) +
                                             self.offset[own].unsqueeze(2))
        close = (own.size(1) + 2) * torch.finfo(mover.dtype).eps * terms.abs().sum(1)
        wrong = torch.stack([torch.as_tensor(wrong_rows), ((y.float() - terms.sum(1)).abs() > close).any(1).sum()])
        torch.distributed.all_reduce(wrong)
        return wrong.tolist()


class Slot:
    """Buffers of one iteration."""

    def __init__(self, mover, x, choices, weights):
        self.mover, self.x, self.choices, self.weights = mover, x.clone(), choices, weights
        self.y = x.clone()

    def bytes(self):
        return self.x.nbytes + self.y.nbytes + self.mover.bytes()

    def iterate(self):
        """This rank's seconds of dispatch, its plan included, and of combine."""
        import torch.distributed as dist

        dist.barrier()
        begin = time.perf_counter()
        self.mover.plan(self.choices, self.weights)
        rows = self.mover.dispatch(self.x)
        dispatched = time.perf_counter() - begin
        outputs = self.mover.buffer("outputs", rows.size(0)).copy_(rows)
        dist.barrier()
        begin = time.perf_counter()
        self.y = self.mover.combine(outputs, self.y)
        return dispatched, time.perf_counter() - begin


def of_all_ranks(number, least=False):
    """The largest."""
    import torch

    value = torch.tensor(float(number), dtype=torch.float64)
    torch.distributed.all_reduce(value, torch.distributed.ReduceOp.MIN if least else torch.distributed.ReduceOp.MAX)
    return value.item()


def measure(make, x, choices, weights, options):
    """Of every iteration the slowest rank's seconds of dispatch, combine and both."""
    import torch

    slots = [Slot(make(), x, choices, weights)]
    for _ in range(2):  # all its buffers are there
        slots[0].iterate()
    ranks = torch.distributed.get_world_size()
    wanted = int(options.cold_bytes / ranks / max(1, slots[0].bytes())) + 1
    slots += [Slot(make(), x, choices, weights) for _ in range(int(of_all_ranks(min(wanted, MOST_SLOTS))) - 1)]
    times = [slot.iterate() for slot in slots for _ in range(2)]
    seconds = of_all_ranks(statistics.median(map(sum, times)))
    count = int(of_all_ranks(max(LEAST, min(MOST, options.seconds / seconds))))
    times = torch.tensor([slots[i % len(slots)].iterate() for i in range(count)], dtype=torch.float64)
    times = torch.cat([times, times.sum(1, keepdim=True)], 1)
    torch.distributed.all_reduce(times, torch.distributed.ReduceOp.MAX)
    return times


def rows_of_cell(path, hidden, options):
    """One row for each way of moving and each phase."""
    import torch
    from gloo_movers import MOVERS

    facts, all_choices, all_weights = read_routing(path)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    if len(all_choices) != ranks:
        venv.fail(f"{path}: for {len(all_choices)} ranks, expected {ranks}")
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    choices, weights = all_choices[rank], all_weights[rank]
    cell = {"routing": str(path), "hash": facts["hash"], "hidden": hidden, "dtype": options.dtype,
            "experts": int(facts["experts"]), "top_k": choices.size(1),
            "tokens": sum(len(one) for one in all_choices) // ranks, "ranks": ranks, "threads": options.threads}
    rows = []
    for kind in MOVERS:
        def make():
            return kind(int(facts["experts"]), hidden, dtype)

        check = Check(all_choices, all_weights, make())
        wrong = check.wrong_rows(options.damage)
        times = measure(make, check.x[rank], choices, weights.to(dtype), options)
        wrong = [max(pair) for pair in zip(wrong, check.wrong_rows(options.damage))]
        for column, phase in enumerate(("dispatch", "combine", "total")):
            ordered = sorted(times[:, column].tolist())
            rows.append(cell | {"name": kind.name, "phase": phase, "iterations": len(ordered),
                                "median_seconds": statistics.median(ordered),
                                "p90_seconds": ordered[int(0.9 * (len(ordered) - 1))],
                                "wrong_rows": [*wrong, sum(wrong)][column]})
    return rows


def main():
    options = parse_arguments()
    venv.enter(options.build_dir)
    import torch

    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    torch.distributed.init_process_group("gloo")
    rows = [row for path in options.routing for hidden in options.hidden for row in rows_of_cell(path, hidden, options)]
    if torch.distributed.get_rank() == 0:
        print(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
