"""The three comparisons of compare_training.py, layout by layout."""

import collections
import math

import torch
import transformers

import expar_command
import hf_mixtral
import run_folder
import torch_training

ROLES = ("dense", "router", "experts")
OPTIMIZER_FLAGS = {  # the norm of the gradient starts above this clip and falls below it
    "sgd": {"optimizer": "sgd", "learning-rate": 0.1, "weight-decay": 0, "clip": 2.5},
    "adamw": {"optimizer": "adamw", "learning-rate": 1e-3, "weight-decay": 0.1, "clip": 2.5},
}


class Unusable(Exception):
    """What expar left cannot be compared; one line."""


def compare(options, tolerances):
    """The whole report, and its lines on the terminal."""
    torch.set_num_threads(1)  # the matrices are small, and waiting for a busy second core costs more than it gives
    report = {"passed": True, "torch": torch.__version__, "transformers": transformers.__version__,
              "text": str(options.text), "tolerances": tolerances, "layouts": []}
    first = {}
    for ep, dp in options.layouts:
        entry = {"layout": f"{ep}x{dp}", "ranks": ep * dp, "ep": ep, "dp": dp}
        for optimizer, steps in (("sgd", options.sgd_steps), ("adamw", options.steps)):
            try:
                run = start(options, entry, optimizer, steps)
                require_same_start(first.setdefault(optimizer, run), run, steps)
                comparison = Comparison(run, optimizer, tolerances["choice_margin"], steps)
                entry[optimizer] = judge(comparison.free() if optimizer == "sgd" else comparison.led(), tolerances)
                if optimizer == "adamw":
                    entry["adamw_free"] = comparison.free()
            except (OSError, KeyError, ValueError) as error:
                raise Unusable(f"layout {entry['layout']}, {optimizer}: {type(error).__name__}: {error}") from error
            print(line(entry["layout"], optimizer, entry[optimizer]), flush=True)
            report["passed"] &= entry[optimizer]["passed"]
        report["layouts"].append(entry)
    return report


def start(options, entry, optimizer, steps):
    flags = expar_command.MODEL_FLAGS | expar_command.BATCH_FLAGS | OPTIMIZER_FLAGS[optimizer]
    flags |= {"text": options.text, "steps": steps, "schedule-steps": 2 * steps, "warmup-steps": 5, "ep": entry["ep"],
              "seed": 1, "checkpoint-every": 1, "record-batches": "true"}
    out = options.runs / f"{optimizer}-{entry['layout']}"
    expar_command.train(options.build_dir, out, entry["ranks"], flags | options.flags)
    return run_folder.Run(out)


def require_same_start(one, other, steps):
    """Weights and batches depend on the seed alone, not on the layout."""
    ours, theirs = (hf_mixtral.read_checkpoint(run.checkpoint(0)) for run in (one, other))
    for name in ours:
        if not torch.equal(ours[name], theirs[name]):
            raise Unusable(f"{other.folder}: {name} starts with other values than in {one.folder}")
    for step in range(1, steps + 1):
        for mine, yours in zip(one.batch(step), other.batch(step), strict=True):
            if (mine.tokens != yours.tokens).any() or (mine.targets != yours.targets).any():
                raise Unusable(f"{other.folder}: the batch of step {step} is not that of {one.folder}")


