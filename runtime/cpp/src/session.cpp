#include "session.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "tables.h"

namespace vaee {

namespace {

constexpr i64 rows_per_run = 64;  // memory does not grow with the number of rows

vaee_dtype dtype_of(const std::string& name) { return name == "uint8" ? VAEE_UINT8 : name == "int64" ? VAEE_INT64 : VAEE_FLOAT32; }

vaee_shape shape_for(const Tensor& tensor) {
    vaee_shape made{};
    made.dtype = dtype_of(tensor.dtype);
    made.rank = int(tensor.shape.size());
    std::copy(tensor.shape.begin(), tensor.shape.end(), made.shape);
    made.elements = element_count(tensor.shape);
    return made;
}

std::string shown(const std::vector<i64>& shape) {
    std::string text = "(n";
    for (i64 n : shape) text += ", " + std::to_string(n);
    return text + ")";
}

// The array as rows of exactly this type and shape.
i64 check_rows(const vaee_array* array, const Tensor& tensor) {
    const std::string& what = tensor.name;
    if (!array) fail(VAEE_INPUT_ERROR, what + " is NULL: pass an array of " + tensor.dtype + " " + shown(tensor.shape));
    if (array->dtype != dtype_of(tensor.dtype)) fail(VAEE_INPUT_ERROR, what + " has another type; the model takes " + tensor.dtype);
    bool same = array->rank == int(tensor.shape.size()) + 1 && array->shape[0] >= 0;
    for (std::size_t i = 0; same && i < tensor.shape.size(); ++i) same = array->shape[i + 1] == tensor.shape[i];
    if (!same) fail(VAEE_INPUT_ERROR, what + " has another shape; the model takes " + shown(tensor.shape));
    i64 n = array->shape[0], bytes = multiply(multiply(n, element_count(tensor.shape)), element_bytes(tensor.dtype));
    if (bytes > std::numeric_limits<i64>::max() / 16) fail(VAEE_INPUT_ERROR, what + " has more rows than fit in a memory");
    if (n > 0 && !array->data) fail(VAEE_INPUT_ERROR, what + " has rows and no data: data is NULL");
    return n;
}

bool all_finite(const float* x, i64 n) {
    for (i64 i = 0; i < n; ++i)
        if (!std::isfinite(x[i])) return false;
    return true;
}

// The largest difference relative to max(|reference|, rms of the reference), as Python's max_errors.
double relative_error(const void* got, const void* wanted, const std::string& dtype, i64 count) {
    if (dtype == "int64") return std::memcmp(got, wanted, std::size_t(count) * 8) ? 1.0 : 0.0;
    auto at = [&](const void* data, i64 i) { return dtype == "uint8" ? double(static_cast<const u8*>(data)[i]) : double(static_cast<const float*>(data)[i]); };
    double squares = 0, worst = 0, rounding = dtype == "uint8" ? 1.0 : 0.0;
    for (i64 i = 0; i < count; ++i) squares += at(wanted, i) * at(wanted, i);
    double rms = count ? std::sqrt(squares / double(count)) : 0;
    for (i64 i = 0; i < count; ++i) {
        double difference = std::max(std::abs(at(got, i) - at(wanted, i)) - rounding, 0.0), size = std::max(std::abs(at(wanted, i)), rms);
        if (!std::isfinite(at(got, i) - at(wanted, i))) difference = HUGE_VAL;
        double relative = size > 0 ? difference / size : difference > 0 ? HUGE_VAL : 0;
        worst = std::max(worst, relative);
    }
    return worst;
}

// Marks rows with an output that is not finite, and blanks every output of every marked row.
void blank_bad_rows(const std::vector<Fetch>& fetches, std::vector<u8>& status) {
    i64 n = i64(status.size());
    for (const Fetch& fetch : fetches) {
        if (fetch.tensor.dtype != "float32") continue;
        i64 each = element_count(fetch.tensor.shape);
        for (i64 row = 0; row < n; ++row)
            if (status[std::size_t(row)] == VAEE_ROW_OK && !all_finite(static_cast<float*>(fetch.data) + row * each, each))
                status[std::size_t(row)] = VAEE_ROW_NON_FINITE_OUTPUT;
    }
    for (const Fetch& fetch : fetches) {
        i64 each = element_count(fetch.tensor.shape);
        for (i64 row = 0; row < n; ++row) {
            if (status[std::size_t(row)] == VAEE_ROW_OK) continue;
            if (fetch.tensor.dtype == "float32")
                std::fill_n(static_cast<float*>(fetch.data) + row * each, each, std::numeric_limits<float>::quiet_NaN());
            else if (fetch.tensor.dtype == "int64")
                std::fill_n(static_cast<i64*>(fetch.data) + row * each, each, i64(-1));
        }
    }
}

// Buffers for outputs that the caller did not bring one for.
class Scratch {
public:
    void* take(void* own, const Tensor& tensor, i64 n) {
        if (own) return own;
        held_.emplace_back(std::size_t(n * element_count(tensor.shape) * element_bytes(tensor.dtype)));
        return held_.back().data();
    }

private:
    std::vector<Bytes> held_;
};

}  // namespace

class Session::Running {  // counts a call that close waits for
public:
    explicit Running(Session& session) : session_(session) {
        if (long(::getpid()) != session.pid_) fail(VAEE_SESSION_CLOSED, "this session belongs to the parent process: call vaee_open again after a fork");
        std::lock_guard<std::mutex> lock(session.mutex_);
        ++session.running_;
    }
    ~Running() {
        std::lock_guard<std::mutex> lock(session_.mutex_);
        --session_.running_;
        session_.idle_.notify_all();
    }

private:
    Session& session_;
};

Session::Session(std::shared_ptr<Bundle> bundle, const vaee_options& options) : bundle_(std::move(bundle)), threads_(options.threads), pid_(::getpid()) {
    if (threads_ < 0 || threads_ > 1024) fail(VAEE_OPTION_ERROR, "threads is " + std::to_string(threads_) + "; pass 0 to 1024");
    variant_ = bundle_->choose_variant(options.variant);
    if (!manifest().json().at("input").is_null("overlap"))
        fail(VAEE_OPTION_ERROR, "this bundle scores whole pictures by tiles, which libvaeedge does not: use the Python runtime");
    if (!manifest().json().is_null("free_size"))
        fail(VAEE_OPTION_ERROR, "this bundle takes rows of any height and width, which libvaeedge does not: use the Python runtime");
    sketch(manifest().default_head());
    ort_ = Ort::load(options.onnxruntime);
    bundle_->check_engine(ort_->version());
    graph("score");
    describe();
}

Session::~Session() {
    if (long(::getpid()) != pid_) return;  // the engine's threads live in the parent
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
    for (const auto& session : sessions_) ort_->release(session.second);
}

void Session::describe() {
    const Manifest& m = manifest();
    const Json& json = m.json();
    const Json &model = json.at("model"), &latent = json.at("latent");
    strings_[0] = model.text_at("name"), strings_[1] = model.text_at("version"), strings_[2] = bundle_->id();
    strings_[3] = json.text_at("pair_id"), strings_[4] = variant_, strings_[5] = ort_->version();
    strings_[6] = json.at("input").text_at("layout"), strings_[7] = latent.text_at("kind"), strings_[8] = latent.at("prior").text_at("kind");
    info_.model_name = strings_[0].c_str(), info_.model_version = strings_[1].c_str(), info_.bundle_id = strings_[2].c_str();
    info_.pair_id = strings_[3].c_str(), info_.variant = strings_[4].c_str(), info_.engine_version = strings_[5].c_str();
    info_.layout = strings_[6].c_str(), info_.latent_kind = strings_[7].c_str(), info_.prior_kind = strings_[8].c_str();
    info_.release = json.whole_at("release");
    std::vector<Tensor> encoded = tensors("encode", "outputs"), taken = tensors("encode", "inputs");
    info_.input = shape_for(taken[0]);
    info_.condition = vaee_shape{};
    info_.condition.rank = -1;
    if (taken.size() > 1) info_.condition = shape_for(taken[1]);
    info_.latent = shape_for(tensors("decode", "inputs")[0]);
    info_.output = shape_for(tensors("decode", "outputs")[0]);
    info_.has_indices = encoded[0].name == "indices";
    info_.embedding = shape_for(encoded[info_.has_indices ? 1 : 0]);
    info_.has_logvar = encoded.size() > 1 && encoded[1].name == "logvar";
    info_.has_kl = !json.at("score").is_null("kl_weight");
    info_.has_stream_rules = !json.is_null("stream");
    variant_names_ = m.variants();
    for (const std::string& name : variant_names_) variant_pointers_.push_back(name.c_str());
    info_.variants = variant_names_.size();
    info_.variant_names = variant_pointers_.data();
    head_names_ = {m.default_head()};
    for (const std::string& name : m.heads())
        if (name != head_names_[0]) head_names_.push_back(name);
    for (const std::string& name : head_names_) {
        const Json* calibration = m.calibration(variant_, name);
        double nothing = std::nan("");
        heads_.push_back({name.c_str(), calibration != nullptr, calibration ? calibration->real_at("threshold") : nothing,
                          calibration ? calibration->real_at("false_positive_rate") : nothing, calibration ? calibration->whole_at("n") : 0});
    }
    info_.heads = heads_.size();
    info_.head = heads_.data();
}

void* Session::graph(const std::string& name) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        auto found = sessions_.find(name);
        if (found != sessions_.end()) return found->second;
    }
    static std::mutex creating;  // one at a time: others run meanwhile
    std::lock_guard<std::mutex> one(creating);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        auto found = sessions_.find(name);
        if (found != sessions_.end()) return found->second;
    }
    void* session = ort_->create(bundle_->graph(variant_, name), name, threads_);
    std::lock_guard<std::mutex> lock(mutex_);
    return sessions_[name] = session;
}

