"""The MoE blocks that golden files come from: those of `transformers`, and a plain one that shares nothing with them.

Parameters carry expar's names. All maps are y = x W^T without bias.
"""

import torch
from torch.nn import functional
from transformers.models.mixtral import modeling_mixtral
from transformers.models.olmoe import modeling_olmoe
from transformers.models.qwen2_moe import modeling_qwen2_moe
from transformers.models.switch_transformers import modeling_switch_transformers

# How expar names what the released models of each class do.
TRAITS = {
    "mixtral": {"router": "mixtral", "activation": "swiglu", "shared": "none"},
    "olmoe": {"router": "olmoe", "activation": "swiglu", "shared": "none"},
    "qwen2_moe": {"router": "olmoe", "activation": "swiglu", "shared": "gated"},
    "switch": {"router": "switch", "activation": "relu", "shared": "none"},
}


def shapes(options):
    """Name -> shape of every parameter, in the order of the file."""
    def mlp(width):
        maps = {"gate": (width, options.hidden), "up": (width, options.hidden), "down": (options.hidden, width)}
        if TRAITS[options.model]["activation"] == "relu":
            del maps["gate"]
        return maps

    found = {"router.weight": (options.experts, options.hidden)}
    for expert in range(options.experts):
        found |= {f"experts.{expert}.{name}.weight": shape for name, shape in mlp(options.intermediate).items()}
    if TRAITS[options.model]["shared"] == "gated":
        found |= {f"shared.{name}.weight": shape for name, shape in mlp(options.shared_intermediate).items()}
        found["shared_gate.weight"] = (1, options.hidden)
    return found


def unclear_tokens(options, parameters, tokens, choice_margin, kink_margin):
    """[T] true where rounding could change a choice, the order of the choices, or the side of a ReLU's kink."""
    scores = (tokens @ parameters["router.weight"].T).sort(dim=1, descending=True)
    deciding = scores.values[:, :options.top_k + 1]
    unclear = (deciding[:, :-1] - deciding[:, 1:] < choice_margin).any(dim=1)
    if TRAITS[options.model]["activation"] == "relu":
        for expert in range(options.experts):
            mine = (scores.indices[:, :options.top_k] == expert).any(dim=1)
            kinks = (tokens @ parameters[f"experts.{expert}.up.weight"].T).abs() < kink_margin
            unclear |= mine & kinks.any(dim=1)
    return unclear


class TransformersBlock:
    """The block of transformers behind expar's names."""

    def __init__(self, options):
        self.options = options
        self.is_switch = options.model == "switch"
        self.modeling, self.module = _make_module(options)
        self.module = self.module.double().eval()

    def load(self, parameters):
        """Also forgets all gradients."""
        self.module.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, (slot, index) in self._slots().items():
                self.module.get_parameter(slot)[index].copy_(parameters[name])

    def gradients(self):
        """Name -> gradient; zero for what no token used."""
        found = {}
        for name, (slot, index) in self._slots().items():
            parameter = self.module.get_parameter(slot)
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found[name] = gradient[index].double()
        return found

    def forward(self, tokens):
        """output [T, H], choices [T, k] by descending score, weights [T, k]"""
        output = self.module(tokens[None])[0]
        with torch.no_grad():
            if self.is_switch:
                dispatched, weights, _ = self.module.router(tokens[None])
                if int(dispatched.sum()) != self.options.tokens:
                    raise RuntimeError("the Switch block dropped tokens although its capacity holds all of them")
                return output, dispatched[0].argmax(dim=-1, keepdim=True), weights[0].double()
            _, weights, choices = self.module.gate(tokens[None])
        return output, choices, weights.double()

    def balance_loss(self, tokens):
        """transformers' loss of this one layer, divided by k: 1 when balanced."""
        if self.is_switch:
            _, _, logits = self.module.router(tokens[None])
            probabilities = torch.softmax(logits, dim=-1)
            return self.modeling.load_balancing_loss_func(probabilities, logits.argmax(dim=-1))
        logits, _, _ = self.module.gate(tokens[None])
        top_k = self.options.top_k
        return self.modeling.load_balancing_loss_func((logits,), self.options.experts, top_k) / top_k

    def _slots(self):
        """expar's name -> transformers' parameter and the part of it that is meant"""
        whole, width = (), self.options.intermediate
        if self.is_switch:
            slots = {"router.weight": ("router.classifier.weight", whole)}
            for e in range(self.options.experts):
                slots[f"experts.{e}.up.weight"] = (f"experts.expert_{e}.wi.weight", whole)
                slots[f"experts.{e}.down.weight"] = (f"experts.expert_{e}.wo.weight", whole)
            return slots
        slots = {"router.weight": ("gate.weight", whole)}
        for e in range(self.options.experts):  # gate and up lie one above the other in one tensor of all experts
            slots[f"experts.{e}.gate.weight"] = ("experts.gate_up_proj", (e, slice(0, width)))
            slots[f"experts.{e}.up.weight"] = ("experts.gate_up_proj", (e, slice(width, 2 * width)))
            slots[f"experts.{e}.down.weight"] = ("experts.down_proj", (e,))
        if self.options.model == "qwen2_moe":
            for name in ("gate", "up", "down"):
                slots[f"shared.{name}.weight"] = (f"shared_expert.{name}_proj.weight", whole)
            slots["shared_gate.weight"] = ("shared_expert_gate.weight", whole)
        return slots


