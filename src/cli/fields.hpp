#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/train/train_options.hpp"

namespace expar::cli {

/// What a run reads and writes, beside the model and the way it is trained.
struct RunOptions {
    std::vector<std::string> text;
    std::string out;
    bool resume = false;
    int from_step = -1;  ///< -1: the newest checkpoint
    int keep = 0;        ///< newest checkpoints; 0: all
    bool validate = true;
    int log_every = 10;
    bool record_batches = false;
    std::string timeline_steps;
    std::string prometheus;
};

/// Everything that `expar train` can be told.
struct RunConfig {
    ModelOptions model;
    TrainOptions train;
    RunOptions run;
};

/// For how long the value of a field is good.
enum class Lifetime {
    run,      ///< stored in config.toml and checkpoints; a resume may not change it
    stretch,  ///< stored, until a resume gives another
    command,  ///< not stored
};

/// One member of an options struct under the name that its flag, its key in a file and messages are made from.
struct Field {
    std::string_view name;  ///< of the member, "kv_heads"; the flag is "--kv-heads"
    std::variant<int*, std::uint64_t*, double*, bool*, std::string*, std::vector<std::string>*> value;
    std::string_view help;  ///< with unit and known names
    Lifetime lifetime = Lifetime::run;

    [[nodiscard]] std::string flag() const;            ///< "--kv-heads"
    [[nodiscard]] std::string_view type_name() const;  ///< what --help and messages call its type
    [[nodiscard]] std::string text() const;            ///< its value as TOML, which is how --help shows a default
    /// Takes the value from a flag's argument. Throws UserError that names flag, value and what was expected.
    void set(const std::string& argument) const;
};

// The one list of fields of each struct, bound to `options`.
[[nodiscard]] std::vector<Field> fields_of(ModelOptions& options);
[[nodiscard]] std::vector<Field> fields_of(TrainOptions& options);
[[nodiscard]] std::vector<Field> fields_of(RunOptions& options);

struct FieldGroup {
    std::string_view title;
    std::vector<Field> fields;
};
[[nodiscard]] std::vector<FieldGroup> field_groups(RunConfig& config);

/// "; did you mean 'hidden'?", or nothing when no name is near.
[[nodiscard]] std::string suggestion(std::string_view unknown, const std::vector<std::string>& known);

}  // namespace expar::cli
