// Values and small constants: the arithmetic that graphs do with shapes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "onnx.h"

namespace vaee::onnx {

bool is_element(i64 element) { return is_real(element) || is_integer(element) || element == BOOL; }

i64 item_bytes(i64 element) {
    return element == FLOAT || element == INT32 ? 4 : element == INT64 || element == FLOAT64 ? 8 : element == FLOAT16 ? 2 : 1;
}

namespace {

double half_to_double(u32 bits) {
    int exponent = bits >> 10 & 31;
    double mantissa = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
    if (exponent == 31) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
    return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
}

double rounded_to_half(double x) {
    if (!std::isfinite(x) || x == 0) return x;
    int exponent;
    std::frexp(x, &exponent);
    double step = std::ldexp(1.0, std::max(exponent - 11, -24));
    double made = std::nearbyint(x / step) * step;
    return std::abs(made) > 65504 ? std::copysign(HUGE_VAL, x) : made;
}

i64 wrapped(i64 element, i64 n) {
    switch (element) {
        case UINT8: return u8(n);
        case INT8: return std::int8_t(u8(n));
        case INT32: return std::int32_t(u32(n));
        case BOOL: return n != 0;
        default: return n;
    }
}

i64 whole_of(double x) {  // what a cast of such a number gives is not defined in C
    if (!(x > -9223372036854775808.0 && x < 9223372036854775808.0)) return INT64_MIN;
    return i64(x);
}

double rounded(i64 element, double x) { return element == FLOAT ? double(float(x)) : element == FLOAT16 ? rounded_to_half(x) : x; }

std::vector<i64> strides_of(const Shape& shape) {
    std::vector<i64> strides(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = multiply(strides[i], shape[i]);
    return strides;
}

// Of each element of `shape` the place in an array of shape `own`, which is broadcast to it.
std::vector<std::size_t> places(const Shape& own, const Shape& shape) {
    if (own.size() > shape.size()) throw Unknown{};
    std::size_t count = std::size_t(whole_product(shape)), skip = shape.size() - own.size();
    std::vector<i64> strides = strides_of(own), index(shape.size(), 0);
    std::vector<std::size_t> made(count);
    for (std::size_t n = 0; n < count; ++n) {
        i64 place = 0;
        for (std::size_t d = 0; d < own.size(); ++d)
            if (own[d] != 1) place += index[d + skip] * strides[d];
        made[n] = std::size_t(place);
        for (std::size_t d = shape.size(); d-- > 0;) {
            if (++index[d] < shape[d]) break;
            index[d] = 0;
        }
    }
    return made;
}

Array taken(const Array& from, const Shape& shape, const std::vector<std::size_t>& where) {
    Array made{from.element, shape, {}, {}};
    for (std::size_t place : where) {
        if (from.is_real())
            made.real.push_back(from.real[place]);
        else
            made.whole.push_back(from.whole[place]);
    }
    return made;
}

struct Doubles {  // a result before it is cast to its element type
    Shape shape;
    bool is_real = false;
    std::vector<i64> whole{};
    std::vector<double> real{};
};

i64 int_power(i64 base, i64 exponent) {
    if (exponent < 0) throw Unknown{};
    u64 made = 1, b = u64(base);
    for (u64 e = u64(exponent); e; e >>= 1, b *= b)
        if (e & 1) made *= b;
    return i64(made);
}

Doubles binary(const std::string& op, const Doubles& a, const Doubles& b, bool truth) {
    Doubles made{broadcast({a.shape, b.shape})};
    std::vector<std::size_t> from_a = places(a.shape, made.shape), from_b = places(b.shape, made.shape);
    bool real = a.is_real || b.is_real;
    bool compares = op == "Equal" || op == "Less" || op == "Greater" || op == "LessOrEqual" || op == "GreaterOrEqual" ||
                    op == "And" || op == "Or" || op == "Xor";
    if (truth && (op == "Sub" || op == "Pow")) throw Unknown{};
    made.is_real = real && !compares;
    for (std::size_t n = 0; n < from_a.size(); ++n) {
        std::size_t i = from_a[n], j = from_b[n];
        double x = a.is_real ? a.real[i] : double(a.whole[i]), y = b.is_real ? b.real[j] : double(b.whole[j]);
        u64 k = a.is_real ? 0 : u64(a.whole[i]), l = b.is_real ? 0 : u64(b.whole[j]);
        i64 k_signed = i64(k), l_signed = i64(l);
        if (compares) {
            bool less = real ? x < y : k_signed < l_signed, same = real ? x == y : k == l;
            bool greater = real ? x > y : k_signed > l_signed;
            bool is = op == "Equal" ? same : op == "Less" ? less : op == "Greater" ? greater : op == "LessOrEqual" ? less || same :
                      op == "GreaterOrEqual" ? greater || same : op == "And" ? x != 0 && y != 0 : op == "Or" ? x != 0 || y != 0 :
                      (x != 0) != (y != 0);
            made.whole.push_back(is);
        } else if (real) {
            double r = op == "Add" || op == "Sum" ? x + y : op == "Sub" ? x - y : op == "Mul" ? x * y : op == "Pow" ? std::pow(x, y) :
                       std::isnan(x) || std::isnan(y) ? std::nan("") : op == "Min" ? std::min(x, y) : std::max(x, y);
            made.real.push_back(r);
        } else {
            i64 r = op == "Add" || op == "Sum" ? i64(k + l) : op == "Sub" ? i64(k - l) : op == "Mul" ? i64(k * l) :
                    op == "Pow" ? int_power(k_signed, l_signed) : op == "Min" ? std::min(k_signed, l_signed) : std::max(k_signed, l_signed);
            made.whole.push_back(r);
        }
    }
    return made;
}

using Unary = double (*)(double);
const std::pair<const char*, Unary> unary_functions[] = {
    {"Floor", std::floor}, {"Ceil", std::ceil}, {"Round", std::nearbyint}, {"Sqrt", std::sqrt}, {"Exp", std::exp}, {"Log", std::log},
    {"Sin", std::sin}, {"Cos", std::cos}, {"Tan", std::tan}, {"Sinh", std::sinh}, {"Cosh", std::cosh}, {"Tanh", std::tanh},
    {"Asin", std::asin}, {"Acos", std::acos}, {"Atan", std::atan}, {"Asinh", std::asinh}, {"Acosh", std::acosh},
    {"Atanh", std::atanh}, {"Erf", std::erf},
    {"Sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }},
    {"Softplus", [](double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }}};

bool is_unary(const std::string& op) {
    static const char* names[] = {"Identity", "Neg", "Abs", "Sign", "Not", "Reciprocal", "Relu", "IsNaN", "IsInf"};
    for (const char* name : names)
        if (op == name) return true;
    for (const auto& row : unary_functions)
        if (op == row.first) return true;
    return false;
}

Doubles unary(const std::string& op, const Doubles& a, bool truth) {
    Doubles made{a.shape, a.is_real, {}, {}};
    for (const auto& [name, function] : unary_functions) {
        if (op != name) continue;
        bool keeps = !a.is_real && (op == "Floor" || op == "Ceil" || op == "Round");
        if (keeps) return a;
        made.is_real = true;
        for (std::size_t i = 0; i < std::max(a.real.size(), a.whole.size()); ++i) made.real.push_back(function(a.is_real ? a.real[i] : double(a.whole[i])));
        return made;
    }
    if (op == "Identity") return a;
    if (truth && (op == "Neg" || op == "Sign")) throw Unknown{};
    if (op == "Not" || op == "IsNaN" || op == "IsInf") {
        made.is_real = false;
        for (std::size_t i = 0; i < std::max(a.real.size(), a.whole.size()); ++i) {
            double x = a.is_real ? a.real[i] : double(a.whole[i] != 0);
            made.whole.push_back(op == "Not" ? x == 0 : op == "IsNaN" ? std::isnan(x) : std::isinf(x));
        }
        return made;
    }
    for (double x : a.real)
        made.real.push_back(op == "Neg" ? -x : op == "Abs" ? std::abs(x) : op == "Sign" ? (std::isnan(x) ? x : double((x > 0) - (x < 0))) :
                            op == "Reciprocal" ? 1 / x : std::isnan(x) ? x : std::max(x, 0.0));
    for (i64 n : a.whole)
        made.whole.push_back(op == "Neg" ? i64(-u64(n)) : op == "Abs" ? (n < 0 ? i64(-u64(n)) : n) : op == "Sign" ? (n > 0) - (n < 0) :
                             op == "Reciprocal" ? (n == 1 || n == -1 ? n : n == 0 ? INT64_MIN : 0) : std::max(n, i64(0)));
    return made;
}

Doubles plain(const Array& a) { return {a.shape, a.is_real(), a.whole, a.real}; }

Doubles quotient(const std::string& op, const Doubles& a, const Doubles& b, bool truncated) {
    Doubles made{broadcast({a.shape, b.shape})};
    std::vector<std::size_t> from_a = places(a.shape, made.shape), from_b = places(b.shape, made.shape);
    made.is_real = a.is_real;
    for (std::size_t n = 0; n < from_a.size(); ++n) {
        std::size_t i = from_a[n], j = from_b[n];
        if (a.is_real) {
            double x = a.real[i], y = b.is_real ? b.real[j] : double(b.whole[j]), r = x / y;
            if (op == "Mod") {
                r = std::fmod(x, y);
                if (!truncated && r != 0 && (r < 0) != (y < 0)) r += y;
            }
            made.real.push_back(r);
            continue;
        }
        if (b.is_real) throw Unknown{};
        i64 x = a.whole[i], y = b.whole[j];
        if (y == 0) throw Unknown{};
        if (op == "Mod")
            made.whole.push_back(y == -1 ? 0 : truncated ? x % y : floor_modulo(x, y));
        else
            made.whole.push_back(y == -1 ? i64(-u64(x)) : x / y);
    }
    return made;
}

Doubles reduced(const Node& node, const Doubles& a) {
    std::optional<std::vector<i64>> axes = node.given(1, "axes");
    std::vector<bool> gone(a.shape.size(), !axes || axes->empty());
    if (axes)
        for (i64 axis : *axes) {
            std::size_t d = std::size_t(axis_of(axis, a.shape.size()));
            if (gone[d]) throw Unknown{};  // twice
            gone[d] = true;
        }
    Shape kept;
    for (std::size_t d = 0; d < a.shape.size(); ++d) kept.push_back(gone[d] ? 1 : a.shape[d]);
    std::size_t count = std::size_t(whole_product(kept));
    std::vector<std::size_t> where = places(kept, a.shape);
    Doubles made{kept, a.is_real || node.op == "ReduceMean", {}, {}};
    bool smallest = node.op == "ReduceMin", product = node.op == "ReduceProd", largest = node.op == "ReduceMax";
    if (where.empty() && (smallest || largest)) throw Unknown{};
    std::vector<double> real(count, product ? 1 : smallest ? HUGE_VAL : largest ? -HUGE_VAL : 0);
    std::vector<i64> whole(count, product ? 1 : smallest ? INT64_MAX : largest ? INT64_MIN : 0);
    for (std::size_t i = 0; i < where.size(); ++i) {
        double x = a.is_real ? a.real[i] : double(a.whole[i]), &r = real[where[i]];
        r = product ? r * x : smallest ? (std::isnan(x) ? x : std::min(r, x)) : largest ? (std::isnan(x) ? x : std::max(r, x)) : r + x;
        if (a.is_real) continue;
        i64 n = a.whole[i], &w = whole[where[i]];
        w = product ? i64(u64(w) * u64(n)) : smallest ? std::min(w, n) : largest ? std::max(w, n) : i64(u64(w) + u64(n));
    }
    if (node.op == "ReduceMean")
        for (double& r : real) r /= double(where.size()) / double(count);
    if (made.is_real)
        made.real = real;
    else
        made.whole = whole;
    return made;
}

Doubles product_of(const Doubles& a, const Doubles& b) {
    if (a.shape.empty() || b.shape.empty()) throw Unknown{};
    Shape left = a.shape, right = b.shape;
    if (left.size() == 1) left.insert(left.begin(), 1);
    if (right.size() == 1) right.push_back(1);
    i64 rows = left[left.size() - 2], inner = left.back(), columns = right.back();
    if (right[right.size() - 2] != inner) throw Unknown{};
    Shape outer_a(left.begin(), left.end() - 2), outer_b(right.begin(), right.end() - 2), outer = broadcast({outer_a, outer_b});
    std::vector<std::size_t> from_a = places(outer_a, outer), from_b = places(outer_b, outer);
    Doubles made{outer, a.is_real || b.is_real, {}, {}};
    if (a.shape.size() > 1) made.shape.push_back(rows);
    if (b.shape.size() > 1) made.shape.push_back(columns);
    for (std::size_t n = 0; n < from_a.size(); ++n)
        for (i64 i = 0; i < rows; ++i)
            for (i64 j = 0; j < columns; ++j) {
                double sum = 0;
                u64 total = 0;
                for (i64 k = 0; k < inner; ++k) {
                    std::size_t p = std::size_t((i64(from_a[n]) * rows + i) * inner + k);
                    std::size_t q = std::size_t((i64(from_b[n]) * inner + k) * columns + j);
                    double x = a.is_real ? a.real[p] : double(a.whole[p]), y = b.is_real ? b.real[q] : double(b.whole[q]);
                    sum += x * y;
                    if (!made.is_real) total += u64(a.whole[p]) * u64(b.whole[q]);
                }
                if (made.is_real)
                    made.real.push_back(sum);
                else
                    made.whole.push_back(i64(total));
            }
    return made;
}

Array moved(const Node& node, const Array& first, const Shape& shape) {
    const std::string& op = node.op;
    if (op == "Expand") return taken(first, shape, places(first.shape, shape));
    if (op == "Tile" || op == "Transpose" || op == "Slice") {
        std::vector<i64> strides = strides_of(first.shape);
        std::size_t rank = first.shape.size();
        std::vector<i64> start(rank, 0), step = strides, wrap(rank, INT64_MAX), length = shape;
        if (length.size() != rank) throw Unknown{};
        if (op == "Tile") wrap = first.shape;
        if (op == "Transpose") {
            std::vector<i64> order = node.numbers("perm").value_or(std::vector<i64>{});
            if (!node.numbers("perm"))
                for (std::size_t d = rank; d-- > 0;) order.push_back(i64(d));
            for (std::size_t d = 0; d < rank; ++d) step[d] = strides[std::size_t(axis_of(at(order, i64(d)), rank))];
        }
        if (op == "Slice") {
            std::vector<Cut> cuts = slices_of(node, first.shape);
            for (std::size_t d = 0; d < rank; ++d) start[d] = cuts[d].start * strides[d], step[d] = cuts[d].count > 1 ? cuts[d].step * strides[d] : 0;
        }
        std::size_t count = std::size_t(whole_product(length));
        std::vector<i64> index(rank, 0);
        std::vector<std::size_t> where;
        for (std::size_t n = 0; n < count; ++n) {
            i64 place = 0;
            for (std::size_t d = 0; d < rank; ++d) place += start[d] + (index[d] % wrap[d]) * step[d];
            if (place < 0 || std::size_t(place) >= first.size()) throw Unknown{};
            where.push_back(std::size_t(place));
            for (std::size_t d = rank; d-- > 0;) {
                if (++index[d] < length[d]) break;
                index[d] = 0;
            }
        }
        return taken(first, shape, where);
    }
    if (op == "Gather") {
        std::optional<std::vector<i64>> indices = node.input(1).integers();
        std::size_t axis = std::size_t(axis_of(node.number("axis", 0), first.shape.size()));
        i64 before = whole_product(cut(first.shape, 0, i64(axis))), after = whole_product(cut(first.shape, i64(axis) + 1, INT64_MAX));
        std::vector<std::size_t> where;
        for (i64 b = 0; b < before; ++b)
            for (i64 i : need(indices)) {
                i64 k = axis_of(i, std::size_t(first.shape[axis]));
                for (i64 a = 0; a < after; ++a) where.push_back(std::size_t((b * first.shape[axis] + k) * after + a));
            }
        return taken(first, shape, where);
    }
    // Concat
    std::size_t rank = first.shape.size(), axis = std::size_t(axis_of(node.number("axis", 0), rank));
    i64 before = whole_product(cut(shape, 0, i64(axis)));
    Array made{first.element, shape, {}, {}};
    for (i64 b = 0; b < before; ++b)
        for (const ValuePointer& input : node.inputs) {
            const Array& a = need(input->array);
            if (a.is_real() != first.is_real() || a.shape.size() != rank) throw Unknown{};
            std::size_t piece = before ? a.size() / std::size_t(before) : 0, begin = std::size_t(b) * piece;
            for (std::size_t i = begin; i < begin + piece; ++i) {
                if (a.is_real())
                    made.real.push_back(a.real[i]);
                else
                    made.whole.push_back(a.whole[i]);
            }
        }
    return made;
}

bool is_any(const std::string& op, std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* name) { return op == name; });
}

}  // namespace

Array made_array(i64 element, const Shape& shape, const std::vector<i64>& whole, const std::vector<double>& real, bool from_real) {
    Array made{element, shape, {}, {}};
    std::size_t count = from_real ? real.size() : whole.size();
    for (std::size_t i = 0; i < count; ++i) {
        if (made.is_real())
            made.real.push_back(rounded(element, from_real ? real[i] : double(whole[i])));
        else if (element == BOOL)
            made.whole.push_back(from_real ? real[i] != 0 : whole[i] != 0);
        else
            made.whole.push_back(wrapped(element, from_real ? whole_of(real[i]) : whole[i]));
    }
    return made;
}

std::optional<Array> array_of(i64 element, const Shape& shape, std::string_view raw) {
    Array made{element, shape, {}, {}};
    std::size_t each = std::size_t(item_bytes(element));
    for (std::size_t at = 0; at + each <= raw.size(); at += each) {
        u64 bits = 0;
        for (std::size_t i = 0; i < each; ++i) bits |= u64(u8(raw[at + i])) << 8 * i;
        if (element == FLOAT) {
            u32 low = u32(bits);
            float x;
            std::memcpy(&x, &low, 4);
            made.real.push_back(x);
        } else if (element == FLOAT64) {
            double x;
            std::memcpy(&x, &bits, 8);
            made.real.push_back(x);
        } else if (element == FLOAT16) {
            made.real.push_back(half_to_double(u32(bits)));
        } else {
            made.whole.push_back(wrapped(element, i64(bits)));
        }
    }
    return made;
}

std::optional<std::vector<i64>> Value::integers() const {
    if (!array || !is_integer(array->element)) return std::nullopt;
    return array->whole;
}

const Value& Node::input(std::size_t i) const {
    static const Value nothing;
    return has(i) ? *inputs[i] : nothing;
}

const Message* Node::attribute(const char* name) const {
    for (const auto& entry : *attributes)
        if (entry.first == name) return &entry.second;
    return nullptr;
}

i64 Node::number(const char* name, i64 otherwise) const {
    const Message* message = attribute(name);
    return message ? message->integer(3, otherwise) : otherwise;
}

std::optional<std::vector<i64>> Node::numbers(const char* name) const {
    const Message* message = attribute(name);
    if (!message) return std::nullopt;
    return message->integers(8);
}

std::vector<i64> Node::numbers_or(const char* name, const std::vector<i64>& otherwise) const {
    std::optional<std::vector<i64>> own = numbers(name);
    return own && !own->empty() ? *own : otherwise;
}

std::string Node::text(const char* name, const char* otherwise) const {
    const Message* message = attribute(name);
    if (!message || message->blobs(4).empty()) return otherwise;
    return std::string(message->blobs(4)[0]);
}

std::optional<std::vector<i64>> Node::given(std::size_t i, const char* name) const {
    if (has(i)) return need(input(i).integers());
    return numbers(name);
}

i64 axis_of(i64 axis, std::size_t rank) {
    i64 n = i64(rank);
    fit(-n <= axis && axis < n, "an axis outside its dimensions");
    return axis < 0 ? axis + n : axis;
}

Shape broadcast(const std::vector<Shape>& shapes) {
    std::size_t rank = 0;
    for (const Shape& shape : shapes) rank = std::max(rank, shape.size());
    Shape made(rank, 1);
    if (shapes.size() == 2 && shapes[0] == shapes[1]) return shapes[0];
    for (const Shape& shape : shapes)
        for (std::size_t i = 0; i < shape.size(); ++i) {
            i64 n = shape[i], &own = made[i + rank - shape.size()];
            if (n == 1) continue;
            fit(own == 1 || own == n, "shapes that do not fit each other");
            own = n;
        }
    return made;
}

i64 at(const std::vector<i64>& list, i64 index) {
    i64 n = i64(list.size());
    fit(-n <= index && index < n, "fewer numbers than dimensions");
    return list[std::size_t(index < 0 ? index + n : index)];
}

Shape cut(const Shape& list, i64 start, i64 end) {
    i64 n = i64(list.size());
    auto place = [n](i64 i) { return std::min(std::max(i < 0 ? add(i, n) : i, i64(0)), n); };
    start = place(start), end = place(end);
    return start < end ? Shape(list.begin() + start, list.begin() + end) : Shape();
}

i64 whole_product(const std::vector<i64>& sizes) {
    i64 count = 1;
    for (i64 n : sizes) {
        if (n == 0) return 0;
        count = multiply(count, n);
    }
    return count;
}

i64 limited_product(const std::vector<i64>& sizes, i64 limit) {
    i64 count = 1;
    for (i64 n : sizes) {
        count = multiply(count, std::max(n < 0 ? negated(n) : n, i64(1)));
        if (count > limit) break;
    }
    return count;
}

std::vector<Cut> slices_of(const Node& node, const Shape& shape) {
    std::vector<i64> starts = need(node.input(1).integers()), ends = need(node.input(2).integers()), axes, steps(starts.size(), 1);
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), i64(0));
    if (node.has(3)) axes = need(node.input(3).integers());
    if (node.has(4)) steps = need(node.input(4).integers());
    fit(ends.size() == starts.size() && axes.size() == starts.size() && steps.size() == starts.size(), "operands that do not fit the operator");
    std::vector<Cut> cuts;
    for (i64 n : shape) cuts.push_back({0, 1, n});
    for (std::size_t i = 0; i < starts.size(); ++i) {
        std::size_t axis = std::size_t(axis_of(axes[i], shape.size()));
        i64 n = shape[axis], step = steps[i], low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n;
        fit(step != 0, "a step of 0");
        auto place = [&](i64 k) { return k < 0 ? std::max(add(k, n), low) : std::min(k, high); };
        i64 start = place(starts[i]), end = place(ends[i]);
        i64 room = step > 0 ? end - start : start - end, size = step > 0 ? step : negated(step);
        cuts[axis] = {start, step, room > 0 ? (room - 1) / size + 1 : 0};
    }
    return cuts;
}

