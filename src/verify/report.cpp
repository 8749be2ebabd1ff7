#include "expar/verify/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iomanip>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <tuple>

#include "expar/base/error.hpp"

namespace expar {
namespace {

template <class Tested, class Reference>
void compare_elements(std::span<const Tested> tested, std::span<const Reference> reference, VerifyRow& row) {
    if (tested.size() != reference.size())
        throw Error(
            concat("verify: ", row.quantity, " has ", tested.size(), " elements, the reference ", reference.size()));
    double largest = 0;
    row.bitwise = !tested.empty();
    if (tested.empty()) row.max_abs_error = std::numeric_limits<double>::infinity();  // nothing was compared
    for (std::size_t i = 0; i < tested.size(); ++i) {
        const double error = std::abs(double(tested[i]) - double(reference[i]));
        // A value that is not a number is the largest error there is.
        row.max_abs_error =
            std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(row.max_abs_error, error);
        largest = std::max(largest, std::abs(double(reference[i])));
        row.bitwise = row.bitwise && double(tested[i]) == double(reference[i]) &&
                      std::signbit(tested[i]) == std::signbit(reference[i]);
    }
    row.max_rel_error = largest == 0 ? row.max_abs_error : row.max_abs_error / largest;
    row.passed =
        std::isfinite(row.max_abs_error) && (row.tolerance == 0 ? row.bitwise : row.max_rel_error <= row.tolerance);
}

// Worst of a group of comparisons, for one line of the table.
struct Summary {
    int compared = 0, bitwise = 0, failed = 0;
    double one_rank = 0, float64 = 0;
    long dropped = 0;
    double clip_factor = 1, load = 1;
    std::string skipped;

    void add(const VerifyRow& row) {
        if (!row.skipped.empty()) {
            skipped = row.skipped;
            return;
        }
        ++compared;
        bitwise += row.bitwise;
        failed += !row.passed;
        double& worst = row.reference == "one_rank" ? one_rank : float64;
        worst = std::max(worst, row.max_rel_error);
        dropped = std::max(dropped, row.dropped);
        clip_factor = std::min(clip_factor, row.clip_factor);
        load = std::max(load, row.load_max_over_mean);
    }
};

}  // namespace

int VerifyReport::compared() const {
    return int(std::ranges::count_if(rows, [](const VerifyRow& row) { return row.skipped.empty(); }));
}

bool VerifyReport::passed() const {
    return compared() > 0 && std::ranges::all_of(rows, &VerifyRow::passed);
}

std::string VerifyReport::json() const {
    auto cases = nlohmann::ordered_json::array();
    for (const VerifyRow& row : rows)
        cases.push_back({{"case", row.case_name},
                         {"dispatcher", row.dispatcher},
                         {"ranks", row.ranks},
                         {"ep", row.ep},
                         {"dp", row.dp},
                         {"step", row.step},
                         {"reference", row.reference},
                         {"quantity", row.quantity},
                         {"max_abs_error", row.max_abs_error},
                         {"max_rel_error", row.max_rel_error},
                         {"tolerance", row.tolerance},
                         {"bitwise", row.bitwise},
                         {"dropped", row.dropped},
                         {"clip_factor", row.clip_factor},
                         {"load_max_over_mean", row.load_max_over_mean},
                         {"skipped", row.skipped},
                         {"passed", row.passed}});
    return nlohmann::ordered_json{{"passed", passed()}, {"cases", cases}}.dump(1) + "\n";
}

void VerifyReport::print(std::ostream& out) const {
    using Key = std::tuple<std::string, std::string, int, int>;  // case, dispatcher, EP, DP
    std::vector<Key> order;
    std::map<Key, Summary> summaries;
    for (const VerifyRow& row : rows) {
        const Key key(row.case_name, row.dispatcher, row.ep, row.dp);
        if (!summaries.contains(key)) order.push_back(key);
        summaries[key].add(row);
    }
    out << std::left << std::setw(24) << "case" << std::setw(14) << "dispatcher" << std::right << std::setw(6)
        << "EPxDP" << std::setw(9) << "compared" << std::setw(9) << "bitwise" << std::setw(11) << "vs 1 rank"
        << std::setw(11) << "vs other" << std::setw(9) << "dropped" << std::setw(7) << "clip" << std::setw(7) << "load"
        << "  result\n";
    for (const auto& key : order) {
        const Summary& s = summaries[key];
        out << std::left << std::setw(24) << std::get<0>(key) << std::setw(14) << std::get<1>(key) << std::right
            << std::setw(6) << concat(std::get<2>(key), "x", std::get<3>(key)) << std::setw(9) << s.compared
            << std::setw(9) << s.bitwise << std::setprecision(2) << std::scientific << std::setw(11) << s.one_rank
            << std::setw(11) << s.float64 << std::fixed << std::setw(9) << s.dropped << std::setw(7) << s.clip_factor
            << std::setw(7) << s.load << "  "
            << (s.failed     ? "FAILED"
                : s.compared ? "passed"
                             : concat("skipped: ", s.skipped))
            << "\n";
    }
    out << std::defaultfloat;
    for (const VerifyRow& row : rows)
        if (!row.passed)
            out << "FAILED " << row.case_name << " with " << row.dispatcher << ", EP=" << row.ep << " DP=" << row.dp
                << " step " << row.step << ", " << row.quantity << " against " << row.reference << ": relative error "
                << row.max_rel_error << ", tolerance " << row.tolerance << "\n";
}

void compare(std::span<const float> tested, std::span<const float> reference, VerifyRow& row) {
    compare_elements(tested, reference, row);
}
void compare(std::span<const float> tested, std::span<const double> reference, VerifyRow& row) {
    compare_elements(tested, reference, row);
}
void compare(std::span<const double> tested, std::span<const double> reference, VerifyRow& row) {
    compare_elements(tested, reference, row);
}

}  // namespace expar
