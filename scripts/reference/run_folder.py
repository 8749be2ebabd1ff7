"""Reads a run folder of expar; expar_command.py says which of its files and fields the comparisons need."""

import dataclasses
import json
import pathlib
import tomllib

import h5py
import numpy


@dataclasses.dataclass
class MicroBatch:
    """The sequences of all ranks, one after the other."""
    tokens: numpy.ndarray   # [T]
    offsets: numpy.ndarray  # [sequences + 1]
    targets: numpy.ndarray  # [T], -1: no loss
    choices: list           # of [T, k] per layer


class Run:
    """A run folder. Throws OSError or KeyError on what is missing."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.fields = flatten(tomllib.loads((self.folder / "config.toml").read_text()))
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        self.metrics = {record["step"]: record for record in map(json.loads, lines)}

    def checkpoint(self, step):
        return self.folder / "checkpoints" / f"step-{step:06d}.h5"

    def last_checkpoint(self):
        return max((self.folder / "checkpoints").glob("step-*.h5"))

    def batch(self, step):
        """The micro-batches of a step, the first of which is step 1."""
        with h5py.File(self.folder / "batches.h5", "r") as file:
            group = file[f"step-{step:06d}"]
            return [read_micro_batch(group[f"micro-{m}"], self.fields["layers"]) for m in range(len(group))]


def read_micro_batch(group, layers):
    return MicroBatch(*(group[name][...].astype("int64") for name in ("tokens", "offsets", "targets")),
                      [group[f"choices_layer_{layer}"][...].astype("int64") for layer in range(layers)])


def flatten(table):
    """All keys of a TOML document in one table, with _ for -."""
    fields = {}
    for key, value in table.items():
        fields |= flatten(value) if isinstance(value, dict) else {key.replace("-", "_"): value}
    return fields
