// JSON text to values, refusing what Python's strict reader refuses: duplicate keys, NaN, 1e999, depth, control characters.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base.h"

namespace vaee {

struct Json {
    enum Kind { null, boolean, integer, number, text, array, object };
    Kind kind = null;
    bool truth = false;
    i64 whole = 0;      // of an integer; see `beyond`
    int beyond = 0;     // -1, 1: an integer that does not fit 64 bits
    double real = 0;    // of a number, and of an integer
    std::string string;
    std::vector<Json> items;
    std::vector<std::pair<std::string, Json>> members;

    const Json* find(std::string_view key) const;
    const Json& at(std::string_view key) const;  // there for certain: the manifest was checked
    const std::string& text_at(std::string_view key) const { return at(key).string; }
    i64 whole_at(std::string_view key) const { return at(key).whole; }
    double real_at(std::string_view key) const { return at(key).real; }
    bool is_null(std::string_view key) const {
        const Json* value = find(key);
        return value == nullptr || value->kind == null;
    }
};

Json parse_json(std::string_view raw);

}  // namespace vaee
