// The shape that each operator makes of the shapes of its inputs, for one number of rows.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "onnx.h"

namespace vaee::onnx {

namespace {

using Shapes = std::vector<std::optional<Shape>>;

Shape joined(Shape a, const Shape& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}
Shape first_of(const Shape& s, i64 n) { return cut(s, 0, n); }
Shape rest_of(const Shape& s, i64 n) { return cut(s, n, INT64_MAX); }
Shape ones(std::size_t n) { return Shape(n, 1); }

i64 divided_up(i64 a, i64 b) {
    fit(b != 0, "a division by 0");
    return negated(floor_divide(negated(a), b));
}

const std::vector<i64>& one_of(const std::optional<std::vector<i64>>& numbers) {
    const std::vector<i64>& own = need(numbers);
    fit(own.size() == 1, "several numbers for one");
    return own;
}

Shape checked(const std::vector<i64>& sizes) {
    if (i64(sizes.size()) > limits::rank || std::any_of(sizes.begin(), sizes.end(), [](i64 n) { return n < 0; })) throw Unknown{};
    return sizes;
}

i64 floored(double x) {
    fit(std::isfinite(x), "a size that is no number");
    x = std::floor(x);
    return x >= 9.2e18 ? INT64_MAX : x <= -9.2e18 ? INT64_MIN : i64(x);
}

Shape reduce(const Node& n) {
    const Shape& x = n.shape(0);
    i64 keep = n.number("keepdims", 1);
    std::optional<std::vector<i64>> axes;
    if (n.op == "ArgMax" || n.op == "ArgMin")
        axes = std::vector<i64>{n.number("axis", 0)};
    else
        axes = n.given(1, "axes");
    bool none = !axes || axes->empty();
    if (none && n.number("noop_with_empty_axes", 0)) return x;
    std::vector<bool> gone(x.size(), none);
    if (!none)
        for (i64 axis : *axes) gone[std::size_t(axis_of(axis, x.size()))] = true;
    Shape made;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (keep || !gone[i]) made.push_back(gone[i] ? 1 : x[i]);
    return made;
}

Shape topk(const Node& n) {
    Shape x = n.shape(0);
    i64 axis = n.number("axis", -1), k = one_of(n.input(1).integers())[0];
    std::size_t place = std::size_t(axis_of(axis, x.size()));
    fit(0 <= k && k <= x[place], "more of the largest than there are");
    x[place] = k;
    return x;
}

Shape range(const Node& n) {
    double number[3];
    i64 whole[3] = {};
    bool real = false;
    for (std::size_t i = 0; i < 3; ++i) {
        const Array& a = need(n.input(i).array);
        fit(a.size() == 1, "several numbers for one");
        number[i] = a.at(0);
        if (!a.is_real()) whole[i] = a.whole[0];
        real = real || a.is_real();
    }
    fit(number[2] != 0, "a step of 0");
    if (!real) return {std::max(i64(0), divided_up(subtract(whole[1], whole[0]), whole[2]))};
    double length = (number[1] - number[0]) / number[2];
    fit(std::isfinite(length), "a length that is no number");
    return {std::max(i64(0), floored(std::ceil(length)))};
}

Shape one_hot(const Node& n) {
    Shape x = n.shape(0);
    const Array& depth = need(n.input(1).array);
    fit(depth.size() > 0, "no depth");
    fit(std::isfinite(depth.at(0)), "a depth that is no number");
    i64 at = n.number("axis", -1), rank = i64(x.size());
    i64 place = at < 0 ? at + rank + 1 : at;
    place = place < 0 ? std::max(i64(0), place + rank) : std::min(place, rank);
    i64 size = depth.is_real() ? (depth.at(0) < 0 ? 0 : floored(depth.at(0))) : depth.whole[0];
    x.insert(x.begin() + place, std::max(i64(0), size));
    return x;
}

Shape reshape(const Node& n) {
    fit(whole_product(n.input(1).shape.value_or(Shape{})) <= limits::rank, "a shape of more than 16 dimensions");
    const Shape& x = n.shape(0);
    std::vector<i64> wanted = need(n.input(1).integers());
    if (!n.number("allowzero", 0))
        for (std::size_t i = 0; i < wanted.size(); ++i)
            if (wanted[i] == 0) wanted[i] = at(x, i64(i));
    i64 whole = whole_product(x);
    if (std::find(wanted.begin(), wanted.end(), -1) != wanted.end()) {
        std::vector<i64> others;
        for (i64 size : wanted)
            if (size != -1) others.push_back(size);
        i64 rest = std::max(whole_product(others), i64(1));
        for (i64& size : wanted)
            if (size == -1) size = floor_divide(whole, rest);
    }
    fit(whole_product(wanted) == whole, "a shape of another number of elements");
    return checked(wanted);
}

Shape flatten(const Node& n) {
    const Shape& x = n.shape(0);
    i64 axis = n.number("axis", 1);
    if (axis != i64(x.size())) axis = axis_of(axis, x.size());
    return {whole_product(first_of(x, axis)), whole_product(rest_of(x, axis))};
}

Shape transpose(const Node& n) {
    const Shape& x = n.shape(0);
    std::vector<i64> order(x.size());
    std::iota(order.rbegin(), order.rend(), i64(0));
    order = n.numbers_or("perm", order);
    std::vector<i64> sorted = order, wanted(x.size());
    std::sort(sorted.begin(), sorted.end());
    std::iota(wanted.begin(), wanted.end(), i64(0));
    fit(sorted == wanted, "an order of other dimensions");
    Shape made;
    for (i64 i : order) made.push_back(x[std::size_t(i)]);
    return made;
}

Shape squeeze(const Node& n) {
    const Shape& x = n.shape(0);
    std::optional<std::vector<i64>> axes = n.given(1, "axes");
    std::vector<bool> gone(x.size());
    if (axes && !axes->empty())
        for (i64 axis : *axes) gone[std::size_t(axis_of(axis, x.size()))] = true;
    else
        for (std::size_t i = 0; i < x.size(); ++i) gone[i] = x[i] == 1;
    fit(!(axes && axes->empty()), "no axes");
    Shape made;
    for (std::size_t i = 0; i < x.size(); ++i) {
        fit(!gone[i] || x[i] == 1, "an axis that is not 1");
        if (!gone[i]) made.push_back(x[i]);
    }
    return made;
}

Shape unsqueeze(const Node& n) {
    const Shape& x = n.shape(0);
    std::vector<i64> axes = need(n.given(1, "axes"));
    std::size_t rank = x.size() + axes.size(), next = 0;
    fit(rank < 1u << 20, "more axes than a graph has");
    std::vector<bool> places(rank);
    for (i64 axis : axes) {
        std::size_t place = std::size_t(axis_of(axis, rank));
        fit(!places[place], "an axis twice");
        places[place] = true;
    }
    Shape made;
    for (std::size_t i = 0; i < rank; ++i) made.push_back(places[i] ? 1 : x[next++]);
    return made;
}

Shape concat(const Node& n) {
    Shape made = n.shape(0);
    std::vector<const Shape*> shapes;
    for (std::size_t i = 0; i < n.inputs.size(); ++i) shapes.push_back(&n.shape(i));
    std::size_t axis = std::size_t(axis_of(n.number("axis", 0), made.size()));
    i64 sum = 0;
    for (const Shape* shape : shapes) {
        fit(shape->size() == made.size(), "shapes that cannot be joined");
        for (std::size_t d = 0; d < made.size(); ++d) fit(d == axis || (*shape)[d] == made[d], "shapes that cannot be joined");
        sum = add(sum, (*shape)[axis]);
    }
    made[axis] = sum;
    return made;
}

Shapes split(const Node& n) {
    const Shape& x = n.shape(0);
    std::size_t axis = std::size_t(axis_of(n.number("axis", 0), x.size()));
    std::optional<std::vector<i64>> lengths = n.given(1, "split");
    if (!lengths) {
        i64 count = n.number("num_outputs", i64(n.outputs)), each = divided_up(x[axis], count);
        fit(count == i64(n.outputs), "another number of lengths than of outputs");
        lengths = std::vector<i64>(n.outputs, each);
        if (count < 1) throw Mismatch{"no outputs"};
        lengths->back() = subtract(x[axis], multiply(each, count - 1));
    }
    fit(!lengths->empty() && lengths->size() == n.outputs, "another number of lengths than of outputs");
    i64 sum = 0;
    for (i64 length : *lengths) {
        fit(length >= 0, "a length below 0");
        sum = add(sum, length);
    }
    fit(sum == x[axis], "lengths that do not add up");
    Shapes made;
    for (i64 length : *lengths) {
        Shape piece = x;
        piece[axis] = length;
        made.push_back(piece);
    }
    return made;
}

Shape gather(const Node& n) {
    const Shape& x = n.shape(0);
    i64 axis = axis_of(n.number("axis", 0), x.size());
    return joined(joined(first_of(x, axis), n.shape(1)), rest_of(x, axis + 1));
}

Shape gather_nd(const Node& n) {
    const Shape &x = n.shape(0), &indices = n.shape(1);
    return joined(first_of(indices, -1), rest_of(x, add(n.number("batch_dims", 0), at(indices, -1))));
}

Shape elements_of(const Node& n) {
    const Shape &x = n.shape(0), &indices = n.shape(1);
    fit(x.size() == indices.size(), "indices of other dimensions");
    std::size_t axis = std::size_t(axis_of(n.number("axis", 0), x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) fit(i == axis || indices[i] <= x[i], "more indices than elements");
    if (n.op == "GatherElements") return indices;
    fit(n.shape(2) == indices, "updates and indices of different shapes");
    return x;
}

Shape scatter_nd(const Node& n) {
    const Shape &x = n.shape(0), &indices = n.shape(1);
    fit(!indices.empty() && n.shape(2) == joined(first_of(indices, -1), rest_of(x, indices.back())), "updates that do not fit the indices");
    return x;
}

Shape tile(const Node& n) {
    Shape x = n.shape(0), times = checked(need(n.input(1).integers()));
    fit(x.size() == times.size(), "another number of repeats than of dimensions");
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = multiply(x[i], times[i]);
    return x;
}

Shape pad(const Node& n) {
    Shape x = n.shape(0);
    std::vector<i64> pads = need(n.input(1).integers()), axes(x.size());
    std::iota(axes.begin(), axes.end(), i64(0));
    if (n.has(3)) axes = need(n.input(3).integers());
    for (std::size_t i = 0; i < axes.size(); ++i) {
        i64& size = x[std::size_t(axis_of(axes[i], x.size()))];
        size = add(size, add(at(pads, i64(i)), at(pads, i64(i + axes.size()))));
    }
    for (i64& size : x) size = std::max(i64(0), size);
    return x;
}

Shape resize(const Node& n) {
    Shape x = n.shape(0);
    std::vector<i64> axes(x.size()), sizes;
    std::iota(axes.begin(), axes.end(), i64(0));
    axes = n.numbers_or("axes", axes);
    if (n.text("keep_aspect_ratio_policy", "stretch") != "stretch") throw Unknown{};
    if (n.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize") throw Unknown{};
    if (n.has(3)) {
        sizes = need(n.input(3).integers());
    } else {
        const Array& scales = need(n.input(2).array);
        fit(scales.size() == axes.size(), "another number of scales than of axes");
        for (std::size_t i = 0; i < axes.size(); ++i)
            sizes.push_back(floored(double(x[std::size_t(axis_of(axes[i], x.size()))]) * scales.at(i)));
    }
    fit(sizes.size() == axes.size(), "another number of sizes than of axes");
    for (std::size_t i = 0; i < axes.size(); ++i) x[std::size_t(axis_of(axes[i], x.size()))] = std::max(i64(0), sizes[i]);
    return x;
}

Shape col2im(const Node& n) {
    const Shape& x = n.shape(0);
    std::vector<i64> image = need(n.input(1).integers()), block = need(n.input(2).integers());
    i64 size = whole_product(block);
    fit(size != 0, "a block of 0");
    return joined({at(x, 0), floor_divide(at(x, 1), size)}, checked(image));
}

Shape matmul_of(const Shape& a, const Shape& b) {
    fit(!a.empty() && !b.empty(), "a matrix product of a single number");
    Shape left = a.size() == 1 ? joined({1}, a) : a, right = b.size() == 1 ? joined(b, {1}) : b;
    fit(left.back() == right[right.size() - 2], "shapes without a matrix product");
    Shape shape = broadcast({first_of(left, -2), first_of(right, -2)});
    if (a.size() > 1) shape.push_back(left[left.size() - 2]);
    if (b.size() > 1) shape.push_back(right.back());
    return shape;
}

Shape gemm(const Node& n) {
    const Shape &x = n.shape(0), &y = n.shape(1);
    fit(x.size() == 2 && y.size() == 2, "Gemm of what is no matrix");
    i64 a = x[0], b = x[1], c = y[0], d = y[1];
    if (n.number("transA", 0)) std::swap(a, b);
    if (n.number("transB", 0)) std::swap(c, d);
    fit(b == c, "shapes without a matrix product");
    fit(!n.has(2) || broadcast({{a, d}, n.shape(2)}) == Shape{a, d}, "a bias that does not fit");
    return {a, d};
}

Shape einsum(const Node& n) {
    std::string equation = n.text("equation", "");
    equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
    std::size_t arrow = equation.find("->");
    std::string left = equation.substr(0, arrow);
    if (arrow == std::string::npos || left.find('.') != std::string::npos) throw Unknown{};
    std::map<char, i64> sizes;
    std::size_t start = 0;
    for (std::size_t i = 0; start <= left.size(); ++i) {
        std::size_t end = std::min(left.find(',', start), left.size());
        const Shape& shape = n.shape(i);
        fit(shape.size() == end - start, "another number of letters than of dimensions");
        for (std::size_t k = 0; k < shape.size(); ++k) {
            auto [place, fresh] = sizes.emplace(left[start + k], shape[k]);
            fit(fresh || place->second == shape[k], "two sizes of one letter");
        }
        start = end + 1;
    }
    Shape made;
    for (char letter : equation.substr(arrow + 2)) {
        fit(sizes.count(letter) > 0, "a letter without a size");
        made.push_back(sizes[letter]);
    }
    return made;
}

Shape windows(const Node& n, const Shape& sizes, const std::vector<i64>& kernel) {
    std::size_t count = sizes.size();
    std::vector<i64> strides = n.numbers_or("strides", ones(count)), dilations = n.numbers_or("dilations", ones(count));
    std::vector<i64> pads = n.numbers_or("pads", Shape(2 * count, 0));
    std::string automatic = n.text("auto_pad", "NOTSET");
    i64 up = n.number("ceil_mode", 0);
    Shape made;
    for (std::size_t i = 0; i < count; ++i) {
        i64 k = i64(i), reach = add(multiply(at(kernel, k) - 1, at(dilations, k)), 1), stride = at(strides, k);
        if (automatic.rfind("SAME", 0) == 0) {
            made.push_back(divided_up(sizes[i], stride));
            continue;
        }
        i64 room = subtract(sizes[i], reach);
        if (automatic != "VALID") room = add(room, add(at(pads, k), at(pads, i64(i + count))));
        fit(stride != 0, "a stride of 0");
        made.push_back((up ? divided_up(room, stride) : floor_divide(room, stride)) + 1);
    }
    for (i64& size : made) size = std::max(i64(0), size);
    return made;
}

Shape conv(const Node& n) {
    const Shape &x = n.shape(0), &w = n.shape(n.op == "QLinearConv" ? 3 : 1);
    i64 group = n.number("group", 1);
    fit(group != 0, "no group");
    fit(w.size() == x.size() && multiply(at(w, 1), group) == at(x, 1) && floor_modulo(at(w, 0), group) == 0, "weights that do not fit the rows");
    Shape own = rest_of(w, 2), kernel = n.numbers_or("kernel_shape", own);
    fit(kernel == own, "a kernel_shape that is not that of the weights");
    std::size_t bias = n.op == "QLinearConv" ? 8 : 2;
    fit(n.op == "ConvInteger" || !n.has(bias) || n.shape(bias) == first_of(w, 1), "a bias that does not fit");
    return joined({x[0], w[0]}, windows(n, rest_of(x, 2), kernel));
}

Shape transposed(const Node& n) {
    const Shape &x = n.shape(0), &w = n.shape(1);
    i64 group = n.number("group", 1);
    fit(group != 0, "no group");
    fit(w.size() == x.size() && at(w, 0) == at(x, 1) && floor_modulo(at(x, 1), group) == 0, "weights that do not fit the rows");
    Shape own = rest_of(w, 2), kernel = n.numbers_or("kernel_shape", own);
    fit(kernel == own, "a kernel_shape that is not that of the weights");
    i64 channels = multiply(at(w, 1), group);
    fit(!n.has(2) || n.shape(2) == Shape{channels}, "a bias that does not fit");
    std::size_t count = x.size() - 2;
    std::vector<i64> given = n.numbers_or("output_shape", {});
    Shape made{x[0], channels};
    if (!given.empty()) return joined(made, count ? cut(given, -i64(count), INT64_MAX) : given);
    std::vector<i64> strides = n.numbers_or("strides", ones(count)), dilations = n.numbers_or("dilations", ones(count));
    std::vector<i64> extra = n.numbers_or("output_padding", Shape(count, 0)), pads = n.numbers_or("pads", Shape(2 * count, 0));
    std::string automatic = n.text("auto_pad", "NOTSET");
    for (std::size_t i = 0; i < count; ++i) {
        i64 k = i64(i), size = x[i + 2];
        if (automatic.rfind("SAME", 0) == 0) {
            made.push_back(std::max(i64(0), multiply(size, at(strides, k))));
            continue;
        }
        i64 whole = add(add(multiply(at(strides, k), size - 1), at(extra, k)), add(multiply(at(kernel, k) - 1, at(dilations, k)), 1));
        if (automatic != "VALID") whole = subtract(whole, add(at(pads, k), at(pads, i64(i + count))));
        made.push_back(std::max(i64(0), whole));
    }
    return made;
}

Shapes recurrent(const Node& n) {
    const Shape &x = n.shape(0), &r = n.shape(2);
    i64 directions = at(r, 0), hidden = at(r, -1), last = n.number("layout", 0);
    i64 steps = at(x, last ? 1 : 0), batch = at(x, last ? 0 : 1);
    Shape state = last ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
    Shape whole = last ? Shape{batch, steps, directions, hidden} : Shape{steps, directions, batch, hidden};
    return {whole, state, state};
}

Shapes batch_norm(const Node& n) {
    const Shape& x = n.shape(0);
    bool good = x.size() >= 2;
    for (std::size_t i = 1; good && i < n.inputs.size(); ++i) good = n.shape(i) == Shape{x[1]};
    fit(good, "other channels than rows");
    return {x, Shape{x[1]}, Shape{x[1]}};
}

Shapes layer_norm(const Node& n) {
    const Shape& x = n.shape(0);
    i64 axis = axis_of(n.number("axis", -1), x.size());
    Shape own = rest_of(x, axis);
    for (std::size_t i = 1; i < n.inputs.size(); ++i) fit(!n.has(i) || broadcast({own, n.shape(i)}) == own, "a scale that does not fit");
    Shape statistics = joined(first_of(x, axis), ones(x.size() - std::size_t(axis)));
    return {x, statistics, statistics};
}

Shape per_channel(const Node& n) {
    const Shape& x = n.shape(0);
    if (n.op == "InstanceNormalization") {
        fit(x.size() >= 3 && n.shape(1) == n.shape(2) && n.shape(2) == Shape{x[1]}, "other channels than rows");
        return x;
    }
    const Shape& scale = n.shape(1);
    if (whole_product(scale) != 1) {
        std::size_t axis = std::size_t(axis_of(n.number("axis", 1), x.size()));
        fit(scale == Shape{x[axis]}, "another number of scales than of channels");
    }
    fit(!n.has(2) || whole_product(n.shape(2)) == whole_product(scale), "scales and zero points that differ");
    return x;
}

Shape blocks(const Node& node) {
    const Shape& x = node.shape(0);
    fit(x.size() == 4, "other dimensions than 4");
    i64 n = x[0], c = x[1], h = x[2], w = x[3], b = node.number("blocksize", 0);
    fit(b != 0, "blocks of 0");
    bool deep = node.op == "DepthToSpace";
    i64 square = multiply(b, b);
    fit((deep ? floor_modulo(c, square) : floor_modulo(h, b) + floor_modulo(w, b)) == 0, "blocks that do not fit");
    return deep ? Shape{n, floor_divide(c, square), multiply(h, b), multiply(w, b)} : Shape{n, multiply(c, square), floor_divide(h, b), floor_divide(w, b)};
}

using Function = Shape (*)(const Node&);
const std::unordered_map<std::string, Function>& functions() {
    static const auto made = [] {
        std::unordered_map<std::string, Function> rows;
        auto put = [&](const char* names, Function function) {
            std::string text(names);
            for (std::size_t start = 0; start < text.size();) {
                std::size_t end = std::min(text.find(' ', start), text.size());
                rows[text.substr(start, end - start)] = function;
                start = end + 1;
            }
        };
        put("Abs Neg Sqrt Reciprocal Exp Log Erf Sign Clip Floor Ceil Round Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh "
            "Atanh Relu LeakyRelu Elu Celu Selu ThresholdedRelu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Mish "
            "Softmax LogSoftmax Hardmax LpNormalization LRN Cast CastLike Identity EyeLike Trilu Not IsNaN IsInf",
            [](const Node& n) { return n.shape(0); });
        put("Add Sub Mul Div Pow Mod Sum Mean Min Max Equal Less Greater LessOrEqual GreaterOrEqual And Or Xor Where",
            [](const Node& n) {
                std::vector<Shape> shapes;
                for (std::size_t i = 0; i < n.inputs.size(); ++i)
                    if (n.has(i)) shapes.push_back(n.shape(i));
                return broadcast(shapes);
            });
        put("MatMul MatMulInteger", [](const Node& n) { return matmul_of(n.shape(0), n.shape(1)); });
        put("QLinearMatMul", [](const Node& n) { return matmul_of(n.shape(0), n.shape(3)); });
        put("Gemm", gemm);
        put("Einsum", einsum);
        put("Conv QLinearConv ConvInteger", conv);
        put("ConvTranspose", transposed);
        put("AveragePool MaxPool LpPool", [](const Node& n) {
            const Shape& x = n.shape(0);
            std::optional<std::vector<i64>> kernel = n.numbers("kernel_shape");
            return joined(first_of(x, 2), windows(n, rest_of(x, 2), need(kernel)));
        });
        put("GlobalAveragePool GlobalMaxPool GlobalLpPool", [](const Node& n) {
            const Shape& x = n.shape(0);
            return joined(first_of(x, 2), ones(x.size() < 2 ? 0 : x.size() - 2));
        });
        put("ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
            "ReduceSumSquare ArgMax ArgMin", reduce);
        put("CumSum", [](const Node& n) {
            const Shape& x = n.shape(0);
            axis_of(one_of(n.input(1).integers())[0], x.size());
            return x;
        });
        put("TopK", topk);
        put("ConstantOfShape", [](const Node& n) { return checked(need(n.input(0).integers())); });
        put("Range", range);
        put("OneHot", one_hot);
        put("Shape", [](const Node& n) {
            const Shape& x = n.shape(0);
            return Shape{i64(cut(x, n.number("start", 0), n.number("end", i64(x.size()))).size())};
        });
        put("Size", [](const Node&) { return Shape{}; });
        put("Reshape", reshape);
        put("Flatten", flatten);
        put("Transpose", transpose);
        put("Squeeze", squeeze);
        put("Unsqueeze", unsqueeze);
        put("Concat", concat);
        put("Slice", sliced);
        put("Gather", gather);
        put("GatherElements ScatterElements", elements_of);
        put("ScatterND", scatter_nd);
        put("InstanceNormalization QuantizeLinear DequantizeLinear", per_channel);
        put("PRelu", [](const Node& n) {
            const Shape& x = n.shape(0);
            fit(broadcast({x, n.shape(1)}) == x, "a slope that does not fit");
            return x;
        });
        put("GatherND", gather_nd);
        put("Expand", [](const Node& n) { return broadcast({n.shape(0), checked(need(n.input(1).integers()))}); });
        put("Tile", tile);
        put("Pad", pad);
        put("Resize", resize);
        put("DepthToSpace SpaceToDepth", blocks);
        put("Col2Im", col2im);
        return rows;
    }();
    return made;
}

std::vector<std::optional<i64>> elements(const Node& n, const Value* constant) {
    const std::string& op = n.op;
    std::optional<i64> first = n.input(0).element;
    static const std::set<std::string> truths = {"Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "And", "Or", "Not", "Xor", "IsNaN", "IsInf"};
    static const std::map<std::string, i64> fixed = {{"Shape", INT64}, {"Size", INT64}, {"ArgMax", INT64}, {"ArgMin", INT64},
                                                     {"ConvInteger", INT32}, {"MatMulInteger", INT32}};
    static const std::map<std::string, std::size_t> of_input = {{"Where", 1}, {"CastLike", 1}, {"OneHot", 2}, {"QLinearConv", 7},
                                                                {"QLinearMatMul", 7}, {"DequantizeLinear", 1}};
    if (truths.count(op)) return {BOOL};
    if (auto row = fixed.find(op); row != fixed.end()) return {row->second};
    if (auto row = of_input.find(op); row != of_input.end()) return {n.input(row->second).element};
    if (op == "ConstantOfShape") return {constant ? constant->element : std::optional<i64>(FLOAT)};
    if (op == "Cast") return {n.number("to", 0)};
    if (op == "EyeLike") return {n.number("dtype", first.value_or(0))};
    if (op == "QuantizeLinear") return {n.has(2) ? n.input(2).element : std::optional<i64>(UINT8)};
    if (op == "TopK" || op == "MaxPool") return {first, INT64};
    return std::vector<std::optional<i64>>(n.outputs, first);
}

// The numbers of static outputs, where they are few and known.
void work_out(const Node& n, std::vector<Value>& values, const Value* constant) {
    if (values.empty()) return;
    const Shape& shape = need(values[0].shape);
    auto keep = [](Value& value, Array array) { value.array = std::make_shared<const Array>(std::move(array)); };
    if (n.op == "Shape") {
        const Shape& whole = n.shape(0);
        std::vector<i64> part = cut(whole, n.number("start", 0), n.number("end", i64(whole.size())));
        Shape length{i64(part.size())};
        keep(values[0], {INT64, length, part, {}});
    } else if (n.op == "Size") {
        keep(values[0], {INT64, {}, {whole_product(n.shape(0))}, {}});
    } else if (n.op == "ConstantOfShape") {
        Array fill{FLOAT, {1}, {}, {0.0}};
        if (constant) fill = need(constant->array);
        if (fill.size() == 0 || whole_product(shape) > limits::known_elements) return;
        Array made{fill.element, shape, {}, {}};
        std::size_t count = std::size_t(whole_product(shape));
        if (fill.is_real())
            made.real.assign(count, fill.real[0]);
        else
            made.whole.assign(count, fill.whole[0]);
        keep(values[0], std::move(made));
    } else if (n.op == "Split") {
        const Array& whole = need(n.input(0).array);
        std::size_t axis = std::size_t(axis_of(n.number("axis", 0), shape.size()));
        i64 before = whole_product(first_of(whole.shape, i64(axis))), after = whole_product(rest_of(whole.shape, i64(axis) + 1)), start = 0;
        for (Value& value : values) {
            i64 length = need(value.shape)[axis];
            Array part{whole.element, *value.shape, {}, {}};
            for (i64 b = 0; b < before; ++b)
                for (i64 i = 0; i < length * after; ++i) {
                    std::size_t place = std::size_t((b * whole.shape[axis] + start) * after + i);
                    if (place >= whole.size()) throw Unknown{};
                    if (whole.is_real())
                        part.real.push_back(whole.real[place]);
                    else
                        part.whole.push_back(whole.whole[place]);
                }
            start += length;
            keep(value, std::move(part));
        }
    } else {
        std::optional<Array> made = evaluate(n, shape, values[0].element);
        if (made) keep(values[0], std::move(*made));
    }
}

}  // namespace

std::vector<std::optional<Shape>> shapes_made(const Node& n) {
    if (n.op == "Split") return split(n);
    if (n.op == "RNN" || n.op == "GRU" || n.op == "LSTM") return recurrent(n);
    if (n.op == "BatchNormalization") return batch_norm(n);
    if (n.op == "LayerNormalization") return layer_norm(n);
    auto row = functions().find(n.op);
    fit(row != functions().end(), "an operator without a rule");
    return Shapes(n.outputs, row->second(n));
}

std::vector<Value> infer(const Node& n, const Value* constant) {
    std::vector<Value> values(n.outputs);
    if (n.op == "Constant") {
        for (Value& value : values) value.is_static = true;
        if (constant && !values.empty()) values[0] = *constant;
        return values;
    }
    bool is_static = n.op == "Shape" || n.op == "Size" ||
                     std::all_of(n.inputs.begin(), n.inputs.end(), [](const ValuePointer& v) { return !v || v->is_static; });
    std::vector<std::optional<i64>> kinds = elements(n, constant);
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i].is_static = is_static;
        if (i < kinds.size()) values[i].element = kinds[i];
    }
    try {
        Shapes shapes = shapes_made(n);
        for (std::size_t i = 0; i < std::min(shapes.size(), values.size()); ++i) values[i].shape = shapes[i];
    } catch (const Unknown&) {
        return values;
    }
    if (is_static) {
        try {
            work_out(n, values, constant);
        } catch (const Unknown&) {  // the numbers stay unknown
        } catch (const Mismatch&) {
        } catch (const std::out_of_range&) {
        }
    }
    return values;
}

}  // namespace vaee::onnx
