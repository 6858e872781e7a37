#include "bundle.h"

#include <algorithm>

#include "onnx.h"
#include "tables.h"

namespace vaee {

Bundle::Bundle(const std::string& path) : archive_(path) {
    const Entry& entry = archive_.entry(manifest_member);
    if (entry.size > limits::manifest_bytes) refuse(VAEE_BUNDLE_INVALID, "a manifest of more than 4 MiB");
    Bytes raw = archive_.read(manifest_member);
    Sha256 digest;
    digest.update(raw.data(), raw.size());
    id_ = digest.hex();
    try {
        manifest_ = std::make_unique<Manifest>(std::string_view(reinterpret_cast<const char*>(raw.data()), raw.size()));
    } catch (const Error& error) {
        refuse(error.code, "[manifest.json] " + std::string(error.what()));
    }
    const Json &json = manifest_->json(), &needs = json.at("requires"), &members = json.at("members");
    for (const auto& [key, have] : {std::pair<const char*, i64>{"opset", limits::opset_max}, {"ir_version", limits::ir_version}})
        if (needs.whole_at(key) > have)
            refuse(VAEE_BUNDLE_TOO_NEW, std::string("needs ") + key + " " + std::to_string(needs.whole_at(key)) + ", this runtime has " +
                                            std::to_string(have) + ": update libvaeedge on this device");
    std::size_t stored = archive_.entries().size() - 1;
    for (const auto& [name, spec] : members.members) {
        auto found = archive_.entries().find(name);
        if (found == archive_.entries().end()) refuse(VAEE_BUNDLE_INVALID, "member " + quoted(name) + " is in the manifest and not in the file");
        if (found->second.size != spec.whole_at("size_bytes")) refuse(VAEE_BUNDLE_INVALID, "member " + quoted(name) + " has another size than the manifest says");
    }
    if (stored != members.members.size()) refuse(VAEE_BUNDLE_INVALID, "a member is in the file and not in the manifest");
}

void Bundle::refuse(vaee_error code, const std::string& problem) const { fail(code, archive_.path + ": " + problem); }

std::string Bundle::choose_variant(const char* wish) const {
    std::vector<std::string> names = manifest_->variants();
    bool automatic = !wish || std::strcmp(wish, "auto") == 0;
    std::string name = automatic ? "fp32" : wish;
    if (std::find(names.begin(), names.end(), name) != names.end()) return name;
    if (automatic) return names[0];
    std::string list;
    for (const std::string& each : names) list += (list.empty() ? "" : ", ") + each;
    fail(VAEE_OPTION_ERROR, "variant is " + quoted(name) + "; this bundle has " + list);
}

Bytes Bundle::read(const std::string& member) const {
    Bytes data = archive_.read(member);
    Sha256 digest;
    digest.update(data.data(), data.size());
    if (digest.hex() != manifest_->json().at("members").at(member).text_at("sha256"))
        refuse(VAEE_BUNDLE_CORRUPT, "[" + member + "] its SHA-256 is not the manifest's: copy the file again");
    return data;
}

void Bundle::verify_members() const {
    for (const auto& [name, spec] : manifest_->json().at("members").members)
        if (archive_.hash(name, true) != spec.text_at("sha256"))
            refuse(VAEE_BUNDLE_CORRUPT, "[" + name + "] its SHA-256 is not the manifest's: copy the file again");
}

Bytes Bundle::graph(const std::string& variant, const std::string& name) const {
    const Json& spec = manifest_->variant(variant).at("graphs").at(name);
    Bytes joined;
    joined.reserve(std::size_t(spec.whole_at("size_bytes")));
    Sha256 digest;
    for (const Json& part : spec.at("parts").items) archive_.append(part.string, joined, digest);
    if (digest.hex() != spec.text_at("sha256"))
        refuse(VAEE_BUNDLE_CORRUPT, "[" + spec.at("parts").items[0].string + "] its joined parts are not the graph the manifest names: copy the file again");
    const Json& needs = manifest_->json().at("requires");
    static const char* dtypes[] = {"", "float32", "uint8", "int8", "", "", "int32", "int64", "", "bool", "float16", "float64"};
    auto check_facts = [&](const onnx::Facts& facts) {
        if (facts.opset > needs.whole_at("opset") || facts.ir_version > needs.whole_at("ir_version")) onnx::refuse("opset or IR version is above the manifest's");
        auto compare = [&](const char* side, const std::vector<onnx::ValueFacts>& values) {
            const std::vector<Json>& tensors = spec.at(side).items;
            bool same = values.size() == tensors.size();
            for (std::size_t i = 0; same && i < values.size(); ++i) {
                Tensor wanted = vaee::tensor_of(tensors[i]);
                const onnx::ValueFacts& value = values[i];
                same = value.name == wanted.name && dtypes[value.element] == wanted.dtype && value.dims.size() == wanted.shape.size() + 1 && !value.dims[0].is_number;
                for (std::size_t d = 0; same && d < wanted.shape.size(); ++d) same = value.dims[d + 1].is_number && value.dims[d + 1].number == wanted.shape[d];
            }
            if (!same) onnx::refuse(std::string(side) + " are not those of the manifest");
        };
        compare("inputs", facts.inputs);
        compare("outputs", facts.outputs);
    };
    try {
        onnx::Facts facts = onnx::scan(std::string_view(reinterpret_cast<const char*>(joined.data()), joined.size()), check_facts);
        std::string pair;
        for (const auto& entry : facts.metadata)
            if (entry.first == "vae_edge.pair_id") pair = entry.second;
        if (pair != manifest_->json().text_at("pair_id"))
            fail(VAEE_PAIR_MISMATCH, "it belongs to model " + quoted(pair) + ", the bundle to another: its graphs were put together from two exports");
    } catch (const Error& error) {
        refuse(error.code, "[" + variant + " " + name + "] " + error.what());
    }
    return joined;
}

void Bundle::check_all() const {
    verify_members();
    for (const auto& [name, variant] : manifest_->json().at("variants").members)
        for (const auto& member : variant.at("graphs").members) graph(name, member.first);
}

void Bundle::check_engine(const std::string& version) const {
    const std::string& wanted = manifest_->json().at("requires").text_at("onnxruntime");
    if (version_numbers(version) < version_numbers(wanted))
        fail(VAEE_PROVIDER_UNAVAILABLE, archive_.path + " needs onnxruntime " + wanted + " or newer, this is " + version + ": install a newer library");
}

}  // namespace vaee
