#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "expar/store/partial_file.hpp"
#include "expar/store/raw_file.hpp"

namespace expar {

/// A tensor of float32 in a safetensors file: a name and a shape.
struct NamedShape {
    std::string name;
    std::vector<std::int64_t> shape;

    [[nodiscard]] std::uint64_t bytes() const;
};

/// Writes a safetensors file (8 bytes with the length of a JSON header, the header, the data) tensor by tensor, so that
/// no more than one of them is in memory. The name appears when all is on disk. Local.
class SafetensorsWriter {
public:
    /// `tensors` in the order in which they will be appended. Throws UserError when the file cannot be written.
    SafetensorsWriter(std::filesystem::path path, std::vector<NamedShape> tensors);

    void append(std::span<const float> values);
    /// Throws Error when tensors are missing, UserError when the disk failed.
    void finish();

private:
    std::vector<NamedShape> tensors_;
    std::size_t next_ = 0;
    PartialFile partial_;
    RawFile out_;
};

/// Reads such files. The header is checked when opened: a size that fits the file, known types, and tensors that lie
/// side by side without gap or overlap. Throws UserError, naming the file and what is wrong. Local.
class SafetensorsFile {
public:
    explicit SafetensorsFile(std::filesystem::path path);

    struct Tensor {
        std::string dtype;  ///< "F32", "BF16", …
        std::vector<std::int64_t> shape;
        std::uint64_t begin = 0;  ///< in bytes, after the header
        std::uint64_t end = 0;
    };
    [[nodiscard]] const std::map<std::string, Tensor>& tensors() const { return tensors_; }
    [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
    /// Throws UserError for a tensor that is not there or not float32.
    [[nodiscard]] std::vector<float> read(const std::string& name);

private:
    [[noreturn]] void fail(const std::string& what) const;
    void check_coverage(std::uint64_t data_bytes) const;

    std::filesystem::path path_;
    std::ifstream in_;
    std::uint64_t data_start_ = 0;
    std::map<std::string, Tensor> tensors_;
    std::map<std::string, std::string> metadata_;
};

}  // namespace expar
