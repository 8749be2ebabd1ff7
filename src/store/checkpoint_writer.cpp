#include <algorithm>
#include <cstring>
#include <map>
#include <optional>

#include "checkpoint_parts.hpp"
#include "expar/base/error.hpp"
#include "expar/comm/topology.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/digest.hpp"
#include "expar/store/partial_file.hpp"

namespace expar {
namespace {

using Numbers = std::vector<std::uint64_t>;

std::string bytes_of(const Numbers& numbers) {
    return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(std::uint64_t)};
}

Numbers numbers_of(const std::string& bytes) {
    Numbers numbers(bytes.size() / sizeof(std::uint64_t));
    std::memcpy(numbers.data(), bytes.data(), bytes.size());
    return numbers;
}

// One save, as every rank sees it. The same piece of work in the same order everywhere; each rank does its own part.
class Save {
public:
    Save(std::filesystem::path path, const CheckpointHeader& header, std::span<const StoredBlock> blocks,
         const Communicator& world)
        : path_(std::move(path)),
          header_(header),
          blocks_(blocks),
          datasets_(stored_datasets(specs_of(blocks))),
          world_(world) {
        for (std::size_t i = 0; i < datasets_.size(); ++i) index_[datasets_[i].name] = i;
    }

    void run() {
        const Topology machine = discover_topology(world_);
        std::optional<PartialFile> partial;  // on rank 0
        judge_on_root(world_, [&] {
            const auto watch = watch_for("HDF5");
            partial.emplace(path_);
            if (partial->temporary() == path_)  // a link, a pipe, …: it could not appear whole or not at all
                throw UserError(concat(path_.string(), ": is no regular file, which a checkpoint has to be"));
            lay_out(partial->temporary());
        });
        offsets_ = numbers_of(world_.broadcast(bytes_of(offsets_), 0, occasion));
        const std::filesystem::path temporary =
            world_.broadcast(partial ? partial->temporary().string() : "", 0, occasion);

        // Written by every rank; flushed by one of each node when all of it have written, that of rank 0 in commit().
        std::optional<RawFile> file;
        judge_everywhere(world_, [&] {
            const auto watch = watch_for("write");
            file.emplace(RawFile::open_to_write(temporary));
            write_blocks(*file);
        });
        judge_everywhere(world_, [&] {
            const auto watch = watch_for("fsync");
            const int leader = machine.leader_of(machine.node_of[world_.rank()]);
            if (leader == world_.rank() && leader != 0) file->sync();
            file->close();
        });

        const auto hashes = world_.gather(bytes_of(hashes_), 0, occasion);
        judge_on_root(world_, [&] {
            const auto watch = watch_for("fsync");
            commit(*partial, to_text(make_digest(RawFile::open(partial->temporary()), pieces_of(hashes))));
        });
    }

private:
    static constexpr Occasion occasion{"saving a checkpoint"};

    [[nodiscard]] StuckCallWatch watch_for(const char* call) const {
        return {*world_.policy(), {"writing a checkpoint"}, world_.rank(), call};
    }

    // The whole file but the values of its tensors, whose places are found out.
    void lay_out(const std::filesystem::path& temporary) {
        std::size_t bytes = 0;
        for (const StoredDataset& dataset : datasets_) bytes += count_of(dataset.shape) * sizeof(float);
        bytes *= quantities_of(header_.has_moments).size();
        Hdf5File file = Hdf5File::create_in_memory(temporary, bytes + (64 << 10) + header_.config.size());
        write_header(file, header_);
        for (const Quantity quantity : quantities_of(header_.has_moments))
            for (const StoredDataset& dataset : datasets_)
                offsets_.push_back(file.allocate(concat(group_of(quantity), "/", dataset.name), dataset.shape));
        file.close();
    }

