"""expar's checkpoints as `transformers`' MixtralForCausalLM, straight from the HDF5 file.

Shares nothing with `expar export`, so that the two can be confronted. Names, once:

    embedding.weight                             model.embed_tokens.weight
    layers.L.attention_norm.weight               model.layers.L.input_layernorm.weight
    layers.L.attention.{query,key,value,output}  model.layers.L.self_attn.{q,k,v,o}_proj
    layers.L.feed_forward_norm.weight            model.layers.L.post_attention_layernorm.weight
    layers.L.router.weight                       model.layers.L.mlp.gate.weight
    layers.L.experts.E.gate, .up                 model.layers.L.mlp.experts.gate_up_proj[E], upper half, lower half
    layers.L.experts.E.down                      model.layers.L.mlp.experts.down_proj[E]
    norm.weight, head.weight                     model.norm.weight, lm_head.weight
"""

import h5py
import torch
import transformers

CHECKPOINT_FORMAT = "expar-checkpoint-2"


class NotMixtral(ValueError):
    """The run's model, or the file, is none that MixtralForCausalLM can hold; one line."""


def make_config(fields):
    """MixtralConfig from the fields of a run's config.toml."""
    expected = {"activation": "swiglu", "router": "mixtral", "qk_norm": "none", "moe_every": 1,
                "shared_intermediate": 0, "capacity_factor": 0}
    for name, value in expected.items():
        if fields.get(name, value) != value:
            raise NotMixtral(f"{name} is {fields[name]}, and MixtralForCausalLM has only {value}")
    return transformers.MixtralConfig(
        vocab_size=fields["vocabulary"], hidden_size=fields["hidden"], intermediate_size=fields["intermediate"],
        num_hidden_layers=fields["layers"], num_attention_heads=fields["heads"],
        num_key_value_heads=fields["kv_heads"] or fields["heads"],
        head_dim=fields["head_size"] or fields["hidden"] // fields["heads"],
        num_local_experts=fields["experts"], num_experts_per_tok=fields["top_k"],
        rms_norm_eps=fields["norm_epsilon"], tie_word_embeddings=fields["tied_head"],
        rope_parameters={"rope_type": "default", "rope_theta": fields["rope_theta"]},
        bos_token_id=None, eos_token_id=None, use_cache=False)


def make_model(fields):
    """A float32 model in training mode whose weights are yet to be set."""
    config = make_config(fields)
    config._attn_implementation = "sdpa"
    config._experts_implementation = "eager"
    return transformers.MixtralForCausalLM(config).float().train()


def slots(config):
    """expar's name -> (transformers' parameter, the part of it that is meant)"""
    whole, width = (), config.intermediate_size
    found = {"embedding.weight": ("model.embed_tokens.weight", whole), "norm.weight": ("model.norm.weight", whole)}
    if not config.tie_word_embeddings:
        found["head.weight"] = ("lm_head.weight", whole)
    for layer in range(config.num_hidden_layers):
        ours, theirs = f"layers.{layer}", f"model.layers.{layer}"
        found[f"{ours}.attention_norm.weight"] = (f"{theirs}.input_layernorm.weight", whole)
        found[f"{ours}.feed_forward_norm.weight"] = (f"{theirs}.post_attention_layernorm.weight", whole)
        for name in ("query", "key", "value", "output"):
            found[f"{ours}.attention.{name}.weight"] = (f"{theirs}.self_attn.{name[0]}_proj.weight", whole)
        found[f"{ours}.router.weight"] = (f"{theirs}.mlp.gate.weight", whole)
        for e in range(config.num_local_experts):
            gate_up, down = f"{theirs}.mlp.experts.gate_up_proj", f"{theirs}.mlp.experts.down_proj"
            found[f"{ours}.experts.{e}.gate.weight"] = (gate_up, (e, slice(0, width)))
            found[f"{ours}.experts.{e}.up.weight"] = (gate_up, (e, slice(width, 2 * width)))
            found[f"{ours}.experts.{e}.down.weight"] = (down, (e,))
    return found


def role_of(name):
    """dense, router or experts, for a name of expar's."""
    if ".experts." in name:
        return "experts"
    return "router" if ".router." in name else "dense"


def read_checkpoint(path, group="value"):
    """name -> float32 tensor; group: value, moment1 or moment2"""
    with h5py.File(path, "r") as file:
        stored = file.attrs.get("format", "none")
        stored = stored.decode() if isinstance(stored, bytes) else stored
        if stored != CHECKPOINT_FORMAT:
            raise NotMixtral(f"{path}: format is {stored}, expected {CHECKPOINT_FORMAT}")
        found = {}

        def visit(name, item):
            if not isinstance(item, h5py.Dataset):
                return
            values = torch.from_numpy(item[...])
            if ".experts." not in name:
                found[name] = values
                return
            for expert, slice_ in enumerate(values):  # layers.L.experts.up.weight holds those of all experts
                found[name.replace(".experts.", f".experts.{expert}.")] = slice_

        file[group].visititems(visit)
        return found


def scatter(config, parameters, destination):
    """Copies every tensor under expar's names into destination(transformers' name), which must be filled wholly."""
    expected = slots(config)
    if parameters.keys() != expected.keys():
        odd = sorted(parameters.keys() ^ expected.keys())
        raise NotMixtral(f"the checkpoint and MixtralForCausalLM differ in {len(odd)} parameters, first {odd[0]}")
    with torch.no_grad():
        for name, (slot, index) in expected.items():
            target = destination(slot)[index]
            target.copy_(parameters[name].reshape(target.shape))


def gather(config, source):
    """expar's name -> the part of source(transformers' name), as a view that autograd does not follow"""
    return {name: source(slot).detach()[index] for name, (slot, index) in slots(config).items()}


def load_weights(model, path):
    scatter(model.config, read_checkpoint(path), model.get_parameter)