Shape sliced(const Node& node) {
    Shape made;
    for (const Cut& piece : slices_of(node, node.shape(0))) made.push_back(piece.count);
    return made;
}

std::optional<Array> evaluate(const Node& node, const Shape& shape, const std::optional<i64>& element) {
    std::vector<const Array*> arrays;
    for (const ValuePointer& input : node.inputs)
        if (input) arrays.push_back(&need(input->array));
    if (arrays.empty() || whole_product(shape) > limits::known_elements) return std::nullopt;
    const Array& first = *arrays[0];
    const std::string& op = node.op;
    bool truth = first.element == BOOL;
    Doubles result;
    if (is_any(op, {"Add", "Sub", "Mul", "Pow", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor", "Min", "Max", "Sum"})) {
        result = plain(first);
        for (std::size_t i = 1; i < arrays.size(); ++i) result = binary(op, result, plain(*arrays[i]), truth);
    } else if (op == "MatMul") {
        if (arrays.size() < 2) return std::nullopt;
        result = product_of(plain(first), plain(*arrays[1]));
    } else if (is_unary(op)) {
        result = unary(op, plain(first), truth);
    } else if (is_any(op, {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "CastLike"})) {
        result = plain(first);
    } else if (is_any(op, {"Expand", "Tile", "Concat", "Gather", "Slice", "Transpose"})) {
        result = plain(moved(node, first, shape));
    } else if (op == "Where") {
        if (arrays.size() != 3) return std::nullopt;
        const Array &yes = *arrays[1], &no = *arrays[2];
        std::vector<std::size_t> c = places(first.shape, shape), y = places(yes.shape, shape), n = places(no.shape, shape);
        result = {shape, yes.is_real() || no.is_real(), {}, {}};
        for (std::size_t i = 0; i < c.size(); ++i) {
            const Array& chosen = first.at(c[i]) != 0 ? yes : no;
            std::size_t place = first.at(c[i]) != 0 ? y[i] : n[i];
            if (result.is_real)
                result.real.push_back(chosen.at(place));
            else
                result.whole.push_back(chosen.whole[place]);
        }
    } else if (op == "Range") {
        if (arrays.size() != 3) return std::nullopt;
        result = {shape, first.is_real(), {}, {}};
        for (i64 i = 0; i < whole_product(shape); ++i) {
            if (result.is_real)
                result.real.push_back(first.at(0) + double(i) * arrays[2]->at(0));
            else
                result.whole.push_back(i64(u64(first.whole.at(0)) + u64(i) * u64(arrays[2]->whole.at(0))));
        }
    } else if (op == "Div" || op == "Mod") {
        if (arrays.size() < 2) return std::nullopt;
        result = quotient(op, plain(first), plain(*arrays[1]), node.number("fmod", 0) == 1);
    } else if (is_any(op, {"ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceMean"})) {
        result = reduced(node, plain(first));
    } else {
        return std::nullopt;
    }
    i64 kind = need(element);
    if (!is_element(kind)) throw Unknown{};
    std::size_t count = result.is_real ? result.real.size() : result.whole.size();
    if (i64(count) != whole_product(shape)) throw Unknown{};
    return made_array(kind, shape, result.whole, result.real, result.is_real);
}

}  // namespace vaee::onnx
