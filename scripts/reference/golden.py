"""One MoE block of `transformers` in float64, as golden data: weights, input, output, every gradient, balance loss.

The values come from the classes of transformers, not from a rewrite. A plain block of our own only confirms them.
"""

import contextlib
import dataclasses
import os
import unittest.mock

import h5py
import torch
import transformers

import golden_models

CHOICE_MARGIN = 1e-3  # least distance between a token's scores that decide its choices, in logits of deviation 1.5
KINK_MARGIN = 1e-5    # least distance of a ReLU's argument from 0, where the gradient jumps
PLAIN_TOLERANCES = {"value": 1e-12, "gradient": 1e-12}
SHIPPED_TOLERANCES = {"value": 1e-6, "gradient": 1e-5}  # float32 rounding of the router, which sums add up
RESIDUE = 1e-12       # values are of order 1; what is nowhere larger than this is a cancelled sum


class Refused(Exception):
    """The block asked for cannot be made; one line for the user."""


@dataclasses.dataclass
class Problem:
    """What a block is given. All values are float32 numbers held in float64, so that a float32 reader loses nothing."""
    parameters: dict  # name -> tensor
    input: torch.Tensor     # [T, H]
    d_output: torch.Tensor  # [T, H]


def make(options):
    """Writes options.out and returns a line that says what was written."""
    problem = draw(options)
    with float64_throughout():
        results = evaluate(golden_models.TransformersBlock(options), problem)
    plain = confirm(results, evaluate(golden_models.PlainBlock(options), problem), PLAIN_TOLERANCES,
                    "a plain float64 block")
    as_shipped = confirm(results, evaluate(golden_models.TransformersBlock(options), problem), SHIPPED_TOLERANCES,
                         "transformers with its own float32 casts")
    write(options, problem, results)
    return (f"{options.out}: {options.model}, {options.experts} experts, top-{options.top_k}, {options.tokens} tokens; "
            f"a plain float64 block agrees within {plain:.1e}, transformers as shipped within {as_shipped:.1e}")


def draw(options):
    """Random weights and tokens. A token too close to a tie or a kink, where rounding would decide, is drawn again."""
    random = torch.Generator().manual_seed(options.seed)

    def normal(shape, deviation):
        return (torch.randn(shape, generator=random, dtype=torch.float64) * deviation).float().double()

    parameters = {}
    for name, shape in golden_models.shapes(options).items():
        deviation = 1.5 if name == "router.weight" else 1.0
        parameters[name] = normal(shape, deviation * shape[1] ** -0.5)
    tokens = normal((options.tokens, options.hidden), 1.0)
    for _ in range(1000):
        unclear = golden_models.unclear_tokens(options, parameters, tokens, CHOICE_MARGIN, KINK_MARGIN)
        if not unclear.any():
            return Problem(parameters, tokens, normal(tokens.shape, 1.0))
        tokens[unclear] = normal((int(unclear.sum()), options.hidden), 1.0)
    raise Refused(f"no tokens found whose {options.top_k} choices differ by {CHOICE_MARGIN} in score; "
                  "expected a wider --hidden or fewer --experts")


@contextlib.contextmanager
def float64_throughout():
    """transformers computes the router's softmax and the balance loss in float32, whatever the model's dtype.

    It says so by torch.float, torch.float32 and Tensor.float(); inside this context these mean float64.
    """
    with (unittest.mock.patch.object(torch, "float", torch.float64),
          unittest.mock.patch.object(torch, "float32", torch.float64),
          unittest.mock.patch.object(torch.Tensor, "float", torch.Tensor.double)):
        yield


def evaluate(block, problem):
    """Everything the golden file holds besides the problem itself: name -> tensor."""
    block.load(problem.parameters)
    tokens = problem.input.clone().requires_grad_()
    output, choices, weights = block.forward(tokens)
    (output * problem.d_output).sum().backward()
    results = {"output": output, "choices": choices, "weights": weights, "d_input": tokens.grad}
    results |= {f"d_{name}": gradient for name, gradient in block.gradients().items()}

    block.load(problem.parameters)
    tokens = problem.input.clone().requires_grad_()
    balance = block.balance_loss(tokens)
    balance.backward()
    results["balance_loss"] = balance.reshape(1)
    results["d_balance_router.weight"] = block.gradients()["router.weight"]
    results["d_balance_input"] = tokens.grad
    return {name: without_residue(value.detach()) for name, value in results.items()}


def without_residue(value):
    """Zeros for what is zero but for rounding, such as the router's gradient when a weight is p / p = 1."""
    return value.clone() if value.abs().max() > RESIDUE else torch.zeros_like(value)


def confirm(results, others, tolerances, whose):
    """Returns the largest max|difference| / max|value| over all quantities; refuses a version of transformers
    that differs by more than the tolerance of values or of gradients."""
    if not torch.equal(results["choices"], others["choices"]):
        raise Refused(f"transformers and {whose} choose other experts: this version cannot be an oracle here")
    worst = 0.0
    for name in results.keys() - {"choices"}:
        value = results[name]
        scale = value.abs().max() if value.any() else 1.0
        seen = float((value - others[name]).abs().max() / scale)
        tolerance = tolerances["gradient" if name.startswith("d_") else "value"]
        if seen > tolerance:
            raise Refused(f"{name} of transformers differs from that of {whose} by {seen:.1e}, "
                          f"expected at most {tolerance:.0e}")
        worst = max(worst, seen)
    return worst


def write(options, problem, results):
    texts = {"format": "expar-golden-1", "model": options.model} | golden_models.TRAITS[options.model]
    texts |= {"torch_version": torch.__version__, "transformers_version": transformers.__version__}
    partial = options.out.with_name(options.out.name + ".partial")
    # HDF5 1.10 reads it; the default, older layout spends 3 KB on every compressed dataset.
    with h5py.File(partial, "w", libver=("v110", "v110")) as file:
        for name, text in texts.items():
            file.attrs[name] = str(text)
        for name in ("hidden", "intermediate", "experts", "top_k", "tokens", "shared_intermediate", "seed"):
            file.attrs.create(name, getattr(options, name), dtype="int64")
        data = {"input": problem.input, "d_output": problem.d_output} | problem.parameters | results
        for name, value in data.items():
            array = value.to(torch.int32).numpy() if name == "choices" else value.numpy()
            file.create_dataset(name, data=array, chunks=array.shape, compression="gzip", shuffle=True)
    os.replace(partial, options.out)
