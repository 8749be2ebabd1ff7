// A safetensors file. Of an input that begins with an even byte, the rest is the file; after an odd one come two bytes
// with the length of the data, and the header's text, to which its length is added.
#include "expar/convert/safetensors.hpp"
#include "fuzz.hpp"

using namespace expar;

// A list of JSON takes 16 bytes for each of two of text, an object more; the vector that grows holds both.
constexpr fuzz::Allowance allowance{.factor = 200, .constant = std::size_t{1} << 17};

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Bytes input(data, size);
    std::string content;
    if (input.byte() % 2 == 0) {
        content = input.rest();
    } else {
        const std::string values(input.two_bytes(), 'v');
        const std::uint64_t length = input.rest().size();
        content.append(reinterpret_cast<const char*>(&length), sizeof length).append(input.rest()).append(values);
    }
    const std::filesystem::path path = fuzz::file_with(content);
    fuzz::expect_sound(content.size(), allowance, [&] {
        SafetensorsFile file(path);
        std::uint64_t end = 0;
        for (const auto& [name, tensor] : file.tensors()) {
            end = std::max(end, tensor.end);
            if (tensor.dtype == "F32")
                fuzz::expect(file.read(name).size() * sizeof(float) == tensor.end - tensor.begin, "a tensor was cut");
        }
        fuzz::expect(end <= content.size(), "a tensor ends behind the file");
    });
    return 0;
}