std::vector<Tensor> Session::tensors(const std::string& name, const char* side) const {
    std::vector<Tensor> made;
    for (const Json& item : spec(name).at(side).items) made.push_back(tensor_of(item));
    return made;
}

void Session::run(const std::string& name, const std::vector<Feed>& feeds, const std::vector<Fetch>& fetches, i64 n) {
    if (n == 0) return;
    void* session = graph(name);
    for (i64 first = 0; first < n; first += rows_per_run) ort_->run(session, feeds, fetches, first, std::min(rows_per_run, n - first));
}

const Sketch* Session::sketch(const std::string& head) {
    const Json* calibration = manifest().calibration(variant_, head);
    if (!calibration) return nullptr;
    std::lock_guard<std::mutex> lock(mutex_);
    std::unique_ptr<Sketch>& own = sketches_[head];
    if (!own) own = std::make_unique<Sketch>(bundle_->read(calibration->text_at("member")), calibration->whole_at("n"));
    return own.get();
}

const LatentStatistics& Session::statistics() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!statistics_) statistics_ = std::make_unique<LatentStatistics>(bundle_->read(manifest().variant(variant_).text_at("latent_statistics")));
    return *statistics_;
}

const Bytes& Session::prior() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!prior_) {
        const Json& latent = manifest().json().at("latent");
        auto bytes = std::make_unique<Bytes>();
        if (!latent.at("prior").is_null("member")) {
            *bytes = bundle_->read(latent.at("prior").text_at("member"));
            check_prior(latent, *bytes);
        }
        prior_ = std::move(bytes);
    }
    return *prior_;
}

