// The argument of a flag: the first byte says which one.
#include "fields.hpp"
#include "fuzz.hpp"

using namespace expar;

constexpr fuzz::Allowance allowance{.factor = 16};

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Bytes input(data, size);
    cli::RunConfig config;
    std::vector<cli::Field> fields;
    for (const auto& group : cli::field_groups(config))
        fields.insert(fields.end(), group.fields.begin(), group.fields.end());
    const cli::Field& field = fields[input.byte() % fields.size()];
    const std::string argument(input.rest());
    if (fuzz::expect_sound(size, allowance, [&] { field.set(argument); }).empty()) (void)field.text();
    return 0;
}
