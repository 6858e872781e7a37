// The manifest: keys and types by the tables of the JSON Schema, and the rules between its values.
#pragma once

#include <string>
#include <vector>

#include "json.h"

namespace vaee {

inline constexpr char manifest_member[] = "manifest.json";

struct Tensor {
    std::string name, dtype;
    std::vector<i64> shape;
    bool operator==(const Tensor& o) const { return name == o.name && dtype == o.dtype && shape == o.shape; }
};

struct Signature {
    std::string graph;
    std::vector<Tensor> inputs, outputs;
};

const struct HeadRow* head_row(const std::string& name);
std::vector<i64> shape_of(const Json& list);
Tensor tensor_of(const Json& spec);
i64 element_count(const std::vector<i64>& shape);
i64 element_bytes(const std::string& dtype);
std::vector<std::string> texts_of(const Json& list);

class Manifest {
public:
    explicit Manifest(std::string_view raw);  // parses and checks
    const Json& json() const { return json_; }
    const Json& variant(const std::string& name) const { return json_.at("variants").at(name); }
    std::vector<std::string> variants() const;  // sorted
    std::vector<std::string> heads() const { return texts_of(json_.at("score").at("heads")); }
    std::string default_head() const;  // that decides; the first of heads() is the output score of the graph
    std::vector<std::string> computed(std::initializer_list<const char*> where) const;
    std::vector<Signature> signatures() const;
    const Json* calibration(const std::string& variant, const std::string& head) const;  // null: not calibrated

private:
    void check_all() const;
    void check_variant(const std::string& name, const Json& variant) const;
    void check_golden() const;
    void check_size(const std::string& member, i64 wanted) const;
    std::vector<std::string> referenced() const;
    Json json_;
};

std::vector<i64> version_numbers(std::string_view version);

}  // namespace vaee