std::string Session::known_head(const char* head) const {
    std::vector<std::string> names = manifest().heads();
    if (!head) return manifest().default_head();
    if (std::find(names.begin(), names.end(), head) == names.end())
        fail(VAEE_OPTION_ERROR, "this bundle has no head " + quoted(head) + ": heads are chosen at export");
    return head;
}

void Session::add_condition(const vaee_array* condition, i64 n, std::vector<Feed>& feeds, Bytes& repeated) const {
    std::vector<Tensor> taken = tensors("encode", "inputs");
    if (taken.size() < 2) {
        if (condition) fail(VAEE_INPUT_ERROR, "this model takes no condition");
        return;
    }
    const Tensor& tensor = taken[1];
    if (!condition) fail(VAEE_INPUT_ERROR, "this model is conditional: pass a condition of " + tensor.dtype + " " + shown(tensor.shape));
    const Json& spec = manifest().json().at("condition");
    i64 each = element_count(tensor.shape);
    std::size_t bytes = std::size_t(each * element_bytes(tensor.dtype));
    const void* data = condition->data;
    i64 rows = n;
    if (condition->rank == int(tensor.shape.size())) {  // one for all rows
        vaee_array one{condition->data, condition->dtype, condition->rank + 1, {1}};
        std::copy_n(condition->shape, tensor.shape.size(), one.shape + 1);
        check_rows(&one, tensor);
        repeated.resize(std::size_t(n) * bytes);
        for (i64 row = 0; row < n; ++row) std::memcpy(repeated.data() + std::size_t(row) * bytes, condition->data, bytes);
        data = repeated.data();
    } else {
        rows = check_rows(condition, tensor);
        if (rows != n) fail(VAEE_INPUT_ERROR, "condition has another number of rows than x: pass one each, or one for all");
    }
    if (tensor.dtype == "float32" && !all_finite(static_cast<const float*>(data), rows * each)) fail(VAEE_INPUT_ERROR, "condition holds NaN or infinity");
    if (tensor.dtype == "int64")
        for (i64 i = 0; i < rows * each; ++i) {
            i64 label = static_cast<const i64*>(data)[i];
            if (double(label) < spec.real_at("low") || double(label) > spec.real_at("high"))
                fail(VAEE_INPUT_ERROR, "condition holds the label " + std::to_string(label) + ", which the model does not know");
        }
    feeds.push_back({data, tensor});
}

