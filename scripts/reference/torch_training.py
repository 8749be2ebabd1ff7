"""PyTorch's side of a comparison: transformers' MixtralForCausalLM trained on the batches that expar recorded."""

import dataclasses
import math

import numpy
import torch
from torch.nn import functional

import hf_mixtral

# Fields of config.toml that the update depends on.
CLIP, BETA1, BETA2, EPSILON = "clip", "beta1", "beta2", "epsilon"
WEIGHT_DECAY, ROUTER_SCALE = "weight_decay", "router_learning_rate_scale"


@dataclasses.dataclass
class Gradients:
    """What one step's forward and backward found, before clipping; the gradients themselves are in the model."""
    loss: float
    norms: dict              # dense, router, experts
    differing_choices: list  # where PyTorch would choose other experts than expar did

    def norm(self):
        return math.sqrt(sum(norm**2 for norm in self.norms.values()))


class TorchTraining:
    """A model, its optimizer, and steps on recorded batches. Dropless, no balance or z-loss, float32."""

    def __init__(self, fields, optimizer):
        self.fields = fields
        self.model = hf_mixtral.make_model(fields)
        self.config = self.model.config
        self.layers = [layer.mlp.gate for layer in self.model.model.layers]
        self.routings = []  # (logits, choices) per layer, of the latest forward
        self.given = []     # choices per layer that expar made for the same tokens
        self.taking = False  # whether the forward must take them
        for layer, router in enumerate(self.layers):
            router.register_forward_hook(lambda module, inputs, output, layer=layer: self._route(layer, output))
        self.optimizer = self._make_optimizer(optimizer)

    def load(self, checkpoint, moments_of_step=0):
        """Takes the weights of a checkpoint, and the moments too when they are of step 1 or later."""
        hf_mixtral.load_weights(self.model, checkpoint)
        if moments_of_step == 0:
            self.optimizer.state.clear()
            return
        for group, name in (("moment1", "exp_avg"), ("moment2", "exp_avg_sq")):
            moments = {slot: torch.zeros_like(parameter) for slot, parameter in self.model.named_parameters()}
            hf_mixtral.scatter(self.config, hf_mixtral.read_checkpoint(checkpoint, group), moments.__getitem__)
            for slot, parameter in self.model.named_parameters():
                self.optimizer.state[parameter][name] = moments[slot]
                self.optimizer.state[parameter]["step"] = torch.tensor(float(moments_of_step))

    def gradients(self, batch, choice_margin):
        """Forward and backward over the micro-batches of one step.

        Rounding may turn a near-tie between experts. Where PyTorch would choose other experts, but all of them score
        within choice_margin of its own k-th, it computes the step again with the choices that expar made.
        """
        loss, differing = self._forward_backward(batch, take_choices=False)
        if differing and all(one["margin"] <= choice_margin for one in differing):
            loss, _ = self._forward_backward(batch, take_choices=True)
        squares = dict.fromkeys(("dense", "router", "experts"), 0.0)
        for name, gradient in hf_mixtral.gather(self.config, lambda slot: self.model.get_parameter(slot).grad).items():
            squares[hf_mixtral.role_of(name)] += float(gradient.double().square().sum())
        return Gradients(loss, {role: math.sqrt(square) for role, square in squares.items()}, differing)

    def update(self, gradients, learning_rate):
        """Clips and steps the optimizer. Returns the clip factor."""
        clip, norm = self.fields[CLIP], gradients.norm()
        factor = min(1.0, clip / norm) if clip > 0 else 1.0
        for parameter in self.model.parameters():
            parameter.grad *= factor
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["scale"]
        self.optimizer.step()
        return factor

    def state(self):
        """value, moment1 and moment2 under expar's names, as views."""
        def of(kind):
            return lambda slot: self.optimizer.state[self.model.get_parameter(slot)][kind]
        return {"value": hf_mixtral.gather(self.config, self.model.get_parameter),
                "moment1": hf_mixtral.gather(self.config, of("exp_avg")),
                "moment2": hf_mixtral.gather(self.config, of("exp_avg_sq"))}

    def _make_optimizer(self, kind):
        scale, decay = self.fields[ROUTER_SCALE], self.fields[WEIGHT_DECAY]
        matrices, norms, routers = [], [], []
        for name, parameter in self.model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                routers.append(parameter)
            else:
                (norms if parameter.dim() == 1 else matrices).append(parameter)
        groups = [{"params": matrices, "scale": 1.0, "weight_decay": decay},
                  {"params": routers, "scale": scale, "weight_decay": decay},
                  {"params": norms, "scale": 1.0, "weight_decay": 0.0}]
        if kind == "sgd":
            return torch.optim.SGD(groups, lr=0.0)
        return torch.optim.AdamW(groups, lr=0.0, betas=(self.fields[BETA1], self.fields[BETA2]),
                                 eps=self.fields[EPSILON])

    def _forward_backward(self, batch, take_choices):
        """The loss of the step, its gradients in the model, and where the choices differ from expar's."""
        self.optimizer.zero_grad(set_to_none=False)
        for parameter in self.model.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        loss_tokens = sum(int((micro.targets >= 0).sum()) for micro in batch)
        loss, differing = 0.0, []
        for m, micro in enumerate(batch):
            for rows in equal_lengths(micro.offsets):
                self.given = [torch.from_numpy(of[rows].reshape(-1, of.shape[1])) for of in micro.choices]
                self.taking = take_choices
                logits = self.model(input_ids=torch.from_numpy(micro.tokens[rows])).logits
                targets = torch.from_numpy(micro.targets[rows]).flatten()
                entropy = functional.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-1, reduction="sum")
                (entropy / loss_tokens).backward()
                loss += entropy.item() / loss_tokens
                differing += self._differing(m, rows.flatten())
        return loss, differing

    def _route(self, layer, output):
        """Sees every router's output; replaces the choices, and the weights with them, when they are given."""
        logits, _, choices = output
        self.routings = self.routings[:layer] + [(logits.detach(), choices)]
        if not self.taking:
            return output
        taken = self.given[layer]
        weights = torch.softmax(logits.float(), dim=-1).gather(1, taken)
        return logits, weights / weights.sum(dim=-1, keepdim=True), taken

    def _differing(self, micro, rows):
        found = []
        for layer, (given, (logits, choices)) in enumerate(zip(self.given, self.routings, strict=True)):
            differs = (given.sort(dim=1).values != choices.sort(dim=1).values).any(dim=1)
            for row in differs.nonzero().flatten().tolist():
                score, theirs, ours = logits[row], choices[row], given[row]
                found.append({"micro_batch": micro, "layer": layer, "token": int(rows[row]), "expar": ours.tolist(),
                              "pytorch": theirs.tolist(), "margin": float(score[theirs].min() - score[ours].min())})
        return found


def equal_lengths(offsets):
    """For each length of sequence, the rows [sequences, length] of the tokens of all sequences of that length."""
    lengths = numpy.diff(offsets)
    return [offsets[:-1][lengths == length][:, None] + numpy.arange(length)
            for length in numpy.unique(lengths) if length > 0]
