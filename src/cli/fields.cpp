#include "fields.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "compute_device.hpp"
#include "expar/base/error.hpp"

namespace expar::cli {
namespace {

template <class Number>
std::optional<Number> parse_number(const std::string& text) {
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<bool> parse_bool(const std::string& text) {
    if (text.empty() || text == "true" || text == "1" || text == "on" || text == "yes") return true;
    if (text == "false" || text == "0" || text == "off" || text == "no") return false;
    return std::nullopt;
}

// A basic string of TOML.
std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += {'\\', c};
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
            constexpr char digits[] = "0123456789ABCDEF";
            out += concat("\\u00", digits[(c >> 4) & 15], digits[c & 15]);
        } else
            out += c;
    }
    return out + "\"";
}

// The shortest text that reads back as the same number, and as a float of TOML.
std::string real_text(double value) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
    std::string text(buffer, end);
    if (text.find_first_of(".en") == std::string::npos) text += ".0";
    return text;
}

struct TextOf {
    std::string operator()(const int* value) const { return std::to_string(*value); }
    std::string operator()(const std::uint64_t* value) const { return std::to_string(*value); }
    std::string operator()(const double* value) const { return real_text(*value); }
    std::string operator()(const bool* value) const { return *value ? "true" : "false"; }
    std::string operator()(const std::string* value) const { return quoted(*value); }
    std::string operator()(const std::vector<std::string>* values) const {
        std::string text;
        for (const auto& value : *values) text += (text.empty() ? "" : ", ") + quoted(value);
        return "[" + text + "]";
    }
};

struct TypeName {
    std::string_view operator()(const int*) const { return "INTEGER"; }
    std::string_view operator()(const std::uint64_t*) const { return "INTEGER"; }
    std::string_view operator()(const double*) const { return "NUMBER"; }
    std::string_view operator()(const bool*) const { return "BOOLEAN"; }
    std::string_view operator()(const std::string*) const { return "NAME"; }
    std::string_view operator()(const std::vector<std::string>*) const { return "FILE..."; }
};

int edit_distance(std::string_view a, std::string_view b) {
    std::vector<int> row(b.size() + 1);
    std::iota(row.begin(), row.end(), 0);
    for (std::size_t i = 0; i < a.size(); ++i) {
        int diagonal = std::exchange(row[0], int(i) + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const int replaced = diagonal + (a[i] != b[j]);
            diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
        }
    }
    return row.back();
}

}  // namespace

std::string Field::flag() const {
    std::string flag = concat("--", name);
    std::ranges::replace(flag, '_', '-');
    return flag;
}

std::string_view Field::type_name() const {
    return std::visit(TypeName{}, value);
}

std::string Field::text() const {
    return std::visit(TextOf{}, value);
}

void Field::set(const std::string& argument) const {
    const auto take = [&]<class T>(T* target, const std::optional<T>& parsed, std::string_view expected) {
        if (!parsed) throw UserError(concat(flag(), ": expected ", expected, ", got '", argument, "'"));
        *target = *parsed;
    };
    if (const auto* target = std::get_if<int*>(&value))
        take(*target, parse_number<int>(argument), "an integer");
    else if (const auto* wide = std::get_if<std::uint64_t*>(&value)) {
        // TOML has no larger integers.
        auto parsed = parse_number<std::uint64_t>(argument);
        if (parsed && *parsed > std::uint64_t(std::numeric_limits<std::int64_t>::max())) parsed.reset();
        take(*wide, parsed, "an integer from 0 to 9223372036854775807");
    } else if (const auto* real = std::get_if<double*>(&value))
        take(*real, parse_number<double>(argument), "a number");
    else if (const auto* truth = std::get_if<bool*>(&value))
        take(*truth, parse_bool(argument), "true or false");
    else if (const auto* text = std::get_if<std::string*>(&value))
        **text = argument;
    else
        std::get<std::vector<std::string>*>(value)->push_back(argument);
}

std::vector<Field> fields_of(ModelOptions& o) {
    return {
        {"vocabulary", &o.vocabulary, "tokens that the model knows; text is bytes, so at least 256"},
        {"layers", &o.layers, "layers of attention and experts"},
        {"hidden", &o.hidden, "width of a token's row"},
        {"heads", &o.heads, "attention heads of the queries"},
        {"kv_heads", &o.kv_heads, "heads of keys and values; 0: as many as heads"},
        {"head_size", &o.head_size, "width of a head; 0: hidden / heads"},
        {"intermediate", &o.intermediate, "width of an expert"},
        {"experts", &o.experts, "experts of a layer"},
        {"top_k", &o.top_k, "experts that a token chooses"},
        {"moe_every", &o.moe_every, "every n-th layer has experts, the others one dense network"},
        {"dense_intermediate", &o.dense_intermediate, "width of the dense networks; 0: top_k * intermediate"},
        {"shared_intermediate", &o.shared_intermediate, "width of the expert that serves every token; 0: none"},
        {"shared", &o.shared, "how the shared expert joins the others: sum, gated"},
        {"activation", &o.activation, "inside an expert: swiglu, gelu, gelu_tanh, relu"},
        {"router", &o.router, "how scores become choices and weights: mixtral, olmoe, gpt-oss, switch"},
        {"router_noise", &o.router_noise, "standard deviation of the noise on scores in training"},
        {"qk_norm", &o.qk_norm, "norm of queries and keys: none, projection, head"},
        {"tied_head", &o.tied_head, "the output layer is the embedding"},
        {"rope_theta", &o.rope_theta, "base of the rotary positions"},
        {"norm_epsilon", &o.norm_epsilon, "added to the mean square in every norm"},
        {"initial_std", &o.initial_std, "standard deviation of the first weights"},
        {"capacity_factor", &o.capacity_factor, "places of an expert, over its even share of choices; 0: no limit"},
        {"capacity_scope", &o.capacity_scope, "tokens that share the places: all, rank"},
        {"balance_coefficient", &o.balance_coefficient, "weight of the balance loss"},
        {"balance_scope", &o.balance_scope, "tokens over which balance is judged: all, rank"},
        {"z_coefficient", &o.z_coefficient, "weight of the squared log-sum-exp of the scores"},
    };
}

