// A serialised model from its first byte to the last node; see runtime/vae_edge_runtime/format/onnx_scan.py.
#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "onnx.h"

namespace vaee::onnx {

namespace {

constexpr i64 some_rows = 61;  // a number that no model has as a size

struct GraphNode {
    std::string where, op;
    std::vector<std::string> inputs, outputs;
    std::vector<std::pair<std::string, Message>> attributes;
    std::shared_ptr<const Value> constant;
};

using Values = std::unordered_map<std::string, ValuePointer>;

std::vector<std::string> texts(const Message& message, u64 number) {
    std::vector<std::string> made;
    for (std::string_view blob : message.blobs(number)) made.emplace_back(blob);
    return made;
}

std::optional<Array> numbers_of(const Message& tensor, i64 element, const Shape& dims, const std::optional<std::string_view>& raw) {
    if (raw) return array_of(element, dims, *raw);
    static const std::unordered_map<i64, u64> typed = {{FLOAT, 4}, {FLOAT64, 10}, {INT64, 7}, {UINT8, 5}, {INT8, 5}, {INT32, 5}, {BOOL, 5}};
    auto row = typed.find(element);
    if (row == typed.end() || !tensor.has(row->second)) return Array{element, {0}, {}, {}};
    if (row->second == 4 || row->second == 10) {
        std::string joined;
        for (std::string_view blob : tensor.blobs(row->second)) joined += blob;
        return array_of(element, dims, joined);
    }
    std::vector<i64> numbers = tensor.integers(row->second);
    if (i64(numbers.size()) > limits::known_elements) return std::nullopt;
    return made_array(element, dims, numbers, {}, false);
}

struct NamedTensor {
    std::string name;
    std::shared_ptr<const Value> value;
};

NamedTensor tensor_of(std::string_view data, const std::string& place) {
    Message tensor = parse(data, tensor_table, place);
    std::string name = tensor.text(8), where = place + " " + quoted(name);
    if (tensor.integer(14) != 0) refuse(where + ": its data lies outside the file (external data), which a bundle may not");
    i64 element = tensor.integer(2);
    if (!is_element(element)) refuse(where + ": an element type which a bundle may not use");
    Shape dims = tensor.integers(1);
    if (i64(dims.size()) > limits::rank || std::any_of(dims.begin(), dims.end(), [](i64 n) { return n < 0; }))
        refuse(where + ": is not a shape of at most 16 dimensions");
    if (limited_product(dims, limits::tensor_elements) > limits::tensor_elements) refuse(where + ": is not a shape below 2**31 elements");
    i64 count = whole_product(dims);
    std::vector<std::string_view> raws = tensor.blobs(9);
    if (!raws.empty() && i64(raws[0].size()) != count * item_bytes(element)) refuse(where + ": another number of bytes than the shape needs");
    auto value = std::make_shared<Value>();
    value->shape = dims;
    value->element = element;
    value->is_static = true;
    if (!raws.empty()) value->raw = raws[0];
    if (count <= limits::known_elements) {
        std::optional<Array> numbers = numbers_of(tensor, element, dims, value->raw);
        if (numbers && i64(numbers->size()) == count) {
            numbers->shape = dims;
            value->array = std::make_shared<const Array>(std::move(*numbers));
        }
    }
    return {name, value};
}

// The value of a Constant that is written as numbers and not as a tensor.
std::shared_ptr<const Value> plain_constant(const std::vector<std::pair<std::string, Message>>& attributes) {
    auto find = [&](const char* name) -> const Message* {
        for (const auto& entry : attributes)
            if (entry.first == name) return &entry.second;
        return nullptr;
    };
    for (const auto& [name, field, element] : {std::tuple<const char*, u64, i64>{"value_int", 3, INT64}, {"value_ints", 8, INT64},
                                               {"value_float", 2, FLOAT}, {"value_floats", 7, FLOAT}}) {
        const Message* message = find(name);
        if (!message) continue;
        Array array{element, {}, {}, {}};
        if (element == INT64) {
            array.whole = message->integers(field);
        } else {
            std::string joined;
            for (std::string_view blob : message->blobs(field)) joined += blob;
            array = *array_of(FLOAT, {}, joined.substr(0, joined.size() / 4 * 4));
        }
        auto value = std::make_shared<Value>();
        value->element = element;
        value->is_static = true;
        bool alone = (field == 3 || field == 2) && array.size() == 1;
        value->shape = alone ? Shape{} : Shape{i64(array.size())};
        array.shape = *value->shape;
        if (i64(array.size()) <= limits::known_elements) value->array = std::make_shared<const Array>(std::move(array));
        return value;
    }
    return nullptr;
}

ValueFacts value_info(std::string_view data) {
    Message value = parse(data, value_info_table, "input or output");
    std::string name = value.text(1), where = "input or output " + quoted(name);
    for (std::string_view kind : value.blobs(2)) {
        std::vector<std::string_view> inner = parse(kind, type_table, where).blobs(1);
        Message tensor = parse(inner.empty() ? std::string_view() : inner[0], tensor_type_table, where);
        std::vector<std::string_view> shapes = tensor.blobs(2);
        if (!is_element(tensor.integer(1)) || shapes.empty()) break;
        ValueFacts facts{name, tensor.integer(1), {}};
        for (std::string_view blob : parse(shapes[0], shape_table, where).blobs(1)) {
            Message dim = parse(blob, dimension_table, where);
            if (dim.has(1))
                facts.dims.push_back({true, dim.integer(1), ""});
            else
                facts.dims.push_back({false, 0, dim.text(2)});
        }
        return facts;
    }
    refuse(where + " is not a tensor of a known type and shape");
}

class Scanner {
public:
    Facts model(std::string_view data, const std::function<void(const Facts&)>& check) {
        Message model = parse(data, model_table, "model");
        facts_.ir_version = model.integer(1);
        if (facts_.ir_version < 1 || facts_.ir_version > limits::ir_version) refuse("IR version " + std::to_string(facts_.ir_version));
        opset(model);
        if (model.blobs(7).empty()) refuse("there is no graph in the file");
        for (std::string_view part : model.blobs(7)) graph(part);
        std::unordered_set<std::string> names;
        for (const ValueFacts& input : facts_.inputs) {
            if (!names.insert(input.name).second) refuse("two inputs have one name");
            if (constants_.count(input.name)) refuse("initializer " + quoted(input.name) + " is also an input, so a caller could replace a weight");
        }
        names.clear();
        for (const ValueFacts& output : facts_.outputs)
            if (!names.insert(output.name).second) refuse("two outputs have one name");
        literal_shapes();
        metadata(model);
        facts_.signed_weights = std::any_of(nodes_.begin(), nodes_.end(), [&](const GraphNode& node) {
            auto weights = node.op == "DequantizeLinear" && !node.inputs.empty() ? constants_.find(node.inputs[0]) : constants_.end();
            return weights != constants_.end() && weights->second->element == INT8;
        });
        if (check) check(facts_);
        follow();
        return facts_;
    }

private:
    void opset(const Message& model) {
        std::vector<i64> versions;
        for (std::string_view data : model.blobs(8)) {
            Message opset = parse(data, opset_table, "opset import");
            std::string domain = opset.text(1);
            if (!domain.empty() && domain != "ai.onnx") refuse("operators of the domain " + quoted(domain) + "; only standard ONNX operators run here");
            versions.push_back(opset.integer(2));
        }
        if (versions.size() != 1) refuse(std::to_string(versions.size()) + " opset imports; there must be one");
        if (versions[0] < limits::opset_min || versions[0] > limits::opset_max) refuse("opset " + std::to_string(versions[0]) + "; this runtime runs 17 to 18");
        facts_.opset = versions[0];
    }