std::vector<Feed> Session::row_feeds(const vaee_array* x, const vaee_array* condition, std::vector<u8>& status, Bytes& copy, Bytes& repeated, i64& n) {
    Tensor tensor = tensors("encode", "inputs")[0];
    n = check_rows(x, tensor);
    status.assign(std::size_t(n), VAEE_ROW_OK);
    std::vector<Feed> feeds{{x->data, tensor}};
    if (tensor.dtype == "float32") {
        i64 each = element_count(tensor.shape);
        const float* rows = static_cast<const float*>(x->data);
        for (i64 row = 0; row < n; ++row) {
            if (all_finite(rows + row * each, each)) continue;
            std::size_t bytes = std::size_t(each) * 4;
            if (copy.empty()) {
                copy.resize(std::size_t(n) * bytes);
                std::memcpy(copy.data(), x->data, copy.size());
            }
            std::memset(copy.data() + std::size_t(row) * bytes, 0, bytes);
            status[std::size_t(row)] = VAEE_ROW_NON_FINITE_INPUT;
        }
    }
    mark_unknown_codes(x->data, tensor, n, status, copy);
    if (!copy.empty()) feeds[0].data = copy.data();
    add_condition(condition, n, feeds, repeated);
    return feeds;
}

// Rows with a code that the model has no entry for get a status; bad rows take the code nearest to 0 in a copy.
void Session::mark_unknown_codes(const void* data, const Tensor& tensor, i64 n, std::vector<u8>& status, Bytes& copy) const {
    const Json* codes = manifest().json().at("input").find("codes");
    if (!codes || codes->items.empty()) return;
    bool uint8 = tensor.dtype == "uint8";
    i64 each = element_count(tensor.shape), columns = tensor.shape.back();
    auto at = [&](const void* from, i64 i) { return uint8 ? double(static_cast<const u8*>(from)[i]) : double(static_cast<const float*>(from)[i]); };
    auto is_in = [&](const Json& range, i64 i) { return range.is_null("column") || i % columns == range.whole_at("column"); };
    for (i64 row = 0; row < n; ++row) {
        u8& own = status[std::size_t(row)];
        for (const Json& range : codes->items)
            for (i64 i = 0; i < each && own == VAEE_ROW_OK; ++i) {
                double code = at(data, row * each + i);
                if (is_in(range, i) && !(code >= range.real_at("low") && code <= range.real_at("high"))) own = VAEE_ROW_UNKNOWN_CODE;
            }
        if (own == VAEE_ROW_OK) continue;
        std::size_t bytes = std::size_t(each) * (uint8 ? 1 : 4);
        if (copy.empty()) {
            copy.resize(std::size_t(n) * bytes);
            std::memcpy(copy.data(), data, copy.size());
        }
        std::memset(copy.data() + std::size_t(row) * bytes, 0, bytes);
        for (const Json& range : codes->items)
            for (i64 i = 0; i < each; ++i) {
                if (!is_in(range, i)) continue;
                double nearest = std::min(std::max(0.0, range.real_at("low")), range.real_at("high"));
                float code = float(nearest);
                u8 small = u8(nearest);
                std::memcpy(copy.data() + std::size_t(row) * bytes + std::size_t(i) * (uint8 ? 1 : 4), uint8 ? static_cast<const void*>(&small) : &code, uint8 ? 1 : 4);
            }
    }
}

