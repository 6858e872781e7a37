// A look through an ONNX file before any engine sees it, with nothing but the wire format; as the Python scanner does.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base.h"
#include "tables.h"

namespace vaee::onnx {

[[noreturn]] inline void refuse(const std::string& problem) { fail(VAEE_GRAPH_REFUSED, problem); }

// --- the wire format -------------------------------------------------------------------------------------------

struct Message {
    struct Field {
        u64 number;
        bool is_number;
        u64 value;
        std::string_view blob;
    };
    std::vector<Field> fields;

    bool has(u64 number) const;
    std::vector<i64> integers(u64 number) const;  // packed ones unpacked
    i64 integer(u64 number, i64 otherwise = 0) const;
    std::vector<std::string_view> blobs(u64 number) const;
    std::string text(u64 number) const;
};

enum Table { model_table, opset_table, entry_table, graph_table, node_table, attribute_table, tensor_table,
             value_info_table, type_table, tensor_type_table, shape_table, dimension_table };
Message parse(std::string_view data, Table table, const std::string& where);

// --- what is known of tensors ----------------------------------------------------------------------------------

using Shape = std::vector<i64>;
enum Element { FLOAT = 1, UINT8 = 2, INT8 = 3, INT32 = 6, INT64 = 7, BOOL = 9, FLOAT16 = 10, FLOAT64 = 11 };
bool is_element(i64 element);
i64 item_bytes(i64 element);
inline bool is_real(i64 element) { return element == FLOAT || element == FLOAT16 || element == FLOAT64; }
inline bool is_integer(i64 element) { return element == UINT8 || element == INT8 || element == INT32 || element == INT64; }

struct Unknown {};          // arithmetic does not tell; nothing is wrong with the graph
struct Mismatch {           // shapes that no engine can put together
    std::string problem;
};
inline void fit(bool good, const char* problem) {
    if (!good) throw Mismatch{problem};
}

// Numbers of one tensor: whole ones in `whole`, others in `real`, each rounded to the element type.
struct Array {
    i64 element;
    Shape shape;
    std::vector<i64> whole;
    std::vector<double> real;
    bool is_real() const { return onnx::is_real(element); }
    std::size_t size() const { return is_real() ? real.size() : whole.size(); }
    double at(std::size_t i) const { return is_real() ? real[i] : double(whole[i]); }
};
std::optional<Array> array_of(i64 element, const Shape& shape, std::string_view raw);
Array made_array(i64 element, const Shape& shape, const std::vector<i64>& whole, const std::vector<double>& real, bool from_real);

struct Value {
    std::optional<Shape> shape;
    std::optional<i64> element;
    bool is_static = false;
    std::shared_ptr<const Array> array;
    std::optional<std::string_view> raw;

    std::optional<std::vector<i64>> integers() const;
};
using ValuePointer = std::shared_ptr<const Value>;

template <class T>
const T& need(const std::optional<T>& value) {
    if (!value) throw Unknown{};
    return *value;
}
inline const Array& need(const std::shared_ptr<const Array>& value) {
    if (!value) throw Unknown{};
    return *value;
}

struct Node {
    std::string op;
    std::vector<ValuePointer> inputs;  // null: left out
    std::size_t outputs;
    const std::vector<std::pair<std::string, Message>>* attributes;

    const Value& input(std::size_t i) const;
    bool has(std::size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
    const Shape& shape(std::size_t i) const { return need(input(i).shape); }
    const Message* attribute(const char* name) const;
    i64 number(const char* name, i64 otherwise) const;
    std::optional<std::vector<i64>> numbers(const char* name) const;
    std::vector<i64> numbers_or(const char* name, const std::vector<i64>& otherwise) const;  // also of an empty list
    std::string text(const char* name, const char* otherwise) const;
    std::optional<std::vector<i64>> given(std::size_t i, const char* name) const;
};

i64 axis_of(i64 axis, std::size_t rank);
Shape broadcast(const std::vector<Shape>& shapes);
i64 at(const std::vector<i64>& list, i64 index);                                   // a Mismatch outside
Shape cut(const Shape& list, i64 start, i64 end);                                  // as list[start:end] of Python
i64 whole_product(const std::vector<i64>& sizes);
i64 limited_product(const std::vector<i64>& sizes, i64 limit);                     // a size of 0 counts as 1
struct Cut {
    i64 start, step, count;
};
std::vector<Cut> slices_of(const Node& node, const Shape& shape);
Shape sliced(const Node& node);
std::optional<Array> evaluate(const Node& node, const Shape& shape, const std::optional<i64>& element);

std::vector<Value> infer(const Node& node, const Value* constant);
std::vector<std::optional<Shape>> shapes_made(const Node& node);                   // by layers and by everything else
std::string wrong_node(const Node& node);                                          // empty: nothing is wrong
std::string wrong_size(const Node& node, const std::vector<Value>& outputs, i64 rows);

// --- the whole -------------------------------------------------------------------------------------------------

struct Dimension {
    bool is_number = false;
    i64 number = 0;
    std::string name;  // empty: nothing is said
};
struct ValueFacts {
    std::string name;
    i64 element;
    std::vector<Dimension> dims;
};
struct Facts {
    i64 ir_version = 0, opset = 0;
    std::vector<ValueFacts> inputs, outputs;
    std::vector<std::pair<std::string, std::string>> metadata;
    bool signed_weights = false;  // 8-bit weights have a sign, so that some engines add up their products in 16 bits
};
Facts scan(std::string_view raw, const std::function<void(const Facts&)>& check);

}  // namespace vaee::onnx
