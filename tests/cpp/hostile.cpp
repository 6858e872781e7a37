// Hostile bytes for every reader of libvaeedge: a target of libFuzzer, and with VAEE_MAIN a program that cuts and flips files.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "vae_edge.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    vaee_check_graph(data, size);
    vaee_check_manifest(data, size);
    static const int file = memfd_create("bundle", MFD_CLOEXEC);
    static const std::string path = "/proc/self/fd/" + std::to_string(file);
    if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != ssize_t(size)) std::abort();
    vaee_check(path.c_str(), nullptr);
    return 0;
}

#ifdef VAEE_MAIN
int main(int argc, char** argv) {
    std::size_t inputs = 0, most = std::strtoull(argv[1], nullptr, 10);
    for (int i = 2; i < argc; ++i) {
        std::ifstream in(argv[i], std::ios::binary);
        std::vector<char> read((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
        std::vector<std::uint8_t> raw(read.begin(), read.end());
        std::size_t step = raw.size() / most + 1;  // every byte of small files
        LLVMFuzzerTestOneInput(raw.data(), raw.size());
        for (std::size_t at = 0; at < raw.size(); at += step, inputs += 2) {
            LLVMFuzzerTestOneInput(std::vector<std::uint8_t>(raw.begin(), raw.begin() + long(at)).data(), at);
            raw[at] ^= std::uint8_t(1 << at % 8);
            LLVMFuzzerTestOneInput(raw.data(), raw.size());
            raw[at] ^= std::uint8_t(1 << at % 8);
        }
    }
    std::printf("%zu inputs\n", inputs);
}
#endif