std::vector<float> posterior_noise(const Manifest& manifest, i64 rows) {
    const Json& json = manifest.json();
    i64 each = multiply(json.at("score").whole_at("draws"), element_count(shape_of(json.at("latent").at("shape"))));
    std::vector<float> noise(static_cast<std::size_t>(rows * each));
    if (rows == 0) return noise;
    standard_normal(0, 2, std::size_t(each), noise.data());
    for (i64 row = 1; row < rows; ++row) std::copy_n(noise.begin(), each, noise.begin() + row * each);
    return noise;
}

void Session::score(const vaee_array* x, const vaee_array* condition, const vaee_scores& out) {
    Running running(*this);
    if (out.threshold && !std::isfinite(*out.threshold)) fail(VAEE_OPTION_ERROR, "threshold is no finite number; pass one in the unit of the score");
    if (out.heads && !out.head) fail(VAEE_OPTION_ERROR, "heads is above 0 and head is NULL");
    std::vector<u8> status;
    Bytes copy, repeated;
    i64 n;
    std::vector<Feed> feeds = row_feeds(x, condition, status, copy, repeated, n);
    std::vector<std::string> all = manifest().heads(), parts = texts_of(manifest().json().at("score").at("parts"));
    std::string decides = manifest().default_head();
    std::set<std::string> wanted{decides};
    std::vector<vaee_head_scores> results{{decides.c_str(), out.score, out.p_value, out.is_anomaly}};
    for (std::size_t i = 0; i < out.heads; ++i) {
        known_head(out.head[i].head ? out.head[i].head : "");
        wanted.insert(out.head[i].head);
        results.push_back(out.head[i]);
    }
    for (const vaee_head_scores& result : results) {
        const Json* calibration = manifest().calibration(variant_, result.head);
        if (result.p_value && !calibration) fail(VAEE_CALIBRATION_ERROR, "this bundle carries no calibration, so there are no p-values");
        bool own = out.threshold && result.head == decides;
        if (result.is_anomaly && !calibration && !own) fail(VAEE_CALIBRATION_ERROR, "this bundle carries no calibration: pass a threshold");
    }
    if (out.kl && !info_.has_kl) fail(VAEE_OPTION_ERROR, "this model has no KL: leave kl NULL");
    std::set<std::string> computed = wanted;
    for (const std::string& head : wanted)
        if (std::strcmp(head_row(head)->computed, "p_values") == 0) computed.insert(parts.begin(), parts.end());
    Scratch scratch;
    std::vector<Fetch> fetches, drawn;
    std::map<std::string, float*> by_name;
    auto fetch = [&](std::vector<Fetch>& into, const Tensor& tensor, void* own) {
        into.push_back({scratch.take(own, tensor, n), tensor});
        by_name[tensor.name] = static_cast<float*>(into.back().data);
    };
    bool reads_codes = false;
    for (const std::string& head : computed) reads_codes = reads_codes || head_row(head)->reads_codes;
    for (const Tensor& tensor : tensors("score", "outputs")) {
        const std::string& name = tensor.name;
        bool term = name == "score" || name == "reconstruction" || name == "kl";
        if (!term && !(name == "map" && out.map) && !(name == "mean" && reads_codes) && !computed.count(name)) continue;
        fetch(fetches, tensor, name == "reconstruction" ? out.reconstruction : name == "kl" ? out.kl : name == "map" ? out.map : nullptr);
    }
    run("score", feeds, fetches, n);
    std::vector<float> noise;
    std::vector<std::string> sampled = manifest().computed({"sampled"});
    for (const std::string& head : sampled)
        if (computed.count(head)) fetch(drawn, {head, "float32", {}}, nullptr);
    if (!drawn.empty() && n > 0) {
        noise = posterior_noise(manifest(), std::min(n, rows_per_run));
        feeds.push_back({noise.data(), tensors("sampled", "inputs").back(), true});
        run("sampled", feeds, drawn, n);
    }
    fetches.insert(fetches.end(), drawn.begin(), drawn.end());
    blank_bad_rows(fetches, status);
    std::map<std::string, std::vector<float>> scores;
    auto simple = [&](const std::string& head) {
        std::vector<float>& made = scores[head];
        const float* own = by_name["score"];
        if (head == "mahalanobis" && head != all[0]) {
            const LatentStatistics& fitted = statistics();
            if (i64(fitted.latents()) != element_count(shape_of(manifest().json().at("latent").at("shape")))) fail(VAEE_BUNDLE_INVALID, "the statistics of the latents do not fit them");
            for (i64 row = 0; row < n; ++row) made.push_back(fitted.distance(by_name["mean"] + std::size_t(row) * fitted.latents()));
        } else if (head == "typicality" && head != all[0]) {
            float typical = float(manifest().variant(variant_).real_at("typical_score"));
            for (i64 row = 0; row < n; ++row) made.push_back(std::abs(own[row] - typical));
        } else {
            const float* from = head == all[0] ? own : by_name.at(head);
            made.assign(from, from + n);
        }
    };
    for (const std::string& head : computed)
        if (std::strcmp(head_row(head)->computed, "p_values") != 0) simple(head);
    for (const std::string& head : computed) {
        if (std::strcmp(head_row(head)->computed, "p_values") != 0) continue;
        for (i64 row = 0; row < n; ++row) {
            std::vector<double> p_values;
            for (const std::string& part : parts) {
                const Sketch* own = sketch(part);
                if (!own) fail(VAEE_CALIBRATION_ERROR, "this bundle carries no calibration, so ensembles cannot be computed");
                p_values.push_back(own->p_value(scores[part][std::size_t(row)]));
            }
            scores[head].push_back(combined(head, p_values));
        }
    }
    for (const vaee_head_scores& result : results) {
        const std::vector<float>& own = scores[result.head];
        const Json* calibration = manifest().calibration(variant_, result.head);
        double threshold = out.threshold && result.head == decides ? *out.threshold : calibration ? calibration->real_at("threshold") : 0;
        const Sketch* points = result.p_value ? sketch(result.head) : nullptr;
        for (std::size_t row = 0; row < own.size(); ++row) {
            if (result.score) result.score[row] = own[row];
            if (result.p_value) result.p_value[row] = points->p_value(own[row]);
            if (result.is_anomaly) result.is_anomaly[row] = double(own[row]) > threshold;
        }
    }
    if (out.status) std::copy(status.begin(), status.end(), out.status);
}

