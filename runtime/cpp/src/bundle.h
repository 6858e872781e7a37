// An open bundle: the archive, its manifest, and bytes that match their hashes.
#pragma once

#include <memory>
#include <string>

#include "archive.h"
#include "manifest.h"

namespace vaee {

class Bundle {
public:
    explicit Bundle(const std::string& path);
    const Manifest& manifest() const { return *manifest_; }
    const std::string& id() const { return id_; }
    std::string choose_variant(const char* wish) const;
    Bytes read(const std::string& member) const;                          // hashed
    Bytes graph(const std::string& variant, const std::string& name) const;  // joined, hashed, and looked through
    void verify_members() const;
    void check_all() const;  // every member and every graph
    void check_engine(const std::string& version) const;
    i64 members() const { return i64(archive_.entries().size()); }

private:
    [[noreturn]] void refuse(vaee_error code, const std::string& problem) const;
    Archive archive_;
    std::string id_;
    std::unique_ptr<Manifest> manifest_;
};

}  // namespace vaee
