#include "archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "tables.h"

namespace vaee {

namespace {
const i64 local_bytes = 30, central_bytes = 46, end_bytes = 22, alignment = 64, chunk = 1 << 20;
const char first_member[] = "manifest.json";

bool is_device(const std::string& part) {
    std::string stem = part.substr(0, part.find('.'));
    if (stem == "con" || stem == "prn" || stem == "aux" || stem == "nul") return true;
    return stem.size() == 4 && (stem.compare(0, 3, "com") == 0 || stem.compare(0, 3, "lpt") == 0) && stem[3] >= '0' && stem[3] <= '9';
}

void put(Bytes& into, u64 value, int bytes) {
    for (int i = 0; i < bytes; ++i) into.push_back(u8(value >> 8 * i));
}

Bytes local_header(const Entry& e) {
    i64 padding = e.offset - e.header - local_bytes - i64(e.name.size()) - 4;
    Bytes made;
    put(made, 0x04034b50, 4), put(made, 20, 2), put(made, 0, 6), put(made, 0x21, 2), put(made, e.crc, 4);
    put(made, u64(e.size), 4), put(made, u64(e.size), 4), put(made, e.name.size(), 2), put(made, u64(4 + padding), 2);
    made.insert(made.end(), e.name.begin(), e.name.end());
    put(made, 0x5645, 2), put(made, u64(padding), 2);
    made.resize(made.size() + std::size_t(padding));
    return made;
}

Bytes directory(const std::vector<Entry>& entries) {
    Bytes made;
    for (const Entry& e : entries) {
        put(made, 0x02014b50, 4), put(made, 20, 2), put(made, 20, 2), put(made, 0, 6), put(made, 0x21, 2), put(made, e.crc, 4);
        put(made, u64(e.size), 4), put(made, u64(e.size), 4), put(made, e.name.size(), 2), put(made, 0, 8);
        put(made, 0, 4), put(made, u64(e.header), 4);
        made.insert(made.end(), e.name.begin(), e.name.end());
    }
    u64 bytes = made.size();
    put(made, 0x06054b50, 4), put(made, 0, 4), put(made, entries.size(), 2), put(made, entries.size(), 2);
    put(made, bytes, 4), put(made, u64(entries.back().offset + entries.back().size), 4), put(made, 0, 2);
    return made;
}
}  // namespace

bool is_member_name(const std::string& name) {
    std::size_t start = 0;
    for (int parts = 1;; ++parts) {
        std::size_t end = std::min(name.find('/', start), name.size());
        std::string part = name.substr(start, end - start);
        auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
        if (parts > 4 || part.empty() || part.size() > 64 || !plain(part[0]) || part.back() == '.' || is_device(part)) return false;
        for (char c : part)
            if (!plain(c) && c != '_' && c != '.' && c != '-') return false;
        if (end == name.size()) return true;
        start = end + 1;
    }
}

Archive::Archive(const std::string& path) : path(path) {
    // Without O_NONBLOCK a FIFO would block here until somebody writes.
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) refuse(VAEE_BUNDLE_ERROR, std::string("cannot be opened: ") + std::strerror(errno));
    try {
        check_headers();
    } catch (...) {
        ::close(fd_);
        throw;
    }
}

Archive::~Archive() { ::close(fd_); }

void Archive::refuse(vaee_error code, const std::string& problem, const std::string& member) const {
    fail(code, path + (member.empty() ? "" : " [" + member + "]") + ": " + problem);
}

void Archive::pread_all(void* data, i64 size, i64 offset, const std::string& member) const {
    u8* into = static_cast<u8*>(data);
    while (size > 0) {
        ssize_t got = ::pread(fd_, into, std::size_t(size), offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) refuse(VAEE_BUNDLE_ERROR, std::string("cannot be read: ") + std::strerror(errno), member);
        if (got == 0) refuse(VAEE_BUNDLE_CORRUPT, "the file ends too early: copy it again", member);
        into += got, size -= got, offset += got;
    }
}

void Archive::check_headers() {
    struct stat status;
    if (::fstat(fd_, &status) != 0) refuse(VAEE_BUNDLE_ERROR, std::string("cannot be read: ") + std::strerror(errno));
    if (!S_ISREG(status.st_mode)) refuse(VAEE_BUNDLE_INVALID, "is not a regular file");
    size = status.st_size;
    if (size == 0) refuse(VAEE_BUNDLE_CORRUPT, "is empty: copy the file again");
    if (size > limits::bundle_bytes)
        refuse(VAEE_BUNDLE_INVALID, "holds " + std::to_string(size) + " bytes; a bundle stays below 2 GiB");
    const char* cut = "does not end like a bundle: cut short, added to, or no bundle at all; copy it again";
    if (size < end_bytes) refuse(VAEE_BUNDLE_CORRUPT, cut);
    u8 end[end_bytes];
    pread_all(end, end_bytes, size - end_bytes, "");
    i64 count = little16(end + 10), bytes = little32(end + 12), start = little32(end + 16);
    if (little32(end) != 0x06054b50 || start + bytes + end_bytes != size) refuse(VAEE_BUNDLE_CORRUPT, cut);
    if (count > limits::members || bytes > limits::members * (central_bytes + 260))
        refuse(VAEE_BUNDLE_INVALID, std::to_string(count) + " members in " + std::to_string(bytes) + " bytes of directory; the limit is 4096");
    Bytes tail(std::size_t(bytes + end_bytes));
    pread_all(tail.data(), i64(tail.size()), start, "");
    std::vector<Entry> entries = placed(parsed_directory(tail));
    const char* other = " is not as vae-edge writes it: damaged, or packed by another ZIP tool";
    if (directory(entries) != tail) refuse(VAEE_BUNDLE_CORRUPT, std::string("the directory") + other);
    for (const Entry& e : entries) {
        Bytes header(std::size_t(e.offset - e.header));
        pread_all(header.data(), i64(header.size()), e.header, e.name);
        if (header != local_header(e)) refuse(VAEE_BUNDLE_CORRUPT, std::string("the header") + other, e.name);
        entries_.emplace(e.name, e);
    }
}