void Session::encode(const vaee_array* x, const vaee_array* condition, float* mean, float* logvar, i64* indices, u8* status_out) {
    Running running(*this);
    std::vector<u8> status;
    Bytes copy, repeated;
    i64 n;
    std::vector<Feed> feeds = row_feeds(x, condition, status, copy, repeated, n);
    if (logvar && !info_.has_logvar) fail(VAEE_OPTION_ERROR, "this model's code has no spread: leave logvar NULL");
    if (indices && !info_.has_indices) fail(VAEE_OPTION_ERROR, "this model has no codes: leave indices NULL");
    Scratch scratch;
    std::vector<Fetch> fetches;
    for (const Tensor& tensor : tensors("encode", "outputs")) {
        void* own = tensor.name == "logvar" ? static_cast<void*>(logvar) : tensor.name == "indices" ? static_cast<void*>(indices) : mean;
        fetches.push_back({scratch.take(own, tensor, n), tensor});
    }
    run("encode", feeds, fetches, n);
    blank_bad_rows(fetches, status);
    if (status_out) std::copy(status.begin(), status.end(), status_out);
}

void Session::decode(const vaee_array* z, const vaee_array* condition, void* x_hat) {
    Running running(*this);
    Tensor latent = tensors("decode", "inputs")[0];
    i64 n = check_rows(z, latent), count = n * element_count(latent.shape), codebook = manifest().json().at("latent").whole_at("codebook");
    if (latent.dtype == "float32" && !all_finite(static_cast<const float*>(z->data), count)) fail(VAEE_INPUT_ERROR, "z holds NaN or infinity");
    if (codebook && latent.dtype == "int64")
        for (i64 i = 0; i < count; ++i) {
            i64 code = static_cast<const i64*>(z->data)[i];
            if (code < 0 || code >= codebook) fail(VAEE_INPUT_ERROR, "z holds the index " + std::to_string(code) + "; the codebook has 0 to " + std::to_string(codebook - 1));
        }
    std::vector<Feed> feeds{{z->data, latent}};
    Bytes repeated;
    add_condition(condition, n, feeds, repeated);
    if (n > 0 && !x_hat) fail(VAEE_OPTION_ERROR, "x_hat is NULL: pass a buffer for the rows");
    run("decode", feeds, {{x_hat, tensors("decode", "outputs")[0]}}, n);
}

