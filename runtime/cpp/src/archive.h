// The container: one ZIP with exactly one possible encoding of its members.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base.h"

namespace vaee {

struct Entry {
    std::string name;
    i64 size;
    u32 crc;
    i64 header, offset;
};

class Archive {
public:
    explicit Archive(const std::string& path);
    ~Archive();
    Archive(const Archive&) = delete;
    Archive& operator=(const Archive&) = delete;

    const std::map<std::string, Entry>& entries() const { return entries_; }
    const Entry& entry(const std::string& name) const;
    Bytes read(const std::string& name) const;                                   // checked against the CRC-32
    std::string hash(const std::string& name, bool check_crc) const;             // SHA-256, in constant memory
    void append(const std::string& name, Bytes& into, Sha256& digest) const;     // whoever compares a SHA-256
    const std::string path;
    i64 size = 0;

private:
    void pread_all(void* data, i64 size, i64 offset, const std::string& member) const;
    void check_headers();
    [[noreturn]] void refuse(vaee_error code, const std::string& problem, const std::string& member = "") const;
    std::vector<std::pair<std::string, std::pair<i64, u32>>> parsed_directory(const Bytes& tail) const;
    std::vector<Entry> placed(const std::vector<std::pair<std::string, std::pair<i64, u32>>>& sizes) const;
    int fd_ = -1;
    std::map<std::string, Entry> entries_;
};

bool is_member_name(const std::string& name);

}  // namespace vaee
