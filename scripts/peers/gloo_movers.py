"""Dispatch and combine of tokens' rows between ranks in PyTorch: gloo's all_to_all_single with uneven splits, all else
in torch's own operations, into buffers that are there already. What takes place is what `expar bench dispatch` times:
from the choices to expert rows that lie by expert, then source, token and choice, and from their outputs to sums.
"""

import torch
import torch.distributed as dist


def hosts_of(experts, ranks):
    """[E], consecutive runs of floor or ceil of E / R, the larger ones first."""
    sizes = [experts // ranks + (rank < experts % ranks) for rank in range(ranks)]
    return torch.repeat_interleave(torch.arange(ranks), torch.tensor(sizes)), sizes


class Mover:
    """What both ways of moving have in common: the shape, and buffers that grow to what a routing needs."""

    def __init__(self, experts, hidden, dtype):
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self.experts, self.hidden, self.dtype = experts, hidden, dtype
        self.host_of, self.sizes = hosts_of(experts, self.ranks)
        self.first = sum(self.sizes[:self.rank])  # of the experts here
        self.buffers = {}

    def buffer(self, name, rows):
        there = self.buffers.get(name)
        if there is None or there.size(0) < rows:
            there = self.buffers[name] = torch.zeros(rows, self.hidden, dtype=self.dtype)
        return there[:rows]

    def bytes(self):
        return sum(buffer.nbytes for buffer in self.buffers.values())


class RowPerChoice(Mover):
    """A row travels once for each choice, unweighted home; index_select, index_add. As most write it."""

    name = "gloo"

    def plan(self, choices, weights):
        """choices [T, k], weights [T, k] of the rows' type"""
        top_k = choices.size(1)
        flat = choices.flatten()
        by_expert = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=self.experts)
        mine = self.sizes[self.rank]
        received = torch.empty(self.ranks * mine, dtype=torch.int64)  # [source, expert here]
        dist.all_to_all_single(received, counts, [mine] * self.ranks, self.sizes)
        self.there = [part.sum().item() for part in counts.split(self.sizes)]
        self.here = received.view(self.ranks, mine).sum(1).tolist()
        expert_of_row = torch.arange(mine).repeat(self.ranks).repeat_interleave(received)
        self.by_slot = expert_of_row.argsort(stable=True)
        self.by_source = torch.empty_like(self.by_slot)
        self.by_source[self.by_slot] = torch.arange(self.by_slot.numel())
        self.tokens = by_expert // top_k
        self.weights = weights.flatten()[by_expert].unsqueeze(1)

    def dispatch(self, x):
        sent = torch.index_select(x, 0, self.tokens, out=self.buffer("sent", self.tokens.numel()))
        received = self.buffer("received", self.by_slot.numel())
        dist.all_to_all_single(received, sent, self.here, self.there)
        return torch.index_select(received, 0, self.by_slot, out=self.buffer("rows", self.by_slot.numel()))

    def combine(self, outputs, y):
        back = torch.index_select(outputs, 0, self.by_source, out=self.buffer("received", self.by_source.numel()))
        home = self.buffer("sent", self.tokens.numel())
        dist.all_to_all_single(home, back, self.there, self.here)
        home.mul_(self.weights)
        return y.zero_().index_add_(0, self.tokens, home)


class RowPerRank(Mover):
    """A row travels once to each rank that serves it, a weighted sum travels home; embedding_bag gathers and adds in
    one pass. As one writes it who knows what costs time."""

    name = "gloo, once per rank"

    def plan(self, choices, weights):
        tokens, top_k = choices.shape
        hosts = self.host_of[choices]
        wanted = torch.zeros(self.ranks, tokens, dtype=torch.bool)
        wanted[hosts, torch.arange(tokens).unsqueeze(1)] = True
        pairs = wanted.nonzero()  # (rank, token), ascending
        there = wanted.sum(1)
        here = torch.empty_like(there)
        dist.all_to_all_single(here, there)
        self.there, self.here = there.tolist(), here.tolist()
        self.tokens = pairs[:, 1].contiguous()
        headers = torch.empty(pairs.size(0), 2 * top_k, dtype=torch.int32)
        headers[:, :top_k] = torch.where(hosts[self.tokens] == pairs[:, :1], choices[self.tokens], -1)
        headers[:, top_k:] = weights.float()[self.tokens].view(torch.int32)
        received = torch.empty(sum(self.here), 2 * top_k, dtype=torch.int32)
        dist.all_to_all_single(received, headers, self.here, self.there)
        self.serve(received[:, :top_k], received[:, top_k:].view(torch.float32))
        self.by_token = self.tokens.argsort(stable=True)
        delivered = torch.bincount(self.tokens, minlength=tokens)
        self.token_offsets = delivered.cumsum(0) - delivered

    def serve(self, choices, weights):
        """choices [D, k] of the rows that came, -1: of another rank"""
        served = (choices >= 0).nonzero()
        row, choice = served.unbind(1)
        order = choices[row, choice].argsort(stable=True)
        self.row_of = row[order]  # of the expert rows
        self.places = torch.empty_like(order)
        self.places[order] = torch.arange(order.numel())  # in expert rows, by row that came
        of_row = torch.bincount(row, minlength=choices.size(0))
        self.row_offsets = of_row.cumsum(0) - of_row
        self.row_weights = weights[row, choice].to(self.dtype)

    def dispatch(self, x):
        sent = torch.index_select(x, 0, self.tokens, out=self.buffer("sent", self.tokens.numel()))
        received = self.buffer("received", self.row_offsets.numel())
        dist.all_to_all_single(received, sent, self.here, self.there)
        return torch.index_select(received, 0, self.row_of, out=self.buffer("rows", self.row_of.numel()))

    def combine(self, outputs, y):
        partial = bags(outputs, self.places, self.row_offsets, self.row_weights)
        home = self.buffer("sent", self.tokens.numel())
        dist.all_to_all_single(home, partial, self.there, self.here)
        return bags(home, self.by_token, self.token_offsets)


def bags(rows, indices, offsets, weights=None):
    """Of each bag its rows' sum, added in float32."""
    if offsets.numel() == 0 or rows.size(0) == 0:
        return torch.zeros(offsets.numel(), rows.size(1), dtype=rows.dtype)
    return torch.nn.functional.embedding_bag(indices, rows, offsets, mode="sum", per_sample_weights=weights)


MOVERS = (RowPerChoice, RowPerRank)
