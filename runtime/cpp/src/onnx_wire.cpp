#include "onnx.h"

namespace vaee::onnx {

namespace {

// Kinds of field: I varint, F fixed32, B bytes, S text; i, f, d numbers, packed or one by one. '*': any number of them.
struct FieldRow {
    Table table;
    u64 number;
    char kind;
    bool many;
};
constexpr FieldRow known_fields[] = {
    {model_table, 1, 'I', false}, {model_table, 2, 'S', false}, {model_table, 3, 'S', false}, {model_table, 4, 'S', false},
    {model_table, 5, 'I', false}, {model_table, 6, 'S', false}, {model_table, 7, 'B', true}, {model_table, 8, 'B', true},
    {model_table, 14, 'B', true},
    {opset_table, 1, 'S', false}, {opset_table, 2, 'I', false},
    {entry_table, 1, 'S', false}, {entry_table, 2, 'S', false},
    {graph_table, 1, 'B', true}, {graph_table, 2, 'S', false}, {graph_table, 5, 'B', true}, {graph_table, 10, 'S', false},
    {graph_table, 11, 'B', true}, {graph_table, 12, 'B', true}, {graph_table, 13, 'B', true}, {graph_table, 16, 'B', true},
    {node_table, 1, 'S', true}, {node_table, 2, 'S', true}, {node_table, 3, 'S', false}, {node_table, 4, 'S', false},
    {node_table, 5, 'B', true}, {node_table, 6, 'S', false}, {node_table, 7, 'S', false}, {node_table, 9, 'B', true},
    {attribute_table, 1, 'S', false}, {attribute_table, 2, 'F', false}, {attribute_table, 3, 'I', false},
    {attribute_table, 4, 'B', false}, {attribute_table, 5, 'B', false}, {attribute_table, 7, 'f', true},
    {attribute_table, 8, 'i', true}, {attribute_table, 9, 'B', true}, {attribute_table, 10, 'B', true},
    {attribute_table, 13, 'S', false}, {attribute_table, 20, 'I', false},
    {tensor_table, 1, 'i', true}, {tensor_table, 2, 'I', false}, {tensor_table, 4, 'f', true}, {tensor_table, 5, 'i', true},
    {tensor_table, 7, 'i', true}, {tensor_table, 8, 'S', false}, {tensor_table, 9, 'B', false}, {tensor_table, 10, 'd', true},
    {tensor_table, 11, 'i', true}, {tensor_table, 12, 'S', false}, {tensor_table, 14, 'I', false}, {tensor_table, 16, 'B', true},
    {value_info_table, 1, 'S', false}, {value_info_table, 2, 'B', false}, {value_info_table, 3, 'S', false},
    {value_info_table, 4, 'B', true},
    {type_table, 1, 'B', false}, {type_table, 6, 'S', false},
    {tensor_type_table, 1, 'I', false}, {tensor_type_table, 2, 'B', false},
    {shape_table, 1, 'B', true},
    {dimension_table, 1, 'I', false}, {dimension_table, 2, 'S', false}, {dimension_table, 3, 'S', false}};

// What a reader of the message will want to know by name.
const char* forbidden(Table table, u64 number) {
    static const struct {
        Table table;
        u64 number;
        const char* name;
    } rows[] = {{model_table, 20, "training information"}, {model_table, 25, "local functions"},
                {graph_table, 14, "quantization annotations"}, {graph_table, 15, "sparse initializers"},
                {node_table, 8, "an operator overload"}, {attribute_table, 6, "a subgraph"}, {attribute_table, 11, "subgraphs"},
                {attribute_table, 21, "a reference to a function's attribute"}, {attribute_table, 22, "a sparse tensor"},
                {attribute_table, 23, "sparse tensors"}, {tensor_table, 3, "a tensor segment"},
                {tensor_table, 6, "a string tensor"}, {tensor_table, 13, "external data"}};
    for (const auto& row : rows)
        if (row.table == table && row.number == number) return row.name;
    return nullptr;
}

bool fits(char kind, unsigned wire) {
    switch (kind) {
        case 'I': return wire == 0;
        case 'F': return wire == 5;
        case 'B': case 'S': return wire == 2;
        case 'i': return wire == 0 || wire == 2;
        case 'f': return wire == 5 || wire == 2;
        default: return wire == 1 || wire == 2;
    }
}

u64 varint(std::string_view data, std::size_t& at) {
    u64 value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (at >= data.size()) refuse("the file ends inside a number: it is cut short or damaged");
        u8 byte = u8(data[at++]);
        if (shift == 63 && byte > 1) break;
        value |= u64(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    refuse("a number is longer than 64 bits: the file is damaged");
}

}  // namespace

bool Message::has(u64 number) const {
    for (const Field& field : fields)
        if (field.number == number) return true;
    return false;
}

std::vector<i64> Message::integers(u64 number) const {
    std::vector<i64> made;
    for (const Field& field : fields) {
        if (field.number != number) continue;
        if (field.is_number) {
            made.push_back(i64(field.value));
            continue;
        }
        for (std::size_t at = 0; at < field.blob.size();) made.push_back(i64(varint(field.blob, at)));
    }
    return made;
}

i64 Message::integer(u64 number, i64 otherwise) const {
    for (const Field& field : fields) {
        if (field.number != number) continue;
        if (field.is_number) return i64(field.value);
        std::size_t at = 0;
        if (!field.blob.empty()) return i64(varint(field.blob, at));
    }
    return otherwise;
}

std::vector<std::string_view> Message::blobs(u64 number) const {
    std::vector<std::string_view> made;
    for (const Field& field : fields)
        if (field.number == number && !field.is_number) made.push_back(field.blob);
    return made;
}

std::string Message::text(u64 number) const {
    for (const Field& field : fields)
        if (field.number == number && !field.is_number) return std::string(field.blob);
    return "";
}

Message parse(std::string_view data, Table table, const std::string& where) {
    Message message;
    std::size_t at = 0;
    i64 count = 0;
    bool seen[32] = {};
    while (at < data.size()) {
        if (++count > limits::fields) refuse(where + ": holds more fields than the limit");
        u64 tag = varint(data, at), number = tag >> 3;
        unsigned wire = tag & 7;
        const FieldRow* row = nullptr;
        for (const FieldRow& known : known_fields)
            if (known.table == table && known.number == number) row = &known;
        if (!row) {
            const char* name = forbidden(table, number);
            refuse(where + (name ? std::string(": holds ") + name + ", which a bundle may not"
                                 : ": holds the unknown field " + std::to_string(number)));
        }
        if (!fits(row->kind, wire)) refuse(where + ": a field has another wire type: the file is damaged");
        Message::Field field{number, wire == 0, 0, {}};
        if (wire == 0) {
            field.value = varint(data, at);
        } else {
            u64 size = wire == 1 ? 8 : wire == 5 ? 4 : varint(data, at);
            if (size > data.size() - at) refuse(where + ": a field is longer than the file: it is cut short or damaged");
            field.blob = data.substr(at, std::size_t(size));
            at += std::size_t(size);
        }
        if (row->kind == 'S' && !is_utf8(field.blob)) refuse(where + ": a text is not UTF-8");
        if (!row->many && seen[number]) refuse(where + ": field " + std::to_string(number) + " occurs twice");
        seen[number] = true;
        message.fields.push_back(field);
    }
    return message;
}

}  // namespace vaee::onnx
