// Proves libvaeedge on a device: prove LIBONNXRUNTIME NOISE BUNDLE...
// NOISE: the file of the conformance case noise/seed-7, which must come out bit for bit. One line per bundle.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "vae_edge.h"

int main(int argc, char** argv) {
    if (argc < 4) return 2;
    std::ifstream in(argv[2], std::ios::binary);
    std::vector<char> wanted((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    std::vector<float> noise(wanted.size() / sizeof(float));
    bool same = !noise.empty() && vaee_noise(7, 0, noise.size(), noise.data()) == VAEE_OK && std::memcmp(noise.data(), wanted.data(), wanted.size()) == 0;
    std::printf("noise %s\n", same ? "ok" : "DIFFERS");
    bool all = same;
    for (int i = 3; i < argc; ++i) {
        vaee_options options = {nullptr, argv[1], 1};
        vaee_verification outcome;
        vaee_error error = vaee_verify(argv[i], &options, &outcome);
        bool ok = error == VAEE_OK && outcome.ok;
        all = all && ok;
        if (error)
            std::printf("%s %s: %s\n", argv[i], vaee_error_name(error), vaee_last_error());
        else
            std::printf("%s %s, %d outputs, worst %.3f of its tolerance (%s)\n", argv[i], ok ? "ok" : "FAILED", int(outcome.checks), outcome.worst, outcome.worst_output);
    }
    return all ? 0 : 1;
}
