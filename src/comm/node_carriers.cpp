#include "node_carriers.hpp"

#include <algorithm>

namespace expar {

RowMessages NodeGround::messages(int width) const {
    MessageSetup setup = rows;
    setup.type = types->of(width, carried_dtype);
    return RowMessages(std::move(setup));
}

Outward::Outward(const NodeGround& ground, int there)
    : ground_(ground),
      there_(there),
      crossing_(int(ground.routes.neighbours().size()), int(ground.routes.members[there].size())),
      counts_(ground.counts) {}

void Outward::tell(int place, int width, std::span<const int> counts) {
    if (width > 0 && crossing_.width() > 0 && width != crossing_.width())
        throw Error(concat("exchange: rank ", ground_.routes.neighbours()[place], " has rows of ",
                           width * size_of(carried_dtype), " bytes, others of its node of ",
                           crossing_.width() * size_of(carried_dtype)));
    crossing_.width() = std::max(crossing_.width(), width);
    std::ranges::copy(counts, crossing_.row(place).begin());
}

void Outward::gather(ConstRows own) {
    const auto offsets = row_offsets(crossing_.counts(), "exchange: from node to node");
    all_ = store_.take(offsets.back(), crossing_.width());
    gathering_ = ground_.messages(crossing_.width());
    const auto& neighbours = ground_.routes.neighbours();
    for (int place = 0; place < int(neighbours.size()); ++place) {
        const int first = offsets[place * destinations()];
        const Rows part = all_.slice(first, offsets[(place + 1) * destinations()] - first);
        if (neighbours[place] == ground_.routes.rank)
            copy_rows(own, part);
        else
            gathering_->receive(part, neighbours[place], ground_.gather_tag(there_));
    }
    counts_.send(as_rows(crossing_.numbers()), agent(), ground_.between_counts_tag());
}

bool Outward::advance() {
    if (!gathering_) return false;
    if (!sends_ && gathering_->advance()) {
        rows_ = ground_.messages(crossing_.width());
        rows_->send(all_, agent(), ground_.between_rows_tag());
        sends_ = true;
    }
    const bool told = counts_.advance();
    return sends_ && rows_->advance() && told;
}

void Outward::add_outstanding(std::vector<std::string>& parts) const {
    parts.push_back(counts_.outstanding());
    if (gathering_) parts.push_back(gathering_->outstanding());
    if (rows_) parts.push_back(rows_->outstanding());
}

Inward::Inward(const NodeGround& ground, int there, Rows own)
    : ground_(ground),
      there_(there),
      own_(own),
      crossing_(int(ground.routes.members[there].size()), int(ground.routes.neighbours().size())),
      stores_(ground.routes.neighbours().size()),
      counts_(ground.counts) {
    counts_.receive(as_rows(crossing_.numbers()), agent(), ground.between_counts_tag());
}

bool Inward::advance() {
    if (stage_ == Stage::counts && counts_.advance()) {
        offsets_ = row_offsets(crossing_.counts(), "exchange: from node to node");
        all_ = store_.take(offsets_.back(), crossing_.width());
        rows_ = ground_.messages(crossing_.width());
        rows_->receive(all_, agent(), ground_.between_rows_tag());
        stage_ = Stage::rows;
    }
    if (stage_ == Stage::rows && rows_->advance()) {
        dealing_ = ground_.messages(crossing_.width());
        for (int place = 0; place < int(stores_.size()); ++place) deal(place);
        stage_ = Stage::dealing;
    }
    return stage_ == Stage::dealing && dealing_->advance();
}

void Inward::add_outstanding(std::vector<std::string>& parts) const {
    parts.push_back(counts_.outstanding());
    if (rows_) parts.push_back(rows_->outstanding());
    if (dealing_) parts.push_back(dealing_->outstanding());
}

// The rows of all sources for the rank at `place`, in the order of the sources.
void Inward::deal(int place) {
    const int rank = ground_.routes.neighbours()[place];
    const bool own = rank == ground_.routes.rank;
    const int sources = int(ground_.routes.members[there_].size()), destinations = int(stores_.size());
    int rows = 0;
    for (int source = 0; source < sources; ++source) rows += crossing_.row(source)[place];
    if (own && rows != own_.rows())
        throw Error(
            concat("exchange: ", rows_text(rows), " came from node ", there_, ", the counts say ", own_.rows()));
    const Rows joined = own ? own_ : stores_[place].take(rows, crossing_.width());
    int at = 0;
    for (int source = 0; source < sources; ++source) {
        const int count = crossing_.row(source)[place];
        copy_rows(all_.slice(offsets_[source * destinations + place], count), joined.slice(at, count));
        at += count;
    }
    if (!own) dealing_->send(joined, rank, ground_.deal_tag(there_));
}

}  // namespace expar
