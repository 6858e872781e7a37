// Errors, whole numbers that do not overflow, text, and hashes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vae_edge.h"

namespace vaee {

using i64 = std::int64_t;
using u64 = std::uint64_t;
using u32 = std::uint32_t;
using u8 = std::uint8_t;
using Bytes = std::vector<u8>;

class Error : public std::runtime_error {
public:
    Error(vaee_error code, const std::string& text) : std::runtime_error(text), code(code) {}
    vaee_error code;
};

[[noreturn]] inline void fail(vaee_error code, const std::string& text) { throw Error(code, text); }
inline void check(bool good, const std::string& problem) {
    if (!good) fail(VAEE_BUNDLE_INVALID, problem);
}

// Sums and products that stop at the largest number: sizes of hostile files overflow.
inline i64 add(i64 a, i64 b) {
    i64 sum;
    return __builtin_add_overflow(a, b, &sum) ? (b > 0 ? INT64_MAX : INT64_MIN) : sum;
}
inline i64 negated(i64 a) { return a == INT64_MIN ? INT64_MAX : -a; }
inline i64 subtract(i64 a, i64 b) {
    i64 difference;
    return __builtin_sub_overflow(a, b, &difference) ? (b < 0 ? INT64_MAX : INT64_MIN) : difference;
}
inline i64 multiply(i64 a, i64 b) {
    i64 product;
    return __builtin_mul_overflow(a, b, &product) ? ((a < 0) == (b < 0) ? INT64_MAX : INT64_MIN) : product;
}
// As Python's // and %: towards minus infinity. The divisor is not 0.
inline i64 floor_divide(i64 a, i64 b) {
    if (b == -1) return negated(a);
    i64 quotient = a / b;
    return a % b != 0 && ((a < 0) != (b < 0)) ? quotient - 1 : quotient;
}
inline i64 floor_modulo(i64 a, i64 b) { return b == -1 ? 0 : a - floor_divide(a, b) * b; }

// One code point at `at`, which moves on; false where the bytes are no strict UTF-8. Halves of surrogate pairs pass
// where `halves` says so: JSON escapes may name them, and the reader refuses them by name later.
bool next_code_point(std::string_view text, std::size_t& at, u32& code, bool halves);
bool is_utf8(std::string_view text);
std::string quoted(std::string_view text);  // for messages: short, printable

u32 crc32(u32 crc, const void* data, std::size_t size);

class Sha256 {
public:
    Sha256();
    void update(const void* data, std::size_t size);
    std::string hex();

private:
    void block(const u8* data);
    u32 state_[8];
    u64 length_ = 0;
    u8 buffer_[64];
    std::size_t filled_ = 0;
};

inline u32 little32(const u8* p) { return u32(p[0]) | u32(p[1]) << 8 | u32(p[2]) << 16 | u32(p[3]) << 24; }
inline u32 little16(const u8* p) { return u32(p[0]) | u32(p[1]) << 8; }

}  // namespace vaee
