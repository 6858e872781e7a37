// Ranges that engines do not check: attributes and indices that ended their process in the runs of a fuzzer.
#include <algorithm>
#include <cmath>
#include <map>

#include "onnx.h"

namespace vaee::onnx {

namespace {

bool is_any(const std::string& name, std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* other) { return name == other; });
}

bool is_flag(const std::string& name) {
    return is_any(name, {"keepdims", "noop_with_empty_axes", "ceil_mode", "count_include_pad", "exclusive", "reverse",
                         "select_last_index", "largest", "sorted", "allowzero", "upper", "layout", "linear_before_reset",
                         "input_forget", "fmod", "transA", "transB", "antialias", "exclude_outside", "storage_order",
                         "detect_positive", "detect_negative"});
}

i64 least_window(const std::string& name) {  // -1: no window
    if (is_any(name, {"pads", "output_padding"})) return 0;
    return is_any(name, {"kernel_shape", "strides", "dilations", "output_shape", "group", "blocksize", "size", "num_outputs"}) ? 1 : -1;
}

std::string attributes(const Node& n) {
    for (const auto& [name, message] : *n.attributes) {
        if (is_flag(name)) {
            i64 flag = message.integer(3, 0);
            if (flag != 0 && flag != 1) return "has " + name + " " + std::to_string(flag) + "; it is 0 or 1";
        }
        if (i64 low = least_window(name); low >= 0) {
            std::vector<i64> numbers = message.integers(8);
            if (numbers.empty()) numbers.push_back(message.integer(3, low));
            for (i64 number : numbers)
                if (number < low || number > limits::window) return "has " + name + " " + std::to_string(number) + ", which is out of range";
        }
        if (name == "axis" || name == "batch_dims") {
            i64 axis = message.integer(3, 0);
            if (axis < -limits::rank || axis > limits::rank) return "has " + name + " " + std::to_string(axis) + ", which is no axis";
        }
    }
    if (!is_any(n.op, {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "AveragePool", "MaxPool", "LpPool", "GlobalAveragePool",
                       "GlobalMaxPool", "GlobalLpPool"}) || !n.input(0).shape)
        return "";
    std::size_t rank = n.input(0).shape->size();
    if (rank < 3) return "works on fewer than 3 dimensions";
    for (const char* name : {"kernel_shape", "strides", "dilations", "output_padding", "pads"}) {
        std::optional<std::vector<i64>> numbers = n.numbers(name);
        std::size_t each = std::string(name) == "pads" ? 2 : 1;
        if (numbers && numbers->size() != each * (rank - 2)) return std::string("has another number of ") + name + " than of dimensions";
    }
    return "";
}

// The numbers of a constant of any size.
std::optional<Array> constant(const Value& value) {
    if (value.array) return *value.array;
    if (!value.raw || !value.element) return std::nullopt;
    return array_of(*value.element, value.shape.value_or(Shape{}), *value.raw);
}

std::string recurrent(const Node& n) {
    for (std::size_t i = 0; i < 3; ++i)
        if (!n.input(i).shape) return "has an input whose shape does not follow from the graph";
    const Shape &x = *n.input(0).shape, &w = *n.input(1).shape, &r = *n.input(2).shape;
    for (const Shape* shape : {&x, &w, &r})
        if (shape->size() != 3 || std::find(shape->begin(), shape->end(), 0) != shape->end()) return "takes inputs of three dimensions, none of them 0";
    i64 hidden = r[2], gates = n.op == "RNN" ? 1 : n.op == "GRU" ? 3 : 4;
    i64 directions = n.text("direction", "forward") == "bidirectional" ? 2 : 1, layout = n.number("layout", 0);
    if (w != Shape{directions, multiply(gates, hidden), x[2]} || r != Shape{directions, multiply(gates, hidden), hidden} ||
        n.number("hidden_size", hidden) != hidden)
        return "has weights and hidden_size that disagree";
    if (layout != 0 && layout != 1) return "has a layout that is not 0 or 1";
    i64 batch = layout ? x[0] : x[1], steps = layout ? x[1] : x[0];
    Shape state = layout ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
    const std::map<std::size_t, Shape> expected = {{3, {directions, multiply(2 * gates, hidden)}}, {4, {batch}}, {5, state}, {6, state},
                                                   {7, {directions, multiply(3, hidden)}}};
    for (const auto& [i, shape] : expected)
        if (n.has(i) && n.input(i).shape != shape) return "has an input " + std::to_string(i) + " of another shape";
    if (n.has(4)) {
        std::optional<std::vector<i64>> lengths = n.input(4).integers();
        if (!lengths || std::any_of(lengths->begin(), lengths->end(), [&](i64 k) { return k <= 0 || k > steps; }))
            return "has lengths of sequences that are not known to be in range";
    }
    return "";
}

std::string division(const Node& n) {
    std::optional<i64> element = n.input(0).element;
    if (element && !is_integer(*element)) return "";
    std::optional<Array> divisor = constant(n.input(1));
    if (!divisor) return "divides integers by what is known only when it runs, which may be 0";
    if (is_integer(divisor->element))
        for (i64 k : divisor->whole)
            if (k == 0 || k == -1) return "divides integers by 0 or by -1";
    return "";
}

std::string outside(i64 low, i64 high, const std::vector<i64>& numbers) {
    for (i64 k : numbers)
        if (k < low || k >= high) return "has an index " + std::to_string(k) + " into " + std::to_string(high);
    return "";
}

