"""Starts `expar`, with nothing but Python's standard library.

What the comparisons need of expar, and nothing else (run_folder.py reads what it leaves):

    mpirun -q -n R BUILD/expar train --text FILE --steps N --ep EP --out RUN --optimizer sgd|adamw --batch B
        --sequence S --accumulation A --learning-rate --weight-decay --clip --checkpoint-every 1 --record-batches,
        and the model's flags
    RUN/config.toml      every field of the model and the optimizer, in any tables
    RUN/metrics.jsonl    a line per step: loss, gradient_norm_{dense,router,experts} (before clipping), clip_factor,
                         learning_rate
    RUN/checkpoints/step-%06d.h5    one before the first step (0) and one after each
    RUN/batches.h5       step-%06d/micro-%d/{tokens, offsets, targets, choices_layer_%d}: the whole global batch;
                         offsets [sequences + 1] into tokens, targets -1 where there is no loss, choices [tokens, k]
    BUILD/expar export RUN --hf DIR
    BUILD/expar eval RUN --text FILE --sequence S --json FILE --logits FILE.h5
        bits_per_byte in the JSON file; tokens [N] and logits [N, vocabulary] in the other: the windows of S bytes one
        after the other, the last one shorter where the text ends, each without its last byte, which predicts nothing
"""

import os
import pathlib
import subprocess
import sysconfig

import venv

# A model small enough to be trained twice by everybody, with an uneven share of experts and grouped heads.
MODEL_FLAGS = {"layers": 2, "hidden": 64, "heads": 4, "kv-heads": 2, "intermediate": 96, "experts": 6, "top-k": 2,
               "router": "mixtral", "activation": "swiglu", "capacity-factor": 0,
               "balance-coefficient": 0, "z-coefficient": 0}
BATCH_FLAGS = {"batch": 8, "sequence": 64, "accumulation": 2}


def binary(build_dir):
    path = build_dir.resolve() / "expar"
    if not os.access(path, os.X_OK):
        venv.fail(f"{path} is missing; build expar first, or name its folder with --build-dir")
    return path


def train(build_dir, out, ranks, flags):
    """Runs `expar train` on that many ranks."""
    arguments = [text for name, value in (flags | {"out": out}).items() for text in (f"--{name}", str(value))]
    call(["mpirun", "-q", "-n", str(ranks), str(binary(build_dir)), "train", *arguments], out.with_suffix(".log"))


def call(command, log, crowded=True):
    """Runs it with its output in a file; a failure ends this script with the command and its last line.

    crowded: ranks may outnumber cores
    """
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    if crowded:
        environment |= {"OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
                        "OMPI_MCA_mpi_yield_when_idle": "1", "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
    if os.geteuid() == 0:
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    with open(log, "w") as file:
        try:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
        except FileNotFoundError:
            venv.fail(f"{command[0]} is not installed")
    if status != 0:
        last = (log.read_text().strip().splitlines() or ["no output"])[-1]
        venv.fail(f"'{' '.join(command)}' ended with status {status}: {last} (all of it: {log})")


def sample_text(path, size):
    """Text that every machine with Python has: the start of its standard library's sources."""
    sources = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b""
    for source in sources:
        if len(text) >= size:
            break
        text += source.read_bytes()
    path.write_bytes(text[:size])
    return path
