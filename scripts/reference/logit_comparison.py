"""The comparisons of compare_logits.py."""

import json
import math

import h5py
import torch
import transformers

import expar_command
import hf_mixtral
import run_folder


def compare(options, work, tolerances):
    """The report; work is an empty folder for what expar writes."""
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    expar = str(expar_command.binary(options.build_dir))
    text = options.text or expar_command.sample_text(work / "text.txt", 1 << 14)
    run = run_folder.Run(options.run) if options.run else small_run(options, work)
    expar_command.call([expar, "export", str(run.folder), "--hf", str(work / "hf")], work / "export.log")
    expar_command.call([expar, "eval", str(run.folder), "--text", str(text), "--sequence", str(options.sequence),
                        "--json", str(work / "eval.json"), "--logits", str(work / "logits.h5")], work / "eval.log")

    model = transformers.AutoModelForCausalLM.from_pretrained(work / "hf", dtype=torch.float32).eval()
    with h5py.File(work / "logits.h5", "r") as file:
        expar_tokens, expar_logits = file["tokens"][...].tolist(), torch.from_numpy(file["logits"][...])
    windows = cut(text.read_bytes(), options.sequence)
    checks = [equal("windows", expar_tokens, [byte for window in windows for byte in window]),
              check_tokenizer(work / "hf", text.read_bytes())]
    if model.config.model_type == "mixtral":
        checks.append(same_weights(model, run))

    logits, bits = score(model, windows)
    expar_bits = json.loads((work / "eval.json").read_text())["bits_per_byte"]
    off = float((expar_logits - logits).abs().max() / logits.abs().max()) if checks[0]["passed"] else math.nan
    checks += [within("logits", off, tolerances["logits"]),
               within("loss", abs(expar_bits - bits) / bits, tolerances["loss"])]
    return {"passed": all(check["passed"] for check in checks), "checks": checks,
            "model": type(model).__name__, "transformers": transformers.__version__, "torch": torch.__version__,
            "windows": len(windows), "sequence": options.sequence,
            "bits_per_byte": {"expar": expar_bits, "transformers": bits}}


def cut(content, sequence):
    """Windows that do not overlap; the last may be shorter, but for a single byte, which predicts nothing."""
    windows = [list(content[begin:begin + sequence]) for begin in range(0, len(content), sequence)]
    return [window for window in windows if len(window) > 1]


def score(model, windows):
    """transformers' logits of all tokens, and its loss over every byte but the first of each window, in bits."""
    logits, nats, predicted = [], 0.0, 0
    with torch.no_grad():
        for window in windows:
            tokens = torch.tensor([window])
            result = model(input_ids=tokens, labels=tokens)
            logits.append(result.logits[0])
            nats += result.loss.item() * (len(window) - 1)
            predicted += len(window) - 1
    return torch.cat(logits), nats / predicted / math.log(2)


def small_run(options, work):
    flags = expar_command.MODEL_FLAGS | expar_command.BATCH_FLAGS
    flags |= {"text": expar_command.sample_text(work / "training.txt", 1 << 20), "steps": 20, "ep": 1,
              "optimizer": "adamw", "learning-rate": 3e-3, "checkpoint-every": 20}
    expar_command.train(options.build_dir, work / "run", 1, flags)
    return run_folder.Run(work / "run")


def check_tokenizer(folder, content):
    """A tokenizer takes text: bytes that are no UTF-8 are replaced before both sides see them."""
    readable = content.decode(errors="replace")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(readable, add_special_tokens=False)["input_ids"]
    return equal("tokenizer", tokens, list(readable.encode()))


def same_weights(model, run):
    stored = hf_mixtral.read_checkpoint(run.last_checkpoint())
    seen = hf_mixtral.gather(model.config, model.get_parameter)
    different = [name for name in seen if not torch.equal(seen[name], stored[name].reshape(seen[name].shape))]
    return {"name": "weights", "seen": f"{len(different)} of {len(seen)} differ", "expected": "the checkpoint's bits",
            "passed": not different and seen.keys() == stored.keys(), "different": different}


def equal(name, seen, expected):
    passed = seen == expected
    return {"name": name, "seen": "equal" if passed else "different", "expected": "the bytes of the text",
            "passed": passed}


def within(name, seen, tolerance):
    return {"name": name, "seen": f"{seen:.1e}", "expected": f"at most {tolerance:.0e}", "passed": seen <= tolerance}
