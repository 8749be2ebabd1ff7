#include "expar/train/evaluation.hpp"

#include <gtest/gtest.h>

#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

class EvaluationTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_cpu_device(1);
    Corpus corpus{std::vector<Corpus::Domain>{
        {"a", "In the beginning God created the heaven and the earth."}, {"b", "x"}, {"c", std::string(70, 'c')}}};

    static ModelOptions model() {
        ModelOptions options;
        options.layers = 1;
        options.hidden = 16;
        options.heads = 2;
        options.intermediate = 8;
        return options;
    }
};

TEST_F(EvaluationTest, PredictsAllButTheFirstByteOfEveryWindow) {
    Trainer trainer(model(), TrainOptions{}, *device, world);
    const auto scores = score_domains(trainer, corpus, 16, 3, world);
    ASSERT_EQ(scores.size(), 3);
    EXPECT_EQ(scores[0].bytes, 54);
    EXPECT_EQ(scores[0].predicted, 3 * 15 + 5);
    EXPECT_EQ(scores[1].predicted, 0);  // one byte predicts nothing
    EXPECT_EQ(scores[2].predicted, 4 * 15 + 5);
    EXPECT_NEAR(scores[0].bits_per_byte, 8, 0.2);  // an untrained model knows nothing of 256 bytes
    const DomainScore all = score_of_all(scores);
    EXPECT_EQ(all.predicted, 115);
    EXPECT_NEAR(all.bits_per_byte, (50 * scores[0].bits_per_byte + 65 * scores[2].bits_per_byte) / 115, 1e-12);
}

// Windows are independent: neither how many share a micro-batch nor over how many ranks changes a score.
TEST_F(EvaluationTest, GivesTheSameScoreForAnyBatchAndRankCount) {
    const Communicator alone(MPI_COMM_SELF);
    Trainer one(model(), TrainOptions{}, *device, alone);
    Trainer many(model(), TrainOptions{}, *device, world);
    const auto expected = score_domains(one, corpus, 16, 100, alone);
    for (const int batch : {1, 4, 100})
        for (int domain = 0; const DomainScore& score : score_domains(many, corpus, 16, batch, world))
            EXPECT_NEAR(score.bits_per_byte, expected[domain++].bits_per_byte, 1e-12) << "batch " << batch;
}

}  // namespace
}  // namespace expar