std::vector<Field> fields_of(TrainOptions& o) {
    return {
        {"ep", &o.ep, "ranks that hold one set of experts between them; 0: all ranks", Lifetime::stretch},
        {"ranks_per_node", &o.ranks_per_node, "ranks that count as one node in what is printed; 0: as MPI says",
         Lifetime::stretch},
        {"sequence", &o.sequence, "tokens of a sequence"},
        {"batch", &o.batch, "sequences of one micro-batch, over all ranks"},
        {"accumulation", &o.accumulation, "micro-batches of a step"},
        {"steps", &o.steps, "steps after which the run stops", Lifetime::stretch},
        {"schedule_steps", &o.schedule_steps, "steps after which the learning rate is at its end; 0: steps"},
        {"warmup_steps", &o.warmup_steps, "steps in which the learning rate rises"},
        {"seed", &o.seed, "of weights, batches and noise"},
        {"optimizer", &o.optimizer, "adamw, sgd"},
        {"learning_rate", &o.learning_rate, "largest learning rate"},
        {"router_learning_rate_scale", &o.router_learning_rate_scale, "the router's learning rate over the others'"},
        {"final_fraction", &o.final_fraction, "learning rate at the end of the schedule over the largest"},
        {"beta1", &o.beta1, "decay of the mean gradient (adamw)"},
        {"beta2", &o.beta2, "decay of the mean square (adamw)"},
        {"epsilon", &o.epsilon, "added to the root of the mean square (adamw)"},
        {"weight_decay", &o.weight_decay, "of matrices, per step and learning rate"},
        {"clip", &o.clip, "largest norm of the gradient; 0: no limit"},
        {"combine", &o.combine, "order in which outputs are added: exact, reduced, node_reduced", Lifetime::stretch},
        {"dispatcher", &o.dispatcher, "what moves rows to experts and back: packed, naive, window, hierarchical",
         Lifetime::stretch},
        {"exchange", &o.exchange, "how rows travel: native, spread", Lifetime::stretch},
        {"chunks", &o.chunks, "parts of a layer's tokens, of which some travel while experts compute on others",
         Lifetime::stretch},
        {"placement", &o.placement, "which rank hosts which expert: linear, shuffled", Lifetime::stretch},
        {"dtype", &o.dtype, "of rows: float32, or bf16 over float32 parameters", Lifetime::stretch},
        {"threads", &o.threads, "threads of a rank", Lifetime::stretch},
        {"isa", &o.isa, isa_help, Lifetime::stretch},
        {"overlap_gradients", &o.overlap_gradients, "gradients travel during backward, not after it",
         Lifetime::stretch},
        {"recompute", &o.recompute, "keep a layer's input alone and run its forward again before its backward",
         Lifetime::stretch},
        {"timeout", &o.timeout, "seconds that a rank waits for the others", Lifetime::stretch},
        {"checkpoint_every", &o.checkpoint_every,
         "steps between checkpoints, the first before any step; 0: one at the end", Lifetime::stretch},
    };
}

std::vector<Field> fields_of(RunOptions& o) {
    constexpr Lifetime stretch = Lifetime::stretch, command = Lifetime::command;
    return {
        {"text", &o.text, "files of text, or folders that scripts/prepare_text.py made", stretch},
        {"out", &o.out, "folder of the run, which must not exist unless --resume; empty: runs/<date>-<time>", command},
        {"resume", &o.resume, "go on with the run in --out, with its stored configuration", command},
        {"from_step", &o.from_step, "of which checkpoint --resume goes on; -1: of the newest", command},
        {"keep", &o.keep, "checkpoints to keep, the newest; 0: all", stretch},
        {"validate", &o.validate, "at the end, measure bits per byte on a prepared folder's held-out text", stretch},
        {"log_every", &o.log_every, "steps between lines in a log", stretch},
        {"record_batches", &o.record_batches, "write tokens and choices of every step to batches.h5", command},
        {"timeline_steps", &o.timeline_steps, "first:last of the steps that timeline.json shows; empty: none", command},
        {"prometheus", &o.prometheus, "file that shows the last step in Prometheus' format; empty: none", command},
    };
}

std::vector<FieldGroup> field_groups(RunConfig& config) {
    return {{"Run", fields_of(config.run)}, {"Training", fields_of(config.train)}, {"Model", fields_of(config.model)}};
}

std::string suggestion(std::string_view unknown, const std::vector<std::string>& known) {
    constexpr std::size_t longest = 100;  // what is longer than any name needs no look at each
    if (unknown.size() > longest) return "";
    const auto near = std::ranges::min_element(
        known, {}, [unknown](const std::string& name) { return edit_distance(unknown, name); });
    if (near == known.end() || edit_distance(unknown, *near) > 2) return "";
    return concat("; did you mean '", *near, "'?");
}

}  // namespace expar::cli
