#include "base.h"

#include <array>

namespace vaee {

bool next_code_point(std::string_view text, std::size_t& at, u32& code, bool halves) {
    auto byte = [&](std::size_t i) { return static_cast<u8>(text[i]); };
    u8 first = byte(at);
    if (first < 0x80) {
        code = first;
        ++at;
        return true;
    }
    std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    if (first < 0xc2 || first > 0xf4 || text.size() - at <= more) return false;
    code = first & (0x3f >> more);
    for (std::size_t i = 1; i <= more; ++i) {
        if ((byte(at + i) & 0xc0) != 0x80) return false;
        code = code << 6 | (byte(at + i) & 0x3f);
    }
    static const u32 least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10ffff) return false;
    if (code >= 0xd800 && code <= 0xdfff && !halves) return false;
    at += more + 1;
    return true;
}

bool is_utf8(std::string_view text) {
    u32 code;
    for (std::size_t at = 0; at < text.size();)
        if (!next_code_point(text, at, code, false)) return false;
    return true;
}

std::string quoted(std::string_view text) {
    std::string made = "'";
    for (char c : text.substr(0, 60)) made += c >= 32 && c < 127 ? c : '?';
    return made + (text.size() > 60 ? "...'" : "'");
}

u32 crc32(u32 crc, const void* data, std::size_t size) {
    static const auto table = [] {
        std::array<std::array<u32, 256>, 8> made{};
        for (u32 i = 0; i < 256; ++i) {
            u32 c = i;
            for (int k = 0; k < 8; ++k) c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
            made[0][i] = c;
        }
        for (u32 i = 0; i < 256; ++i)
            for (int k = 1; k < 8; ++k) made[k][i] = made[0][made[k - 1][i] & 0xff] ^ (made[k - 1][i] >> 8);
        return made;
    }();
    const u8* p = static_cast<const u8*>(data);
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {  // eight tables: a byte at a time takes six times as long
        u32 low = crc ^ little32(p), high = little32(p + 4);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^
              table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (; size; --size) crc = table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    return ~crc;
}

namespace {
const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
inline u32 turned(u32 x, int n) { return x >> n | x << (32 - n); }
}  // namespace

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19} {}

void Sha256::block(const u8* data) {
    u32 w[64];
    for (int i = 0; i < 16; ++i)
        w[i] = u32(data[4 * i]) << 24 | u32(data[4 * i + 1]) << 16 | u32(data[4 * i + 2]) << 8 | u32(data[4 * i + 3]);
    for (int i = 16; i < 64; ++i) {
        u32 a = turned(w[i - 15], 7) ^ turned(w[i - 15], 18) ^ w[i - 15] >> 3;
        u32 b = turned(w[i - 2], 17) ^ turned(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    u32 s[8];
    std::memcpy(s, state_, sizeof s);
    for (int i = 0; i < 64; ++i) {
        u32 one = s[7] + (turned(s[4], 6) ^ turned(s[4], 11) ^ turned(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
        u32 two = (turned(s[0], 2) ^ turned(s[0], 13) ^ turned(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + one, s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = one + two;
    }
    for (int i = 0; i < 8; ++i) state_[i] += s[i];
}

void Sha256::update(const void* data, std::size_t size) {
    const u8* p = static_cast<const u8*>(data);
    length_ += size;
    while (size) {
        if (filled_ == 0 && size >= 64) {
            block(p);
            p += 64, size -= 64;
            continue;
        }
        std::size_t n = size < 64 - filled_ ? size : 64 - filled_;
        std::memcpy(buffer_ + filled_, p, n);
        filled_ += n, p += n, size -= n;
        if (filled_ == 64) block(buffer_), filled_ = 0;
    }
}

std::string Sha256::hex() {
    u64 bits = length_ * 8;
    u8 end[72] = {0x80};
    std::size_t zeros = (filled_ < 56 ? 56 : 120) - filled_;
    for (int i = 0; i < 8; ++i) end[zeros + i] = u8(bits >> (56 - 8 * i));
    update(end, zeros + 8);
    static const char digits[] = "0123456789abcdef";
    std::string made;
    for (u32 word : state_)
        for (int i = 28; i >= 0; i -= 4) made += digits[word >> i & 15];
    return made;
}

}  // namespace vaee