class Comparison:
    """One run of expar against PyTorch. Results: name -> relative error per step; lists of choices and losses."""

    def __init__(self, run, optimizer, choice_margin, steps):
        self.run, self.choice_margin, self.steps = run, choice_margin, steps
        self.side = torch_training.TorchTraining(run.fields, optimizer)

    def free(self):
        """PyTorch starts from expar's weights and then goes its own way."""
        self.side.load(self.run.checkpoint(0))
        return self._steps(lead=False)

    def led(self):
        """PyTorch takes expar's weights and moments before each step."""
        return self._steps(lead=True)

    def _steps(self, lead):
        errors, choices, curves = collections.defaultdict(list), [], {"expar": [], "pytorch": []}
        for step in range(1, self.steps + 1):
            metrics = self.run.metrics[step]
            if lead:
                self.side.load(self.run.checkpoint(step - 1), moments_of_step=step - 1)
            gradients = self.side.gradients(self.run.batch(step), self.choice_margin)
            errors["loss"].append(relative(metrics["loss"], gradients.loss))
            for role in ROLES:
                name = f"gradient_norm_{role}"
                errors[name].append(relative(metrics[name], gradients.norms[role]))
            choices += [{"step": step} | one for one in gradients.differing_choices]
            factor = self.side.update(gradients, metrics["learning_rate"])
            errors["clip_factor"].append(relative(metrics["clip_factor"], factor))
            if lead:
                for name, error in self._updated(step, metrics["learning_rate"]).items():
                    errors[name].append(error)
            curves["expar"].append(metrics["loss"])
            curves["pytorch"].append(gradients.loss)
        return {"steps": self.steps, "max_rel_error": {name: largest(series) for name, series in errors.items()},
                "rel_error": dict(errors), "differing_choices": choices, "loss": curves,
                "clipped_steps": sum(self.run.metrics[step]["clip_factor"] < 1 for step in range(1, self.steps + 1))}

    def _updated(self, step, learning_rate):
        """How far the optimizers' results of this step are apart."""
        before = hf_mixtral.read_checkpoint(self.run.checkpoint(step - 1))
        after = {group: hf_mixtral.read_checkpoint(self.run.checkpoint(step), group)
                 for group in ("value", "moment1", "moment2")}
        state = self.side.state()
        found = {group: relative_norm(after[group], state[group]) for group in ("moment1", "moment2")}
        found["update"] = relative_norm(difference(after["value"], before), difference(state["value"], before))
        found["weights_in_learning_rates"] = max(
            self._weight_error(name, before, after, step, learning_rate) for name in before)
        return found

    def _weight_error(self, name, before, after, step, learning_rate):
        """How far expar's new weights are from what AdamW makes of its own moments, beyond one rounding of a weight."""
        fields = self.side.fields
        value, moment1, moment2 = (part[name].double() for part in (before, after["moment1"], after["moment2"]))
        rate = learning_rate * (fields[torch_training.ROUTER_SCALE] if ".router." in name else 1.0)
        decay = 0.0 if "norm.weight" in name else fields[torch_training.WEIGHT_DECAY]
        mean = moment1 / (1 - fields[torch_training.BETA1] ** step)
        deviation = (moment2 / (1 - fields[torch_training.BETA2] ** step)).sqrt()
        expected = value - rate * (mean / (deviation + fields[torch_training.EPSILON]) + decay * value)
        rounding = expected.abs() * 2.0**-23
        return float(((after["value"][name].double() - expected).abs() - rounding).clamp_min(0).max()) / learning_rate


def judge(result, tolerances):
    errors = result["max_rel_error"]
    result["failed"] = [name for name, tolerance in tolerances.items()
                        if name in errors and not errors[name] <= tolerance]  # a NaN fails
    if any(one["margin"] > tolerances["choice_margin"] for one in result["differing_choices"]):
        result["failed"].append("choice_margin")
    result["passed"] = not result["failed"]
    return result


def largest(series):
    """max() would pass over a NaN."""
    return next((value for value in series if math.isnan(value)), max(series))


def relative(value, reference):
    return abs(value - reference) / abs(reference) if reference else abs(value)


def difference(one, other):
    return {name: one[name].reshape(other[name].shape).double() - other[name].double() for name in other}


def relative_norm(values, references):
    """||value - reference|| / ||reference|| over all parameters together."""
    off = sum(float(part.square().sum()) for part in difference(values, references).values())
    whole = sum(float(part.double().square().sum()) for part in references.values())
    return (off / whole) ** 0.5 if whole else off**0.5


def line(layout, optimizer, result):
    errors = result["max_rel_error"]
    norms = " ".join(f"{role} {errors[f'gradient_norm_{role}']:.1e}" for role in ROLES)
    margins = [one["margin"] for one in result["differing_choices"]]
    choices = f"{len(margins)} differing choices" + (f" (margin up to {max(margins):.1e})" if margins else "")
    verdict = "passed" if result["passed"] else f"FAILED: {', '.join(result['failed'])}"
    return (f"{layout} {optimizer:5} {result['steps']} steps, {result['clipped_steps']} clipped: "
            f"loss {errors['loss']:.1e}, gradient norms {norms}, {choices}: {verdict}")


def plot(report, path):
    """Free AdamW: both curves, and how far apart they are."""
    import matplotlib.pyplot as plots

    figure, (curves, gaps) = plots.subplots(2, 1, sharex=True, figsize=(7, 6), layout="constrained")
    for entry in report["layouts"]:
        losses = entry["adamw_free"]["loss"]
        steps = range(1, len(losses["expar"]) + 1)
        curves.plot(steps, losses["expar"], label=f"expar, EP x DP = {entry['layout']}")
        gaps.semilogy(steps, [max(error, 1e-9) for error in entry["adamw_free"]["rel_error"]["loss"]],
                      label=f"EP x DP = {entry['layout']}")
    curves.plot(steps, losses["pytorch"], "k--", linewidth=1, label="PyTorch")
    curves.set(ylabel="loss in nats", title="AdamW, both running freely from the same weights")
    gaps.set(xlabel="step", ylabel="relative difference of the loss")
    curves.legend()
    gaps.legend()
    figure.savefig(path, dpi=150)
