#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

namespace expar {

/// A part of one group's result that one thread computes.
struct GridTask {
    std::size_t group;
    int first_row, rows;  ///< from the group's first
    int first_panel, panels;
};

/// The results of all groups cut into tasks: blocks of rows of about equal height, at most so many, and parts of the
/// panels. No list is kept: a task is found by counting.
class TaskGrid {
public:
    struct Limits {
        int rows;     ///< of a task, at most
        int step;     ///< rows are best multiples of it
        int threads;  ///< each should get some tasks, so that none waits long for another
    };

    TaskGrid(std::span<const int> offsets, int panels, Limits limits)
        : offsets_(offsets), panels_(panels), rows_(std::max(limits.rows / limits.step, 1) * limits.step) {
        const long wanted = limits.threads > 1 ? 4L * limits.threads : 1;
        const int fewest_rows = 6 * limits.step;
        while (rows_ > fewest_rows && row_blocks() < wanted)
            rows_ = std::max(fewest_rows, rows_ / 2 / limits.step * limits.step);
        const long blocks = row_blocks();
        if (blocks > 0) parts_ = int(std::clamp<long>((wanted + blocks - 1) / blocks, 1, std::max(panels, 1)));
    }

    [[nodiscard]] long count() const { return row_blocks() * parts_; }
    /// Whether no two tasks have the same panels of a group.
    [[nodiscard]] bool panels_apart() const {
        for (std::size_t g = 0; g + 1 < offsets_.size(); ++g)
            if (blocks_of(g) > 1) return false;
        return true;
    }

    /// Task i of count(): the parts of a block of rows follow each other, blocks of a group too.
    [[nodiscard]] GridTask at(long i) const {
        long block = i / parts_;
        const int part = int(i % parts_);
        std::size_t group = 0;
        while (block >= blocks_of(group)) block -= blocks_of(group++);
        const long rows = rows_of(group), blocks = blocks_of(group);
        const auto cut = [](long length, long at, long count) { return int(length * at / count); };
        const int row = cut(rows, block, blocks), panel = cut(panels_, part, parts_);
        return {group, row, cut(rows, block + 1, blocks) - row, panel, cut(panels_, part + 1, parts_) - panel};
    }

private:
    [[nodiscard]] int rows_of(std::size_t group) const { return offsets_[group + 1] - offsets_[group]; }
    [[nodiscard]] long blocks_of(std::size_t group) const { return (rows_of(group) + rows_ - 1) / rows_; }
    [[nodiscard]] long row_blocks() const {
        long blocks = 0;
        for (std::size_t g = 0; g + 1 < offsets_.size(); ++g) blocks += blocks_of(g);
        return blocks;
    }

    std::span<const int> offsets_;
    int panels_;
    int rows_;
    int parts_ = 1;
};

}  // namespace expar
