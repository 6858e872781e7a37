// Rows drawn from the model itself, scored at once: score BUNDLE [rows] [seed].
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "vae_edge.h"

static void check(vaee_error error) {
    if (error) throw std::runtime_error(std::string(vaee_error_name(error)) + ": " + vaee_last_error());
}

int main(int argc, char** argv) try {
    if (argc < 2) throw std::runtime_error("usage: score BUNDLE [rows] [seed]");
    const std::size_t n = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 4;
    vaee_session* opened = nullptr;
    check(vaee_open(argv[1], nullptr, &opened));
    std::unique_ptr<vaee_session, void (*)(vaee_session*)> session(opened, vaee_close);
    const vaee_shape& row = vaee_get_info(opened)->input;
    std::vector<unsigned char> rows(n * std::size_t(row.elements) * (row.dtype == VAEE_UINT8 ? 1 : 4));
    check(vaee_sample(opened, std::int64_t(n), argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 7, 1.0, nullptr, rows.data()));
    vaee_array x{rows.data(), row.dtype, row.rank + 1, {std::int64_t(n)}};
    for (int i = 0; i < row.rank; ++i) x.shape[i + 1] = row.shape[i];
    std::vector<float> score(n);
    std::vector<double> p_value(n);
    vaee_scores out{};
    out.score = score.data(), out.p_value = p_value.data();
    check(vaee_score(opened, &x, nullptr, &out));
    for (std::size_t i = 0; i < n; ++i) std::printf("%.6g %.4g\n", double(score[i]), p_value[i]);
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
}
