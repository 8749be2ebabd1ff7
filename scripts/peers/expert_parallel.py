"""Expert parallelism for transformers' MixtralForCausalLM in PyTorch, as its users write it.

Every rank holds an equal, consecutive share of each layer's experts; all_to_all_single takes rows to them and back,
with gradients. All other parameters are replicated by DistributedDataParallel, whose buckets are summed while backward
runs. The loss is the mean over the tokens of all ranks, so that gradients need no further scaling.
"""

import torch
import torch.distributed as dist
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.nn.functional import grouped_mm
from torch.nn.parallel import DistributedDataParallel


class ExpertParallelExperts(torch.nn.Module):
    """This rank's share of a MixtralExperts, and the way of rows to all the others'."""

    def __init__(self, experts, group):
        super().__init__()
        self.group, self.ranks = group, dist.get_world_size(group)
        self.experts, self.local = experts.num_experts, experts.num_experts // self.ranks
        mine = share_of(experts.num_experts, group)
        self.gate_up_proj = torch.nn.Parameter(experts.gate_up_proj.detach()[mine].clone())
        self.down_proj = torch.nn.Parameter(experts.down_proj.detach()[mine].clone())
        self.act_fn = experts.act_fn
        self.rows = 0  # that the latest forward brought here

    @torch.compiler.disable  # row counts are data: what is compiled ends and begins again around it
    def forward(self, hidden, choices, weights):
        """hidden [T, H], choices and weights [T, k]: the weighted sum of the chosen experts' outputs, [T, H]."""
        tokens, k = choices.shape
        if torch.is_autocast_enabled("cpu"):  # grouped_mm is no operation that autocast knows
            hidden = hidden.to(torch.get_autocast_dtype("cpu"))
        by_expert = choices.flatten().argsort(stable=True)
        sent = torch.bincount(choices.flatten(), minlength=self.experts)
        received = torch.empty_like(sent)  # [source rank, expert of this rank]
        dist.all_to_all_single(received, sent, group=self.group)
        there, here = (counts.view(self.ranks, -1).sum(1).tolist() for counts in (sent, received))

        rows = self.exchange(hidden.index_select(0, by_expert // k), there, here)
        rows = self.compute(rows, received.view(self.ranks, -1))
        rows = self.exchange(rows, here, there)
        by_token = torch.empty_like(by_expert)
        by_token[by_expert] = torch.arange(tokens * k)
        chosen = rows.index_select(0, by_token).view(tokens, k, -1)
        return (chosen * weights.unsqueeze(-1)).sum(1).to(hidden.dtype)

    def exchange(self, rows, sizes, new_sizes):
        """Sends sizes[r] consecutive rows to each rank r, and receives new_sizes[r] from it."""
        return all_to_all_single_autograd(rows, new_sizes, sizes, self.group)

    def compute(self, rows, counts):
        """The experts' outputs of rows that are ordered by (source rank, expert), in the same order."""
        self.rows = rows.size(0)
        expert_of_row = torch.arange(self.local).repeat(self.ranks).repeat_interleave(counts.flatten())
        by_expert = expert_of_row.argsort(stable=True)
        ends = counts.sum(0).cumsum(0).to(torch.int32)
        rows = rows.index_select(0, by_expert)
        gate, up = self.linear(rows, self.gate_up_proj, ends).chunk(2, dim=-1)
        rows = self.linear(self.act_fn(gate) * up, self.down_proj, ends)
        by_source = torch.empty_like(by_expert)
        by_source[by_expert] = torch.arange(rows.size(0))
        return rows.index_select(0, by_source)

    @staticmethod
    def linear(rows, weight, ends):
        return grouped_mm(rows, weight.to(rows.dtype).transpose(-2, -1), offs=ends)


def share_of(count, group=None):
    """The slice of `count` equal things that is this rank's."""
    size = count // dist.get_world_size(group)
    return slice(dist.get_rank(group) * size, (dist.get_rank(group) + 1) * size)


def distribute(model):
    """Turns a model that is equal on all ranks into this rank's part of it. Collective."""
    group = dist.new_group()  # rows and gradients do not wait for each other
    for layer in model.model.layers:
        layer.mlp.experts = ExpertParallelExperts(layer.mlp.experts, group)
    if dist.get_world_size() == 1:
        return model
    experts = [name for name, _ in model.named_parameters() if ".experts." in name]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, experts)
    replicated = DistributedDataParallel(model, forward_sync_buffers=False, gradient_as_bucket_view=True)
    replicated.register_comm_hook(None, sum_gradients)
    return replicated


def sum_gradients(_, bucket):
    """Instead of DistributedDataParallel's mean over ranks."""
    return dist.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda summed: summed.value()[0])


def load_max_over_mean(model):
    """Rows of the busiest rank over the mean of all, of the worst layer of the latest forward. Collective."""
    rows = torch.tensor([module.rows for module in model.modules() if isinstance(module, ExpertParallelExperts)])
    largest, total = rows.clone(), rows.clone()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    dist.all_reduce(total)
    return float((largest * dist.get_world_size() / total).max())


def compare(model, distributed, reference_loss, loss):
    """How far loss and gradients are from those of the model on one rank, relative to their largest value. Collective.

    model         with the gradients of the whole batch
    distributed   with those of all ranks' shares of it; loss, this rank's part of the loss
    """
    total = loss.detach().clone()
    dist.all_reduce(total)
    mine = dict(getattr(distributed, "module", distributed).named_parameters())
    worst = 0.0
    for name, parameter in model.named_parameters():
        expected = parameter.grad
        if ".experts." in name:
            expected = expected[share_of(expected.size(0))]
        worst = max(worst, float((mine[name].grad - expected).abs().max() / parameter.grad.abs().max()))
    worst = torch.tensor(worst)
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    return {"loss_error": float((total / reference_loss.detach() - 1).abs()), "gradient_error": float(worst)}