    void graph(std::string_view data) {
        Message graph = parse(data, graph_table, "graph");
        for (std::string_view blob : graph.blobs(11)) facts_.inputs.push_back(value_info(blob));
        for (std::string_view blob : graph.blobs(12)) facts_.outputs.push_back(value_info(blob));
        for (std::string_view blob : graph.blobs(5)) {
            NamedTensor tensor = tensor_of(blob, "initializer");
            if (tensor.name.empty() || constants_.count(tensor.name)) refuse("initializer " + quoted(tensor.name) + " is nameless or occurs twice");
            if (i64(constants_.size()) == limits::initializers) refuse("there are more initializers than the limit");
            constants_.emplace(tensor.name, tensor.value);
        }
        for (std::string_view blob : graph.blobs(1)) node(blob);
    }

    void node(std::string_view data) {
        std::string where = "node " + std::to_string(nodes_.size());
        if (i64(nodes_.size()) == limits::nodes) refuse("there are more nodes than the limit");
        Message message = parse(data, node_table, where);
        GraphNode node{"", message.text(4), texts(message, 1), texts(message, 2), {}, nullptr};
        node.where = where += " (" + quoted(node.op) + " " + quoted(message.text(3)) + ")";
        std::string domain = message.text(7);
        if (!domain.empty() && domain != "ai.onnx") refuse(where + ": operator of the domain " + quoted(domain));
        bool allowed = std::any_of(std::begin(operator_rows), std::end(operator_rows), [&](const OperatorRow& row) { return node.op == row.name; });
        if (!allowed) refuse(where + ": the operator is not one this runtime runs");
        std::unordered_set<std::string> names;
        for (std::string_view blob : message.blobs(5)) {
            Message attribute = parse(blob, attribute_table, where);
            std::string name = attribute.text(1);
            if (!names.insert(name).second) refuse(where + ": the attribute " + quoted(name) + " occurs twice");
            if (name == "training_mode" && attribute.integer(3)) refuse(where + ": is in training mode, where the rows of a batch change each other");
            for (u64 field : {5, 10})
                for (std::string_view tensor : attribute.blobs(field)) node.constant = tensor_of(tensor, where + ", attribute " + quoted(name)).value;
            node.attributes.emplace_back(std::move(name), std::move(attribute));
        }
        if (node.op == "Constant" && !node.constant) node.constant = plain_constant(node.attributes);
        nodes_.push_back(std::move(node));
    }