std::vector<std::pair<std::string, std::pair<i64, u32>>> Archive::parsed_directory(const Bytes& tail) const {
    std::vector<std::pair<std::string, std::pair<i64, u32>>> entries;
    std::set<std::string> seen;
    i64 position = 0, stop = i64(tail.size()) - end_bytes;
    while (position < stop) {
        if (stop - position < central_bytes)
            refuse(VAEE_BUNDLE_CORRUPT, "the directory is not as vae-edge writes it: damaged, or packed by another ZIP tool");
        const u8* p = tail.data() + position;
        i64 name_bytes = little16(p + 28), begin = position + central_bytes;
        position = begin + name_bytes;
        std::string name(tail.begin() + begin, tail.begin() + std::min(position, stop));
        if (!seen.insert(name).second) refuse(VAEE_BUNDLE_INVALID, "occurs twice", quoted(name));
        entries.push_back({name, {i64(little32(p + 24)), little32(p + 16)}});
    }
    return entries;
}

std::vector<Entry> Archive::placed(const std::vector<std::pair<std::string, std::pair<i64, u32>>>& sizes) const {
    std::vector<std::pair<std::string, std::pair<i64, u32>>> sorted = sizes;
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
        return std::make_pair(a.first != first_member, a.first) < std::make_pair(b.first != first_member, b.first);
    });
    if (sorted.empty() || sorted[0].first != first_member)
        refuse(VAEE_BUNDLE_INVALID, "there is no manifest.json: this is not a vae-edge bundle");
    if (i64(sorted.size()) > limits::members) refuse(VAEE_BUNDLE_INVALID, "more than 4096 members");
    std::set<std::string> names;
    for (const auto& s : sorted) names.insert(s.first);
    std::vector<Entry> entries;
    i64 position = 0, directory_bytes = 0;
    for (const auto& [name, facts] : sorted) {
        if (!is_member_name(name)) refuse(VAEE_BUNDLE_INVALID, "member name " + quoted(name) + " is not valid");
        for (std::size_t at = name.find('/'); at != std::string::npos; at = name.find('/', at + 1))
            if (names.count(name.substr(0, at))) refuse(VAEE_BUNDLE_INVALID, "member " + quoted(name) + " lies inside another member");
        i64 fixed = position + local_bytes + i64(name.size()) + 4;
        i64 offset = (fixed + alignment - 1) / alignment * alignment;
        entries.push_back({name, facts.first, facts.second, position, offset});
        position = offset + facts.first;
        directory_bytes += central_bytes + i64(name.size());
    }
    if (position + directory_bytes + end_bytes > limits::bundle_bytes) refuse(VAEE_BUNDLE_INVALID, "a bundle must stay below 2 GiB");
    return entries;
}

const Entry& Archive::entry(const std::string& name) const {
    auto found = entries_.find(name);
    if (found == entries_.end()) refuse(VAEE_BUNDLE_INVALID, "there is no such member", name);
    return found->second;
}

Bytes Archive::read(const std::string& name) const {
    const Entry& e = entry(name);
    Bytes data(std::size_t(e.size));
    pread_all(data.data(), e.size, e.offset, name);
    if (crc32(0, data.data(), data.size()) != e.crc)
        refuse(VAEE_BUNDLE_CORRUPT, "its bytes were changed after export: copy the file again", name);
    return data;
}

std::string Archive::hash(const std::string& name, bool check_crc) const {
    const Entry& e = entry(name);
    Sha256 digest;
    u32 crc = 0;
    Bytes piece(std::size_t(std::min(chunk, e.size)));
    for (i64 at = 0; at < e.size; at += chunk) {
        i64 n = std::min(chunk, e.size - at);
        pread_all(piece.data(), n, e.offset + at, name);
        digest.update(piece.data(), std::size_t(n));
        if (check_crc) crc = crc32(crc, piece.data(), std::size_t(n));
    }
    if (check_crc && crc != e.crc) refuse(VAEE_BUNDLE_CORRUPT, "its bytes were changed after export: copy the file again", name);
    return digest.hex();
}

void Archive::append(const std::string& name, Bytes& into, Sha256& digest) const {
    const Entry& e = entry(name);
    std::size_t start = into.size();
    into.resize(start + std::size_t(e.size));
    pread_all(into.data() + start, e.size, e.offset, name);
    digest.update(into.data() + start, std::size_t(e.size));
}

}  // namespace vaee