void Session::check_count(i64 n) const {
    i64 largest = std::max(info_.latent.elements, info_.output.elements);
    if (n < 0 || multiply(n, multiply(8, largest)) == INT64_MAX) fail(VAEE_OPTION_ERROR, "n is " + std::to_string(n) + "; pass a number of rows that fit in a memory");
}

void Session::latents(i64 n, u64 seed, double temperature, void* z) {
    Running running(*this);
    check_count(n);
    if (!std::isfinite(temperature) || temperature < 0) fail(VAEE_OPTION_ERROR, "temperature is no finite number from 0 (1 is the prior itself)");
    if (n > 0 && !z) fail(VAEE_OPTION_ERROR, "z is NULL: pass a buffer for the latents");
    draw(manifest().json().at("latent"), prior(), n, seed, temperature, z);
}

void Session::sample(i64 n, u64 seed, double temperature, const vaee_array* condition, void* x_hat) {
    check_count(n);
    Tensor latent = tensors("decode", "inputs")[0];
    std::vector<i64> room((std::size_t(n * element_count(latent.shape) * element_bytes(latent.dtype)) + 8) / 8);
    latents(n, seed, temperature, room.data());
    vaee_array z{room.data(), dtype_of(latent.dtype), int(latent.shape.size()) + 1, {n}};
    std::copy(latent.shape.begin(), latent.shape.end(), z.shape + 1);
    decode(&z, condition, x_hat);
}

