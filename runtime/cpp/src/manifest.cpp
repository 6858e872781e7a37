#include "manifest.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "archive.h"
#include "tables.h"

namespace vaee {

namespace {

bool is_hex(const std::string& text, std::size_t digits) {
    if (text.size() != digits) return false;
    return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_version(std::string_view text, std::size_t least, std::size_t most, std::string_view* rest) {
    std::size_t numbers = 0, at = 0;
    for (;;) {
        std::size_t digits = 0;
        while (at < text.size() && text[at] >= '0' && text[at] <= '9' && digits < 6) ++at, ++digits;
        if (!digits) return false;
        ++numbers;
        if (numbers == most || at + 1 >= text.size() || text[at] != '.' || text[at + 1] < '0' || text[at + 1] > '9') break;
        ++at;
    }
    *rest = text.substr(at);
    return numbers >= least;
}

// Names are printed: no escape sequence of a terminal, no half of a surrogate pair.
void check_text(const std::string& text, const std::string& where) {
    u32 code;
    for (std::size_t at = 0; at < text.size();) {
        check(next_code_point(text, at, code, true), where + " is not UTF-8");
        bool bad = code <= 8 || (code >= 0xb && code <= 0x1f) || (code >= 0x7f && code <= 0x9f) ||
                   (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || (code >= 0xd800 && code <= 0xdfff);
        check(!bad, where + " holds a character which is not text");
    }
}

bool is_blank(const std::string& text) {
    u32 c;
    for (std::size_t at = 0; at < text.size();) {
        if (!next_code_point(text, at, c, true)) return false;
        bool space = (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
                     (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
        if (!space) return false;
    }
    return true;
}

void check_shape(const std::vector<i64>& shape, const char* what) {
    bool good = shape.size() <= 5;
    for (i64 n : shape) good = good && n > 0 && n < (i64(1) << 31);
    check(good, std::string(what) + " is not a shape");
    check(element_count(shape) < (i64(1) << 31), std::string(what) + " holds too many elements");
}

bool all(const Json& list, const std::function<bool(double)>& test) {
    return std::all_of(list.items.begin(), list.items.end(), [&](const Json& item) { return test(item.real); });
}

// Rules inside one object, as the Python classes have them.
using Rule = void (*)(const Json&);

void model_card(const Json& o) { check(!is_blank(o.text_at("name")), "the name is empty"); }

void code_range(const Json& o) { check(o.whole_at("low") <= o.whole_at("high"), "low is above high"); }

void input_spec(const Json& o) {
    std::vector<i64> shape = shape_of(o.at("shape"));
    const std::string& layout = o.text_at("layout");
    bool pictures = layout == "nchw" || layout == "nhwc", exact = !o.find("fit") || o.text_at("fit") == "exact";
    if (!o.is_null("overlap")) {
        check(pictures && shape.size() >= 3, "tiles are of pictures");
        i64 sides = layout == "nchw" ? std::min(shape[1], shape[2]) : std::min(shape[0], shape[1]);
        check(o.whole_at("overlap") >= 0 && o.whole_at("overlap") <= sides / 2, "overlap is not between 0 and half of a tile");
        check(exact, "tiles and a fit exclude each other");
    }
    if (!o.is_null("calibrated_size")) {
        check(!o.is_null("overlap"), "a calibrated size is of pictures in tiles");
        std::vector<i64> whole = shape_of(o.at("calibrated_size"));
        std::size_t down = layout == "nchw" ? 1 : 0;
        check(whole.size() == 2 && whole[0] >= shape[down] && whole[1] >= shape[down + 1], "no tile fits into the calibrated size");
    }
    check(exact || pictures, "a fit is for pictures");
    check_shape(shape, "input shape");
    std::size_t axes = layout == "nchw" || layout == "nhwc" ? 3 : layout == "features" ? 1 : layout == "time_features" ? 2 : shape.size();
    check(shape.size() == axes, "layout " + layout + " needs another number of axes");
    check(o.real_at("low") <= o.real_at("high"), "low is above high");
    std::size_t names = o.at("names").items.size();
    check(names == 0 || (!shape.empty() && i64(names) == shape.back()), "another number of names than of features");
    const Json* codes = o.find("codes");
    if (!codes || codes->items.empty()) return;
    std::set<i64> columns;
    for (const Json& range : codes->items) {
        i64 column = range.is_null("column") ? -1 : range.whole_at("column");
        check(range.is_null("column") || (column >= 0 && !shape.empty() && column < shape.back()), "codes are in a column that a row does not have");
        check(columns.insert(column).second, "two ranges of codes for one column");
        check(!range.is_null("column") || codes->items.size() == 1, "codes of all columns and of one exclude each other");
    }
    check(!shape.empty(), "codes need columns");
}

void condition_spec(const Json& o) {
    check_shape(shape_of(o.at("shape")), "condition shape");
    check(o.real_at("low") <= o.real_at("high"), "low is above high");
}

void preprocessing(const Json& o) {
    check(o.at("offset").items.size() == o.at("scale").items.size() && !o.at("scale").items.empty(), "offset and scale differ in length");
    check(all(o.at("scale"), [](double s) { return s > 0; }), "a scale is not positive");
}

void prior_spec(const Json& o) {
    const std::string& kind = o.text_at("kind");
    bool stored = kind == "gaussian_mixture" || kind == "categorical", member = !o.is_null("member");
    check(stored == member && member == (o.whole_at("components") > 0), "a prior '" + kind + "' lacks its numbers");
}

void latent_spec(const Json& o) {
    std::vector<i64> shape = shape_of(o.at("shape"));
    check_shape(shape, "latent shape");
    check(o.real_at("scale") > 0, "scale is not positive");
    std::vector<i64> embedding = shape_of(o.at("embedding_shape"));
    bool codes = o.text_at("kind") == "codes", book = o.whole_at("codebook") > 0;
    check(codes == book && book == !embedding.empty(), "codebook and kind disagree");
    const Json& prior = o.at("prior");
    const std::string& kind = prior.text_at("kind");
    check(kind == "none" || codes == (kind == "categorical"), "prior and kind disagree");
    if (!embedding.empty()) check_shape(embedding, "embedding_shape");
    i64 components = prior.whole_at("components");
    if (kind == "categorical") check(components == 1 || components == element_count(shape), "the prior's table does not fit the grid");
    const Json& groups = o.at("groups");
    if (groups.items.empty()) return;
    i64 total = 0;
    for (const Json& group : groups.items) total = add(total, element_count(shape_of(group)));
    check(shape == std::vector<i64>{total}, "groups do not fit the latent");
}

std::vector<std::string> of_heads(const std::vector<std::string>& heads, std::initializer_list<const char*> where) {
    std::vector<std::string> made;
    for (const std::string& head : heads)
        for (const char* place : where)
            if (std::string(head_row(head)->computed) == place) made.push_back(head);
    return made;
}

void score_spec(const Json& o) {
    double kl = o.is_null("kl_weight") ? 0.0 : o.real_at("kl_weight"), weight = o.real_at("reconstruction_weight");
    check(o.is_null("variance") || o.real_at("variance") > 0, "variance is not positive");
    check(weight >= 0 && kl >= 0, "a weight is negative");
    check(weight + kl > 0, "both weights are 0");
    std::vector<std::string> heads = texts_of(o.at("heads")), parts = texts_of(o.at("parts"));
    std::set<std::string> known(heads.begin(), heads.end());
    check(!heads.empty() && known.size() == heads.size(), "heads are missing or repeated");
    check(head_row(heads[0])->may_be_default, heads[0] + " cannot be the default head");
    check(o.real_at("top_share") > 0 && o.real_at("top_share") <= 1 && o.real_at("map_sigma") >= 0, "top_share or map_sigma is out of range");
    check((o.whole_at("draws") > 0) == !of_heads(heads, {"sampled"}).empty(), "draws and heads disagree");
    for (const std::string& head : heads)
        check(!(o.is_null("kl_weight") && head_row(head)->needs_kl), "a head needs a KL there is not");
    std::vector<std::string> ensembles = of_heads(heads, {"p_values"});
    check(!ensembles.empty() == (parts.size() > 1), "an ensemble lacks its parts");
    for (const std::string& part : parts)
        check(known.count(part) && std::find(ensembles.begin(), ensembles.end(), part) == ensembles.end(),
              "an ensemble combines what is no head");
    if (o.is_null("decides_by")) return;
    const std::string& decides = o.text_at("decides_by");
    check(decides != heads[0] && known.count(decides) > 0, "decides_by is none of the further heads");
    check(head_row(decides)->may_decide, "the head " + decides + " must not decide");
}

void compression_mode(const Json& o) {
    check(!is_blank(o.text_at("name")), "a mode has no name");
    check(o.whole_at("rows") >= 1, "mode: rows is below 1");
    check(o.real_at("row_bytes") > 0 && o.real_at("latent_bytes") >= 0, "mode: sizes are out of range");
    check((o.text_at("kind") == "bounded") == !o.at("bound").items.empty(), "mode: kind and bound disagree");
    check(all(o.at("bound"), [](double b) { return b > 0; }), "mode: a bound is not positive");
    check(o.text_at("kind") != "latents" || o.text_at("predictor") == "vae", "latents need the network");
    check(o.is_null("flipped") || o.whole_at("flipped") >= 0, "mode: flipped is negative");
}

void compression(const Json& o) {
    const std::vector<Json>& modes = o.at("modes").items;
    std::set<std::string> names;
    for (const Json& mode : modes) names.insert(mode.text_at("name"));
    check(!modes.empty() && names.size() == modes.size() && modes.size() <= 16, "modes are missing, repeated or too many");
    check(modes[0].text_at("kind") == "latents", "the first mode is not latents");
    std::size_t spread = o.at("spread").items.size();
    check(spread >= 1 && o.at("margin").items.size() == spread, "spread and margin differ in length");
    for (const char* key : {"spread", "margin"}) check(all(o.at(key), [](double v) { return v > 0; }), "a spread or a margin is not positive");
    for (const Json& mode : modes) {
        std::size_t bounds = mode.at("bound").items.size();
        check(bounds == 0 || bounds == spread, "a bound does not fit the features");
    }
}

void size_check(const Json& o) {
    for (const char* key : {"height", "width", "rows"}) check(o.whole_at(key) >= 1, "a height, a width or the rows of a size are below 1");
}

void free_size(const Json& o) {
    std::vector<i64> multiple = shape_of(o.at("multiple")), smallest = shape_of(o.at("smallest"));
    check(multiple.size() == 2 && smallest.size() == 2, "multiple and smallest are not a height and a width each");
    for (i64 side : {multiple[0], multiple[1], smallest[0], smallest[1]}) check(side >= 1, "multiple or smallest is below 1");
    std::set<std::pair<i64, i64>> sizes;
    const char* sides[] = {"height", "width"};
    for (const Json& each : o.at("checks").items) {
        sizes.insert({each.whole_at("height"), each.whole_at("width")});
        for (int axis = 0; axis < 2; ++axis)
            check(each.whole_at(sides[axis]) % multiple[axis] == 0 && each.whole_at(sides[axis]) >= smallest[axis], "a size that was compared does not fit");
    }
    check(!sizes.empty() && sizes.size() == o.at("checks").items.size() && sizes.size() <= 8, "sizes are missing, repeated or too many");
}

void tensor_spec(const Json& o) { check_shape(shape_of(o.at("shape")), "tensor shape"); }

void requirements(const Json& o) {
    std::string_view rest;
    check(is_version(o.text_at("onnxruntime"), 2, 4, &rest) && rest.empty(), "onnxruntime is no version");
}

void reduction(const Json& o) {
    check(o.whole_at("layers") >= 0 && o.whole_at("layers") <= o.whole_at("layers_total"), "more layers reduced than there are");
    check((o.text_at("activations") == "none") == (o.text_at("ranges") == "none"), "activations and ranges disagree");
}

void model_fit(const Json& o) {
    check(o.whole_at("rows") >= 1, "fit: rows is below 1");
    check(o.is_null("r2") || o.real_at("r2") <= 1, "fit: r2 is above 1");
    check(o.real_at("fed_low") <= o.real_at("fed_high"), "fit: fed_low is above fed_high");
    check(o.whole_at("latents_in_use") >= 0 && o.whole_at("latents_in_use") <= o.whole_at("latents"), "fit: latents_in_use is out of range");
}

void graph_spec(const Json& o) {
    std::vector<std::string> parts = texts_of(o.at("parts"));
    check(!parts.empty() && std::set<std::string>(parts.begin(), parts.end()).size() == parts.size(), "parts are missing or repeated");
    check(is_hex(o.text_at("sha256"), 64), "sha256 is not 64 hex digits");
    check(o.whole_at("size_bytes") > 0 && o.whole_at("size_bytes") < (i64(1) << 31), "size_bytes is not below 2 GiB");
    for (const char* side : {"inputs", "outputs"}) {
        std::set<std::string> names;
        for (const Json& tensor : o.at(side).items) names.insert(tensor.text_at("name"));
        check(!names.empty() && names.size() == o.at(side).items.size(), "tensors are missing or repeated");
    }
}

void member_spec(const Json& o) {
    check(o.whole_at("size_bytes") >= 0 && o.whole_at("size_bytes") < (i64(1) << 31), "size_bytes is not below 2 GiB");
    check(is_hex(o.text_at("sha256"), 64), "sha256 is not 64 hex digits");
}

void calibration_spec(const Json& o) {
    i64 n = o.whole_at("n"), points = o.whole_at("points");
    double rows = o.real_at("correlation_rows"), rate = o.real_at("false_positive_rate");
    check(1 <= rows && rows <= double(n), "correlation_rows is not in [1, n]");
    check(!o.is_null("tail") || o.text_at("source") != "tail", "a threshold from a tail lacks the tail");
    check(0 < points && points <= n && n < (i64(1) << 32), "points and n disagree");
    check(0 < rate && rate < 1, "false_positive_rate is not inside (0, 1)");
}

void tail_fit(const Json& o) {
    i64 excesses = o.whole_at("excesses");
    check(0 < excesses && excesses <= o.whole_at("n") && o.real_at("scale") > 0 && o.real_at("shape") <= 0.5, "the tail is no distribution");
}

void guard_spec(const Json& o) {
    const Json &low = o.at("low"), &high = o.at("high");
    std::size_t n = low.items.size();
    check(n >= 1 && high.items.size() == n && o.at("constant").items.size() == n, "low, high and constant differ in length");
    for (std::size_t i = 0; i < n; ++i) check(low.items[i].real <= high.items[i].real, "a low is above its high");
    check(o.real_at("margin") >= 0 && o.whole_at("stuck_rows") >= 0 && o.whole_at("saturated_rows") >= 0, "a limit is negative");
    check(o.is_null("period_s") || o.real_at("period_s") > 0, "period_s is not positive");
}

void alarm_spec(const Json& o) {
    i64 raise = o.whole_at("raise_after"), of = o.whole_at("of");
    check(1 <= raise && raise <= of && of <= 1 << 16, "raise_after and of disagree");
    check(o.whole_at("clear_after") >= 1 && o.whole_at("cool_down") >= 0, "clear_after or cool_down is out of range");
    check(o.real_at("clear_rate") > 0 && o.real_at("clear_rate") < 1, "clear_rate is not inside (0, 1)");
}

void sample_figures(const Json& o) {
    check(o.whole_at("rows") >= 1, "samples: rows is below 1");
    check(o.real_at("low") <= o.real_at("high"), "samples: low is above high");
    check(o.real_at("spread") >= 0 && (o.is_null("rows_spread") || o.real_at("rows_spread") >= 0), "samples: a spread is negative");
}

const std::map<std::string, Rule>& rules() {
    static const std::map<std::string, Rule> made = {
        {"ModelCard", model_card}, {"InputSpec", input_spec}, {"ConditionSpec", condition_spec},
        {"Preprocessing", preprocessing}, {"PriorSpec", prior_spec}, {"LatentSpec", latent_spec},
        {"ScoreSpec", score_spec}, {"TensorSpec", tensor_spec}, {"Requirements", requirements},
        {"Reduction", reduction}, {"ModelFit", model_fit}, {"GraphSpec", graph_spec}, {"MemberSpec", member_spec},
        {"CodeRange", code_range}, {"CompressionMode", compression_mode}, {"Compression", compression},
        {"FreeSize", free_size}, {"SizeCheck", size_check}, {"SampleFigures", sample_figures},
        {"Calibration", calibration_spec}, {"TailFit", tail_fit}, {"GuardSpec", guard_spec}, {"AlarmSpec", alarm_spec}};
    return made;
}

void build(const Json& value, const char* object, const std::string& where);

void convert(const Json& value, std::string_view type, const std::string& where) {
    auto wrong = [&](const char* wanted) { fail(VAEE_BUNDLE_INVALID, where + " is not " + wanted); };
    switch (type[0]) {
        case '?':
            if (value.kind != Json::null) convert(value, type.substr(1), where);
            return;
        case '@': return build(value, type.data() + 1, where);
        case '=': {
            std::string words(type.substr(1));
            if (value.kind != Json::text) wrong("text");
            for (std::size_t start = 0; start <= words.size();) {
                std::size_t end = std::min(words.find('|', start), words.size());
                if (words.compare(start, end - start, value.string) == 0) return;
                start = end + 1;
            }
            fail(VAEE_BUNDLE_INVALID, where + " is " + quoted(value.string) + "; valid are " + words);
        }
        case '[':
            if (value.kind != Json::array) wrong("an array");
            for (const Json& item : value.items) convert(item, type.substr(2), where + "[]");
            return;
        case '{':
            if (value.kind != Json::object) wrong("an object");
            for (const auto& [key, item] : value.members) {
                check_text(key, "a key of " + where);
                convert(item, type.substr(2), where + "." + quoted(key));
            }
            return;
        case 's':
            if (value.kind != Json::text) wrong("text");
            return check_text(value.string, where);
        case 'b':
            if (value.kind != Json::boolean) wrong("true or false");
            return;
        case 'i':
            if (value.kind != Json::integer) wrong("a whole number");
            check(value.beyond == 0, where + " does not fit 64 bits");
            return;
        default:  // f: of whole numbers those that a double holds
            if (value.kind == Json::number) return;
            if (value.kind != Json::integer || value.beyond != 0 || std::abs(value.real) >= 9007199254740992.0) wrong("a number");
    }
}

void build(const Json& value, const char* object, const std::string& where) {
    check(value.kind == Json::object, where + " is not an object");
    std::size_t known = 0;
    for (const Field& field : fields) {
        if (std::strcmp(field.object, object) != 0) continue;
        const Json* item = value.find(field.name);
        check(item != nullptr || !field.required, where + " lacks the key " + field.name);
        known += item != nullptr;
    }
    if (known != value.members.size()) {
        for (const auto& member : value.members) {
            bool is_known = false;
            for (const Field& field : fields)
                is_known = is_known || (std::strcmp(field.object, object) == 0 && member.first == field.name);
            check(is_known, "unknown key " + quoted(member.first) + " of " + where);
        }
    }
    for (const Field& field : fields) {
        if (std::strcmp(field.object, object) != 0) continue;
        if (const Json* item = value.find(field.name)) convert(*item, field.type, where + "." + field.name);
    }
    auto rule = rules().find(object);
    if (rule != rules().end()) rule->second(value);
}

// The door for manifests of another version: it looks before anything else is checked, and brings older ones up to date.
void bring_up_to_date(Json& plain) {
    if (plain.kind != Json::object) return;
    const Json* version_key = plain.find("schema_version");
    if (!version_key || version_key->kind != Json::integer) return;
    auto above = [](const Json& n) { return n.beyond > 0 || (n.beyond == 0 && n.whole > limits::schema_version); };
    std::string remedy = "update libvaeedge " + std::string(version) + " on this device";
    if (const Json* made_with = plain.find("made_with"); made_with && made_with->kind == Json::object) {
        const Json* writer = made_with->find("vae_edge");
        std::string_view rest;
        if (writer && writer->kind == Json::text && is_version(writer->string, 1, 4, &rest) && rest.size() <= 31)
            remedy += ": vae-edge " + std::string(writer->string.substr(0, 40)) + " wrote this bundle";
    }
    if (above(*version_key))
        fail(VAEE_BUNDLE_TOO_NEW, "a schema version above " + std::to_string(limits::schema_version) + ", which this runtime reads: " + remedy);
    if (const Json* requires_key = plain.find("requires"); requires_key && requires_key->kind == Json::object) {
        const Json* wanted = requires_key->find("runtime_schema");
        if (wanted && wanted->kind == Json::integer && above(*wanted))
            fail(VAEE_BUNDLE_TOO_NEW, "needs a runtime schema above " + std::to_string(limits::schema_version) + ": " + remedy);
    }
    check(version_key->beyond == 0 && version_key->whole >= 1, "this schema version never existed");
    if (version_key->whole < 2 && !plain.find("compression")) {  // version 2 says how rows are compressed
        plain.members.emplace_back("compression", Json());
    } else if (version_key->whole < 2) {
        for (auto& member : plain.members)
            if (member.first == "compression") member.second = Json();
    }
    for (auto& member : plain.members)
        if (member.first == "schema_version") member.second.whole = limits::schema_version;
}

}  // namespace

const HeadRow* head_row(const std::string& name) {
    for (const HeadRow& row : head_rows)
        if (name == row.name) return &row;
    fail(VAEE_BUNDLE_INVALID, quoted(name) + " is no head");
}

std::vector<i64> shape_of(const Json& list) {
    std::vector<i64> shape;
    for (const Json& item : list.items) shape.push_back(item.whole);
    return shape;
}

Tensor tensor_of(const Json& spec) { return {spec.text_at("name"), spec.text_at("dtype"), shape_of(spec.at("shape"))}; }

i64 element_count(const std::vector<i64>& shape) {
    i64 count = 1;
    for (i64 n : shape) count = multiply(count, n);
    return count;
}

i64 element_bytes(const std::string& dtype) { return dtype == "uint8" ? 1 : dtype == "int64" ? 8 : 4; }

std::vector<std::string> texts_of(const Json& list) {
    std::vector<std::string> texts;
    for (const Json& item : list.items) texts.push_back(item.string);
    return texts;
}

std::vector<i64> version_numbers(std::string_view version) {
    std::vector<i64> numbers;
    for (std::size_t at = 0; at < version.size();) {
        i64 number = 0;
        std::size_t start = at;
        while (at < version.size() && version[at] >= '0' && version[at] <= '9' && at - start < 9) number = 10 * number + (version[at++] - '0');
        if (at == start) break;
        numbers.push_back(number);
        if (at >= version.size() || version[at] != '.') break;
        ++at;
    }
    while (!numbers.empty() && numbers.back() == 0) numbers.pop_back();
    return numbers;
}

Manifest::Manifest(std::string_view raw) : json_(parse_json(raw)) {
    bring_up_to_date(json_);
    build(json_, "Manifest", "the manifest");
    check_all();
}

std::vector<std::string> Manifest::variants() const {
    std::vector<std::string> names;
    for (const auto& member : json_.at("variants").members) names.push_back(member.first);
    std::sort(names.begin(), names.end());
    return names;
}

std::string Manifest::default_head() const {
    const Json& score = json_.at("score");
    return score.is_null("decides_by") ? heads()[0] : score.text_at("decides_by");
}

std::vector<std::string> Manifest::computed(std::initializer_list<const char*> where) const { return of_heads(heads(), where); }

std::vector<Signature> Manifest::signatures() const {
    const Json &latent = json_.at("latent"), &score = json_.at("score");
    std::vector<i64> shape = shape_of(latent.at("shape")), row = shape_of(json_.at("input").at("shape"));
    Tensor x{"x", json_.at("input").text_at("dtype"), row}, z{"z", "float32", shape};
    std::vector<Tensor> beside, encoded;
    if (!json_.is_null("condition")) {
        const Json& condition = json_.at("condition");
        beside.push_back({"condition", condition.text_at("dtype"), shape_of(condition.at("shape"))});
    }
    const std::string& kind = latent.text_at("kind");
    if (kind == "codes") {
        encoded = {{"indices", "int64", shape}, {"z_q", "float32", shape_of(latent.at("embedding_shape"))}};
        z = encoded[0];
    } else {
        encoded.push_back({"mean", "float32", shape});
        if (kind == "gaussian") encoded.push_back({"logvar", "float32", shape});
    }
    auto joined = [&](Tensor first) {
        std::vector<Tensor> made{std::move(first)};
        made.insert(made.end(), beside.begin(), beside.end());
        return made;
    };
    std::vector<Tensor> scored{{"score", "float32", {}}, {"reconstruction", "float32", {}}};
    if (!score.is_null("kl_weight")) scored.push_back({"kl", "float32", {}});
    std::vector<std::string> names = heads();
    bool reads_codes = false;
    for (std::size_t i = 0; i < names.size(); ++i) {
        const HeadRow* head = head_row(names[i]);
        if (i > 0 && std::strcmp(head->computed, "score") == 0 && !head->is_term) scored.push_back({names[i], "float32", {}});
        reads_codes = reads_codes || head->reads_codes;
    }
    scored.push_back({"map", "float32", row});
    if (reads_codes) scored.push_back({"mean", "float32", shape});
    std::vector<Signature> made{{"encode", joined(x), encoded},
                                {"decode", joined(z), {tensor_of(json_.at("output"))}},
                                {"score", joined(x), scored}};
    std::vector<std::string> sampled = computed({"sampled"});
    if (!sampled.empty()) {
        std::vector<Tensor> inputs = joined(x), outputs;
        std::vector<i64> noise{score.whole_at("draws")};
        noise.insert(noise.end(), shape.begin(), shape.end());
        check_shape(noise, "noise: shape");
        inputs.push_back({"noise", "float32", noise});
        for (const std::string& head : sampled) outputs.push_back({head, "float32", {}});
        made.push_back({"sampled", inputs, outputs});
    }
    return made;
}

const Json* Manifest::calibration(const std::string& name, const std::string& head) const {
    const Json& own = variant(name);
    if (head == heads()[0]) return own.is_null("calibration") ? nullptr : &own.at("calibration");
    return own.at("channels").find(head);
}

void Manifest::check_size(const std::string& member, i64 wanted) const {
    check(json_.at("members").at(member).whole_at("size_bytes") == wanted, quoted(member) + " has another size than its content needs");
}

std::vector<std::string> Manifest::referenced() const {
    std::vector<std::string> names;
    for (const auto& [name, own] : json_.at("variants").members) {
        for (const auto& graph : own.at("graphs").members)
            for (const Json& part : graph.second.at("parts").items) names.push_back(part.string);
        if (!own.is_null("calibration")) names.push_back(own.at("calibration").text_at("member"));
        for (const auto& channel : own.at("channels").members) names.push_back(channel.second.text_at("member"));
        if (!own.is_null("latent_statistics") && !own.text_at("latent_statistics").empty()) names.push_back(own.text_at("latent_statistics"));
    }
    const Json &prior = json_.at("latent").at("prior"), &golden = json_.at("golden");
    if (!prior.is_null("member")) names.push_back(prior.text_at("member"));
    if (!golden.is_null("condition")) names.push_back(golden.text_at("condition"));
    if (!json_.is_null("compression"))
        for (const Json& mode : json_.at("compression").at("modes").items) names.push_back(mode.text_at("member"));
    auto add_golden = [&names](const Json& each) {
        names.push_back(each.text_at("input"));
        for (const auto& by_output : each.at("expected").members)
            for (const auto& output : by_output.second.members) names.push_back(output.second.string);
    };
    add_golden(golden);
    if (!json_.is_null("free_size"))
        for (const Json& each : json_.at("free_size").at("checks").items) add_golden(each);
    return names;
}

void Manifest::check_all() const {
    if (const Json* purpose = json_.find("purpose"); purpose && purpose->string != "scoring")
        fail(VAEE_OPTION_ERROR, "this bundle was exported for generation, and libvaeedge runs bundles that score: use the Python runtime, or export the model for scoring");
    if (!json_.is_null("condition"))
        if (const Json* role = json_.at("condition").find("role"); role && role->string != "condition")
            fail(VAEE_OPTION_ERROR, "this bundle takes masks or targets beside its rows, which libvaeedge does not: use the Python runtime");
    const Json& members = json_.at("members");
    check(json_.whole_at("release") >= 1, "release is below 1");
    check(is_hex(json_.text_at("pair_id"), 32), "pair_id is not 32 hex digits");
    check(json_.at("made_with").find("vae_edge") != nullptr, "made_with does not say which vae_edge wrote the bundle");
    check(!json_.at("variants").members.empty(), "there is no variant");
    check(i64(json_.at("variants").members.size()) <= limits::variants, "more variants than the limit");
    std::set<std::string> listed;
    for (const auto& member : members.members) {
        check(is_member_name(member.first) && member.first != manifest_member, "member name " + quoted(member.first) + " is not valid");
        listed.insert(member.first);
    }
    std::vector<std::string> names = referenced();
    std::set<std::string> used(names.begin(), names.end());
    for (const std::string& name : used) check(listed.count(name) > 0, "member " + quoted(name) + " is used and not listed");
    for (const std::string& name : listed) check(used.count(name) > 0, "member " + quoted(name) + " is listed and not used");
    const Json &latent = json_.at("latent"), &prior = latent.at("prior");
    check(json_.at("score").is_null("kl_weight") || latent.text_at("kind") == "gaussian", "a KL needs a gaussian posterior");
    if (!prior.is_null("member")) {
        i64 components = prior.whole_at("components"), each = latent.whole_at("codebook");
        if (prior.text_at("kind") == "gaussian_mixture") each = add(1, multiply(2, element_count(shape_of(latent.at("shape")))));
        check_size(prior.text_at("member"), multiply(multiply(4, components), each));
    }
    for (const auto& [name, own] : json_.at("variants").members) check_variant(name, own);
    check_golden();
    check(json_.is_null("compression") || json_.at("variants").find("fp32") != nullptr, "compression needs the variant fp32");
}

void Manifest::check_variant(const std::string& name, const Json& own) const {
    const Json &graphs = own.at("graphs"), &members = json_.at("members");
    std::vector<Signature> wanted = signatures();
    check(graphs.members.size() == wanted.size(), "variant " + quoted(name) + " has other graphs than the model");
    for (const Signature& signature : wanted) {
        const Json* spec = graphs.find(signature.graph);
        check(spec != nullptr, "variant " + quoted(name) + " has other graphs than the model");
        check(i64(spec->at("parts").items.size()) <= limits::parts, "a graph has more parts than the limit");
        auto compare = [&](const char* side, const std::vector<Tensor>& tensors) {
            std::vector<Tensor> have;
            for (const Json& item : spec->at(side).items) have.push_back(tensor_of(item));
            check(have == tensors, "variant " + quoted(name) + ": " + signature.graph + " " + side + " are not the model's");
        };
        compare("inputs", signature.inputs);
        compare("outputs", signature.outputs);
        i64 size = 0;
        for (const Json& part : spec->at("parts").items) size = add(size, members.at(part.string).whole_at("size_bytes"));
        check(size == spec->whole_at("size_bytes"), "variant " + quoted(name) + ": parts of " + signature.graph + " do not add up");
    }
    bool reduced = own.text_at("precision") != "fp32";
    check(reduced == !own.is_null("reduction") && reduced == !own.is_null("fidelity"), "precision, reduction and fidelity disagree");
    std::vector<std::string> names = heads(), further;
    if (!own.is_null("calibration")) {
        further.assign(names.begin() + 1, names.end());
        check_size(own.at("calibration").text_at("member"), multiply(8, own.at("calibration").whole_at("points")));
    }
    check(own.at("channels").members.size() == further.size(), "channels and heads differ");
    for (const auto& channel : own.at("channels").members)
        check_size(channel.second.text_at("member"), multiply(8, channel.second.whole_at("points")));
    for (const std::string& head : further) check(own.at("channels").find(head) != nullptr, "channels and heads differ");
    for (const auto& trap : own.at("traps").members)
        check(std::find(names.begin(), names.end(), trap.first) != names.end(), "traps of what is no head");
    for (const HeadRow& row : head_rows) {
        if (!*row.statistic) continue;
        bool has = std::find(names.begin(), names.end(), row.name) != names.end();
        check(has == !own.is_null(row.statistic), std::string(row.name) + " and its statistics disagree");
    }
    if (!own.is_null("latent_statistics") && !own.text_at("latent_statistics").empty()) {
        i64 d = element_count(shape_of(json_.at("latent").at("shape")));
        check_size(own.text_at("latent_statistics"), multiply(multiply(4, d), add(1, d)));
    }
}

void Manifest::check_golden() const {
    const Json &golden = json_.at("golden"), &variants = json_.at("variants");
    i64 rows = golden.whole_at("rows");
    check(rows >= 1, "there are no golden rows");
    for (const char* key : {"expected", "tolerance_relative"}) {
        const Json& named = golden.at(key);
        check(named.members.size() == variants.members.size(), "golden vectors and variants differ");
        for (const auto& member : named.members) check(variants.find(member.first) != nullptr, "golden vectors and variants differ");
    }
    check(golden.is_null("condition") == json_.is_null("condition"), "golden rows and conditions disagree");
    auto size = [&](const std::string& member, const std::string& dtype, const std::vector<i64>& shape) {
        check_size(member, multiply(multiply(rows, element_bytes(dtype)), element_count(shape)));
    };
    std::vector<Signature> wanted = signatures();
    for (const auto& [name, members] : golden.at("expected").members) {
        check(members.find("encode." + wanted[0].outputs[0].name) != nullptr, "golden rows lack what decode is fed");
        const Json& tolerances = golden.at("tolerance_relative").at(name);
        check(tolerances.members.size() == members.members.size(), "golden rows and tolerances differ");
        for (const auto& [output, member] : members.members) {
            check(tolerances.find(output) != nullptr, "golden rows and tolerances differ");
            const Tensor* known = nullptr;
            for (const Signature& signature : wanted)
                for (const Tensor& tensor : signature.outputs)
                    if (output == signature.graph + "." + tensor.name) known = &tensor;
            check(known != nullptr, "golden output " + quoted(output) + " does not exist");
            size(member.string, known->dtype, known->shape);
        }
    }
    const Json& input = json_.at("input");
    size(golden.text_at("input"), input.text_at("dtype"), shape_of(input.at("shape")));
    if (!golden.is_null("condition")) {
        const Json& condition = json_.at("condition");
        size(golden.text_at("condition"), condition.text_at("dtype"), shape_of(condition.at("shape")));
    }
}

}  // namespace vaee