    // Both files are on disk before either has its name, and the checkpoint before its digest is whole. An earlier
    // checkpoint of that name ends with its digest; finish_interrupted_saves() completes what is ended from there on.
    void commit(PartialFile& partial, const std::string& text) const {
        partial.sync();
        PartialFile digest(digest_path(path_));
        RawFile file = RawFile::create(digest.temporary());
        file.append(std::as_bytes(std::span(text)));
        file.close();
        digest.sync();
        std::error_code failed;
        std::filesystem::remove(digest_path(path_), failed);
        if (failed) throw UserError(concat(digest_path(path_).string(), ": cannot be removed: ", failed.message()));
        try {
            partial.commit();
            digest.commit();
        } catch (const UserError&) {
            std::filesystem::remove(digest_path(path_), failed);
            const auto before = std::filesystem::status(partial.temporary(), failed);
            if (before.type() == std::filesystem::file_type::not_found) std::filesystem::remove(path_, failed);
            throw;
        }
    }

    template <class Visit>  // visit(block, quantity, first element of the flat block, piece without its hash)
    void for_each_piece(Visit&& visit) const {
        std::size_t first_dataset = 0;
        for (const Quantity quantity : quantities_of(header_.has_moments)) {
            for (const StoredBlock& block : blocks_) {
                std::size_t first = 0;
                for (const TensorSpec& tensor : block.spec.tensors) {
                    const StoredPlace place = stored_place(block.spec, tensor);
                    const std::uint64_t bytes = tensor.count() * sizeof(float);
                    const std::uint64_t begin = offsets_[first_dataset + index_.at(place.dataset)];
                    visit(block, quantity, first,
                          Piece{begin + std::uint64_t(std::max(0, place.slice)) * bytes, bytes, 0,
                                concat(group_of(quantity), "/", place.name())});
                    first += tensor.count();
                }
            }
            first_dataset += datasets_.size();
        }
    }

    void write_blocks(RawFile& file) {
        for_each_piece([&](const StoredBlock& block, Quantity quantity, std::size_t first, const Piece& piece) {
            if (block.writer != world_.rank()) return;
            const auto values = block.rows(quantity).row<float>(0).subspan(first, piece.bytes / sizeof(float));
            file.write_at(piece.offset, std::as_bytes(values));
            hashes_.push_back(hash_bytes(std::as_bytes(values)));
        });
    }

    // hashes[rank]: of the pieces that it wrote, in order
    [[nodiscard]] std::vector<Piece> pieces_of(std::span<const std::string> hashes) const {
        std::vector<Numbers> of_rank;
        for (const std::string& bytes : hashes) of_rank.push_back(numbers_of(bytes));
        std::vector<std::size_t> next(of_rank.size());
        std::vector<Piece> pieces;
        for_each_piece([&](const StoredBlock& block, Quantity, std::size_t, Piece piece) {
            piece.hash = of_rank[block.writer].at(next[block.writer]++);
            pieces.push_back(std::move(piece));
        });
        return pieces;
    }

    std::filesystem::path path_;
    const CheckpointHeader& header_;
    std::span<const StoredBlock> blocks_;
    std::vector<StoredDataset> datasets_;
    std::map<std::string, std::size_t> index_;
    const Communicator& world_;
    Numbers offsets_;  // of dataset d of quantity q: [q * datasets + d]
    Numbers hashes_;   // of the pieces that this rank has written
};

void check_layout(std::span<const StoredBlock> blocks, const CheckpointHeader& header, int rank) {
    for (const auto& block : blocks)
        for (const Quantity quantity : quantities_of(header.has_moments)) {
            const ConstRows rows = block.rows(quantity);
            const bool needed = block.is_here() || block.writer == rank;
            if (needed && (rows.data() == nullptr || std::size_t(rows.cols()) != block.spec.count()))
                throw Error(concat("checkpoint: ", block.spec.name(), " has ", rows.cols(), " elements of ",
                                   group_of(quantity), ", expected ", block.spec.count()));
        }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const CheckpointHeader& header,
                     std::span<const StoredBlock> blocks, const Communicator& world) {
    check_layout(blocks, header, world.rank());
    Save(path, header, blocks, world).run();
}

}  // namespace expar