void Session::decide(const char* head, const float* scores, std::size_t n, double* p_value, u8* is_anomaly) {
    Running running(*this);
    std::string name = known_head(head);
    const Sketch* own = sketch(name);
    if (!own) fail(VAEE_CALIBRATION_ERROR, "this bundle carries no calibration");
    if (n && !scores) fail(VAEE_INPUT_ERROR, "scores is NULL");
    double threshold = manifest().calibration(variant_, name)->real_at("threshold");
    for (std::size_t i = 0; i < n; ++i) {
        if (p_value) p_value[i] = own->p_value(scores[i]);
        if (is_anomaly) is_anomaly[i] = double(scores[i]) > threshold;
    }
}

double Session::threshold_for(const char* head, const char* method, double rate) {
    Running running(*this);
    if (!std::isfinite(rate)) fail(VAEE_OPTION_ERROR, "the rate is no finite number");
    std::string name = known_head(head), how = method ? method : "conformal";
    const Json* calibration = manifest().calibration(variant_, name);
    if (!calibration) fail(VAEE_CALIBRATION_ERROR, "this bundle carries no calibration");
    if (how == "conformal") return sketch(name)->threshold(rate);
    if (how != "tail") fail(VAEE_OPTION_ERROR, "method is " + quoted(how) + "; valid are conformal and tail");
    if (calibration->is_null("tail")) fail(VAEE_CALIBRATION_ERROR, "the calibration rows allow no fit of the tail: use conformal");
    return tail_threshold(calibration->at("tail"), rate);
}

void Session::verify(vaee_verification& outcome) {
    Running running(*this);
    const Json& golden = manifest().json().at("golden");
    i64 n = golden.whole_at("rows");
    std::map<std::string, Bytes> feeds;
    feeds["x"] = bundle_->read(golden.text_at("input"));
    if (!golden.is_null("condition")) feeds["condition"] = bundle_->read(golden.text_at("condition"));
    const Json &expected = golden.at("expected").at(variant_), &tolerances = golden.at("tolerance_relative").at(variant_);
    feeds[tensors("decode", "inputs")[0].name] = bundle_->read(expected.text_at("encode." + tensors("encode", "outputs")[0].name));
    std::vector<float> noise;
    for (const Signature& signature : manifest().signatures()) {
        std::vector<Feed> fed;
        for (const Tensor& tensor : signature.inputs) {
            if (tensor.name == "noise") {
                noise = posterior_noise(manifest(), std::min(n, rows_per_run));
                fed.push_back({noise.data(), tensor, true});
            } else {
                fed.push_back({feeds.at(tensor.name).data(), tensor});
            }
        }
        Scratch scratch;
        std::vector<Fetch> fetches;
        for (const Tensor& tensor : signature.outputs)
            if (expected.find(signature.graph + "." + tensor.name)) fetches.push_back({scratch.take(nullptr, tensor, n), tensor});
        if (fetches.empty()) continue;
        run(signature.graph, fed, fetches, n);
        for (const Fetch& fetch : fetches) {
            std::string key = signature.graph + "." + fetch.tensor.name;
            Bytes wanted = bundle_->read(expected.text_at(key));
            double error = relative_error(fetch.data, wanted.data(), fetch.tensor.dtype, n * element_count(fetch.tensor.shape)), tolerance = tolerances.real_at(key);
            double share = tolerance > 0 ? error / tolerance : error > 0 ? HUGE_VAL : 0;
            ++outcome.checks;
            outcome.ok = outcome.ok && error <= tolerance;
            if (outcome.worst_output[0] && share <= outcome.worst) continue;
            outcome.worst = share;
            std::string name = (variant_ + " " + key).substr(0, sizeof outcome.worst_output - 1);
            std::memset(outcome.worst_output, 0, sizeof outcome.worst_output);
            std::copy(name.begin(), name.end(), outcome.worst_output);
        }
    }
    prior();
    outcome.members = bundle_->members();
    outcome.rows = n;
}

}  // namespace vaee
