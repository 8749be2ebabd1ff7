// A configuration file: TOML, and what its values mean together.
#include "config_file.hpp"
#include "fuzz.hpp"

using namespace expar;

// toml++ makes a node of some 400 bytes of a key and value of 4, and so does what holds it.
constexpr fuzz::Allowance allowance{.factor = 400, .constant = std::size_t{1} << 17};

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);
    cli::RunConfig config;
    if (!fuzz::expect_sound(size, allowance, [&] { cli::apply_toml(text, "train.toml", config); }).empty()) return 0;

    const std::string stored = cli::to_toml(config);
    cli::RunConfig again;
    fuzz::expect_sound(stored.size(), allowance, [&] { cli::apply_toml(stored, "stored", again); });
    fuzz::expect(cli::to_toml(again) == stored, "what was stored reads back as something else");
    fuzz::expect_sound(size, allowance, [&] { (void)config.model.resolved(); });
    fuzz::expect_sound(size, allowance, [&] { config.train.validate(4); });
    return 0;
}