    // What a literal asks for, also where the shape that it is joined with is not known.
    void literal_shapes() {
        std::unordered_map<std::string, std::shared_ptr<const Value>> literals;
        for (const GraphNode& node : nodes_)
            if (node.op == "Constant" && node.constant)
                for (const std::string& name : node.outputs) literals[name] = node.constant;
        for (const GraphNode& node : nodes_) {
            std::size_t index = node.op == "ConstantOfShape" ? 0 : node.op == "Expand" || node.op == "Tile" ? 1 : node.op == "Resize" ? 3 : node.inputs.size();
            std::string name = index < node.inputs.size() ? node.inputs[index] : "";
            auto own = constants_.find(name);
            std::shared_ptr<const Value> literal = own != constants_.end() ? own->second : literals.count(name) ? literals[name] : nullptr;
            if (literal && limited_product(literal->integers().value_or(std::vector<i64>{}), limits::elements) > limits::elements)
                refuse(node.where + ": asks for more elements than the limit");
        }
    }

    void metadata(const Message& model) {
        std::unordered_set<std::string> keys;
        for (std::string_view data : model.blobs(14)) {
            Message entry = parse(data, entry_table, "metadata");
            if (!keys.insert(entry.text(1)).second) refuse("a metadata key occurs twice");
            facts_.metadata.emplace_back(entry.text(1), entry.text(2));
        }
    }

    void follow() {
        for (const ValueFacts& input : facts_.inputs) {
            bool zero = std::any_of(input.dims.begin(), input.dims.end(), [](const Dimension& d) { return d.is_number && d.number == 0; });
            if (i64(input.dims.size()) > limits::rank || zero) refuse("an input has a shape which is not one of rows");
        }
        bool some = look(1);
        look(some_rows);
        if (some) look(limits::most_rows);  // a size of a constant may fit that number of rows by chance
    }

    // Look at every node for one number of rows; whether any axis has the size `some_rows`.
    bool look(i64 rows) {
        bool some = false;
        auto note = [&](const Value& value) {
            if (value.shape) some = some || std::find(value.shape->begin(), value.shape->end(), some_rows) != value.shape->end();
        };
        Values values;
        for (const auto& [name, value] : constants_) {
            values[name] = value;
            note(*value);
        }
        for (const ValueFacts& input : facts_.inputs) {
            auto value = std::make_shared<Value>();
            value->element = input.element;
            Shape shape;
            bool known = true;
            for (const Dimension& d : input.dims) {
                known = known && (d.is_number || !d.name.empty());
                shape.push_back(d.is_number ? d.number : rows);
            }
            if (known) value->shape = shape;
            values[input.name] = value;
        }
        values[""] = nullptr;  // an optional input that is left out
        for (const GraphNode& own : nodes_) {
            Node node{own.op, {}, own.outputs.size(), &own.attributes};
            for (const std::string& name : own.inputs) {
                auto found = values.find(name);
                if (found == values.end()) refuse(own.where + ": takes " + quoted(name) + ", which nothing before it makes");
                node.inputs.push_back(found->second);
            }
            std::string problem = wrong_node(node);
            if (!problem.empty()) refuse(own.where + ": " + problem);
            std::vector<Value> made;
            try {
                made = infer(node, own.constant.get());
            } catch (const Mismatch& mismatch) {
                refuse(own.where + ": has " + mismatch.problem);
            }
            problem = wrong_size(node, made, rows);
            if (!problem.empty()) refuse(own.where + ": " + problem);
            for (std::size_t i = 0; i < made.size(); ++i) {
                const std::string& name = own.outputs[i];
                note(made[i]);
                if (name.empty()) continue;
                if (values.count(name)) refuse(own.where + ": makes " + quoted(name) + ", which there is already");
                values[name] = std::make_shared<const Value>(std::move(made[i]));
            }
        }
        return some;
    }

    Facts facts_;
    std::vector<GraphNode> nodes_;
    std::unordered_map<std::string, std::shared_ptr<const Value>> constants_;
};

}  // namespace

Facts scan(std::string_view raw, const std::function<void(const Facts&)>& check) { return Scanner().model(raw, check); }

}  // namespace vaee::onnx