std::string axis_indices(const Node& n) {
    std::optional<Array> numbers = n.input(0).shape ? constant(n.input(1)) : std::nullopt;
    if (!numbers || !is_integer(numbers->element)) return "";
    const Shape& x = *n.input(0).shape;
    i64 axis = n.number("axis", 0), rank = i64(x.size());
    if (axis < -rank || axis >= rank) return "has an axis outside its dimensions";
    i64 size = x[std::size_t(axis < 0 ? axis + rank : axis)];
    return outside(negated(size), size, numbers->whole);
}

std::string indices_nd(const Node& n) {
    if (!n.input(0).shape || !n.input(1).shape) return "has an input whose shape does not follow from the graph";
    const Shape &x = *n.input(0).shape, &indices = *n.input(1).shape;
    i64 batch = n.number("batch_dims", 0), rank = i64(x.size());
    if (indices.empty() || batch < 0 || batch >= std::min(rank, i64(indices.size())) || indices.back() < 1 || indices.back() > rank - batch)
        return "has batch_dims or indices that do not fit";
    std::optional<Array> numbers = constant(n.input(1));
    if (!numbers || !is_integer(numbers->element)) return "";
    std::size_t each = std::size_t(indices.back());
    for (std::size_t i = 0; i < numbers->whole.size(); ++i) {
        i64 size = x[std::size_t(batch) + i % each], k = numbers->whole[i];
        if (k < negated(size) || k >= size) return "has an index " + std::to_string(k) + " into " + std::to_string(size);
    }
    return "";
}

std::string checked_by_operator(const Node& n) {
    const std::string& op = n.op;
    if (is_any(op, {"RNN", "GRU", "LSTM"})) return recurrent(n);
    if (is_any(op, {"Div", "Mod"})) return division(n);
    if (is_any(op, {"Gather", "GatherElements", "ScatterElements"})) return axis_indices(n);
    if (is_any(op, {"GatherND", "ScatterND"})) return indices_nd(n);
    if (op == "Cast" || op == "EyeLike")
        return is_element(n.number(op == "Cast" ? "to" : "dtype", 1)) ? "" : "makes an element type which is not one a bundle may use";
    if (op == "OneHot" && n.input(0).shape) {
        i64 axis = n.number("axis", -1), rank = i64(n.input(0).shape->size());
        if (axis < -rank - 1 || axis > rank) return "has an axis outside its dimensions";
    }
    if (op == "Resize" && n.has(2)) {
        std::optional<Array> scales = constant(n.input(2));
        if (scales)
            for (std::size_t i = 0; i < scales->size(); ++i)
                if (!std::isfinite(scales->at(i)) || scales->at(i) <= 0) return "has scales that are not above 0";
        if (scales) {
            std::vector<i64> axes(scales->size());
            for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = i64(i);
            axes = n.numbers_or("axes", axes);
            i64 rank = n.input(0).shape ? i64(n.input(0).shape->size()) : 0;
            for (std::size_t i = 0; i < std::min(axes.size(), scales->size()); ++i)
                if ((axes[i] == 0 || axes[i] == -rank) && scales->at(i) != 1) return "resizes its first axis, the rows of a batch";
        }
    }
    return "";
}

const std::map<std::string, std::vector<std::size_t>>& sized() {  // make more elements than they take
    static const std::map<std::string, std::vector<std::size_t>> rows = {
        {"ConstantOfShape", {0}}, {"Expand", {1}}, {"Tile", {1}}, {"OneHot", {1}}, {"Pad", {1, 3}}, {"Resize", {2, 3}},
        {"Range", {0, 1, 2}}, {"Col2Im", {1, 2}}};
    return rows;
}

}  // namespace

std::string wrong_node(const Node& n) {
    const OperatorRow* row = nullptr;
    for (const OperatorRow& each : operator_rows)
        if (n.op == each.name) row = &each;
    if (!row) return "is an operator that this runtime does not run";
    i64 inputs = i64(n.inputs.size());
    if (inputs < row->least || inputs > row->most || i64(n.outputs) > row->outputs) return "has another number of inputs or outputs than the operator";
    for (i64 i = 0; i < (row->no_gaps ? inputs : row->least); ++i)
        if (!n.has(std::size_t(i))) return "lacks an input that it needs";
    std::string problem = attributes(n);
    return problem.empty() ? checked_by_operator(n) : problem;
}

std::string wrong_size(const Node& n, const std::vector<Value>& outputs, i64 rows) {
    for (const Value& value : outputs) {
        if (!value.shape) continue;
        if (!value.is_static && std::find(value.shape->begin(), value.shape->end(), 0) != value.shape->end())
            return "makes a tensor without elements";  // some kernels read the first element all the same
        if (i64(value.shape->size()) > limits::rank) return "makes a tensor of more than 16 dimensions";
        i64 limit = limits::elements * rows;
        if (limited_product(*value.shape, limit) > limit) return "asks for more than " + std::to_string(limit) + " elements";
    }
    std::vector<std::size_t> numbers;
    if (auto row = sized().find(n.op); row != sized().end())
        numbers = row->second;
    else if (n.op == "Slice")
        numbers = {1, 2, 3, 4};
    else if (is_any(n.op, {"Reshape", "Squeeze", "Unsqueeze", "Split", "TopK", "CumSum", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
                           "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"}))
        numbers = {1};
    for (std::size_t i : numbers)
        if (n.has(i) && !n.input(i).is_static) return "takes its size from values that are known only when it runs";
    if (sized().count(n.op) && !outputs.empty() && !outputs[0].shape) return "has a size that does not follow from the graph";
    return "";
}

}  // namespace vaee::onnx