def _make_module(options):
    """The modeling file and a block of it, without noise, dropout or a capacity that could drop a token."""
    common = {"hidden_size": options.hidden, "num_experts_per_tok": options.top_k}
    if options.model == "mixtral":
        config = modeling_mixtral.MixtralConfig(
            intermediate_size=options.intermediate, num_local_experts=options.experts, **common)
        modeling, block = modeling_mixtral, modeling_mixtral.MixtralSparseMoeBlock
    elif options.model == "olmoe":
        config = modeling_olmoe.OlmoeConfig(
            intermediate_size=options.intermediate, num_experts=options.experts, norm_topk_prob=False, **common)
        modeling, block = modeling_olmoe, modeling_olmoe.OlmoeSparseMoeBlock
    elif options.model == "qwen2_moe":
        config = modeling_qwen2_moe.Qwen2MoeConfig(
            moe_intermediate_size=options.intermediate, num_experts=options.experts, norm_topk_prob=False,
            shared_expert_intermediate_size=options.shared_intermediate, **common)
        modeling, block = modeling_qwen2_moe, modeling_qwen2_moe.Qwen2MoeSparseMoeBlock
    else:
        config = modeling_switch_transformers.SwitchTransformersConfig(
            d_model=options.hidden, d_ff=options.intermediate, num_experts=options.experts,
            expert_capacity=options.tokens, router_jitter_noise=0.0, dropout_rate=0.0, dense_act_fn="relu")
        modeling, block = modeling_switch_transformers, modeling_switch_transformers.SwitchTransformersSparseMLP
    config._experts_implementation = "eager"
    return modeling, block(config)


class PlainBlock:
    """The same block by the book: every expert sees every token, and a dense [T, E] matrix of weights mixes them."""

    def __init__(self, options):
        self.options = options
        self.traits = TRAITS[options.model]
        self.parameters = {}

    def load(self, parameters):
        self.parameters = {name: value.clone().requires_grad_() for name, value in parameters.items()}

    def gradients(self):
        return {name: torch.zeros_like(value) if value.grad is None else value.grad
                for name, value in self.parameters.items()}

    def forward(self, tokens):
        best = self._probabilities(tokens).topk(self.options.top_k, dim=1)
        weights = best.values
        if self.traits["router"] == "mixtral":
            weights = weights / weights.sum(dim=1, keepdim=True)
        mix = torch.zeros(len(tokens), self.options.experts, dtype=tokens.dtype).scatter(1, best.indices, weights)
        output = sum(mix[:, e, None] * self._mlp(f"experts.{e}", tokens) for e in range(self.options.experts))
        if self.traits["shared"] == "gated":
            opening = torch.sigmoid(tokens @ self.parameters["shared_gate.weight"].T)
            output = output + opening * self._mlp("shared", tokens)
        return output, best.indices, weights

    def balance_loss(self, tokens):
        probabilities = self._probabilities(tokens)
        choices = probabilities.topk(self.options.top_k, dim=1).indices
        counts = torch.bincount(choices.flatten(), minlength=self.options.experts).double()
        return self.options.experts * (counts / choices.numel() @ probabilities.mean(dim=0))

    def _probabilities(self, tokens):
        return torch.softmax(tokens @ self.parameters["router.weight"].T, dim=1)

    def _mlp(self, name, tokens):
        up = tokens @ self.parameters[f"{name}.up.weight"].T
        if self.traits["activation"] == "relu":
            inner = torch.relu(up)
        else:
            inner = functional.silu(tokens @ self.parameters[f"{name}.gate.weight"].T) * up
        return inner @ self.parameters[f"{name}.down.weight"].T
