#include "stream.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace vaee {

namespace {

constexpr i64 at_once = 256;  // windows that are scored in one call

std::vector<double> reals(const Json& list) {
    std::vector<double> made;
    for (const Json& item : list.items) made.push_back(item.real);
    return made;
}

}  // namespace

Guard::Guard(const Json& rules, const Json& input) {
    const std::string& layout = input.text_at("layout");
    std::vector<i64> shape = shape_of(input.at("shape"));
    if (layout == "time_features") shape.erase(shape.begin());
    row_shape = shape;
    uint8_ = input.text_at("dtype") == "uint8";
    elements_ = element_count(shape);
    per_cell_ = layout == "features" || layout == "time_features";
    cells_ = per_cell_ ? std::size_t(elements_) : 1;
    low_ = reals(rules.at("low")), high_ = reals(rules.at("high"));
    for (const Json& item : rules.at("constant").items) constant_.push_back(item.truth);
    if (low_.size() == 1 && cells_ > 1) {
        low_.resize(cells_, low_[0]), high_.resize(cells_, high_[0]), constant_.resize(cells_, constant_[0]);
    }
    vaee::check(low_.size() == cells_, "the limits of the guard do not fit the features");
    double margin = rules.real_at("margin");
    for (std::size_t i = 0; i < cells_; ++i) {
        double span = margin * (high_[i] - low_[i]);
        lowest_.push_back(low_[i] - span), highest_.push_back(high_[i] + span);
    }
    stuck_ = rules.whole_at("stuck_rows"), saturated_ = rules.whole_at("saturated_rows");
    longest_step_ = rules.is_null("period_s") || rules.real_at("period_s") == 0 ? DBL_MAX : 1.5 * rules.real_at("period_s");
    run_.assign(cells_, 0);
}

double Guard::at(const u8* row, i64 i) const {
    if (uint8_) return row[i];
    float x;
    std::memcpy(&x, row + 4 * i, 4);
    return x;
}

void Guard::check(const void* rows, i64 n, const double* times, std::vector<u8>& flags, std::vector<u8>& steps) {
    std::size_t bytes = std::size_t(elements_) * (uint8_ ? 1 : 4);
    flags.assign(std::size_t(n) * cells_, 0);
    steps.assign(std::size_t(n), 0);
    for (i64 r = 0; r < n; ++r) {
        const u8* row = static_cast<const u8*>(rows) + std::size_t(r) * bytes;
        bool late = false;
        if (times) {
            double step = times[r] - (timed_ ? time_ : times[r]);
            late = step < 0 || !(step <= longest_step_);  // also beside a time that is not finite
            time_ = times[r], timed_ = true;
            steps[std::size_t(r)] = late;
        }
        bool whole_same = !first_;
        double smallest = 0, largest = 0;
        bool finite = true;
        if (!per_cell_) {
            smallest = largest = at(row, 0);
            for (i64 i = 0; i < elements_; ++i) {
                double x = at(row, i);
                finite = finite && std::isfinite(x);
                smallest = std::min(smallest, x), largest = std::max(largest, x);
                whole_same = whole_same && x == at(last_.data(), i);
            }
        }
        for (std::size_t c = 0; c < cells_; ++c) {
            double low = per_cell_ ? at(row, i64(c)) : smallest, high = per_cell_ ? low : largest;
            bool known = per_cell_ ? std::isfinite(low) : finite;
            bool same = per_cell_ ? !first_ && low == at(last_.data(), i64(c)) : whole_same;
            run_[c] = !known ? 0 : same && run_[c] > 0 ? run_[c] + 1 : 1;
            u8 flag = 0;
            bool rail = high <= low_[c] || low >= high_[c], may_stick = !constant_[c];
            if (!known) flag |= VAEE_NON_FINITE;
            if (known && (low < lowest_[c] || high > highest_[c])) flag |= VAEE_OUT_OF_RANGE;
            if (known && saturated_ && rail && may_stick && run_[c] >= saturated_) flag |= VAEE_SATURATED;
            if (known && stuck_ && !rail && may_stick && run_[c] >= stuck_) flag |= VAEE_STUCK;
            if (late) flag |= VAEE_GAP;
            flags[std::size_t(r) * cells_ + c] = flag;
        }
        last_.assign(row, row + bytes);
        first_ = false;
    }
}

Alarm::Alarm(const vaee_alarm_rules& rules) : rules_(rules) {
    vaee::check(1 <= rules.raise_after && rules.raise_after <= rules.of && rules.of <= 1 << 16, "raise_after and of disagree");
    vaee::check(rules.clear_after >= 1 && rules.cool_down >= 0, "clear_after or cool_down is out of range");
    vaee::check(rules.clear_rate > 0 && rules.clear_rate < 1, "clear_rate is not inside (0, 1)");
}

vaee_alarm_state Alarm::step(int is_anomaly, double p_value) {
    if (is_anomaly < 0) return on_ ? VAEE_ALARM_ON : VAEE_ALARM_OFF;
    if (on_) {
        bool clear = !is_anomaly && (std::isnan(p_value) || p_value > rules_.clear_rate);
        clear_ = clear ? clear_ + 1 : 0;
        if (clear_ < rules_.clear_after) return VAEE_ALARM_ON;
        on_ = false, clear_ = 0, cooling_ = rules_.cool_down;
        recent_.clear();
        return VAEE_ALARM_CLEARED;
    }
    if (cooling_) {
        --cooling_;
        return VAEE_ALARM_OFF;
    }
    recent_.push_back(is_anomaly != 0);
    if (i64(recent_.size()) > rules_.of) recent_.pop_front();
    if (std::count(recent_.begin(), recent_.end(), true) < rules_.raise_after) return VAEE_ALARM_OFF;
    on_ = true;
    return VAEE_ALARM_RAISED;
}

vaee_alarm_rules alarm_rules(const Json& rules) {
    auto whole = [&](const char* key) { return int(std::min(rules.whole_at(key), i64(1) << 30)); };
    return {whole("raise_after"), whole("of"), whole("clear_after"), rules.real_at("clear_rate"), whole("cool_down")};
}

i64 check_block(const vaee_array* rows, const Guard& guard) {
    if (!rows) fail(VAEE_INPUT_ERROR, "rows is NULL");
    bool same = rows->rank == int(guard.row_shape.size()) + 1 && rows->shape[0] >= 0;
    for (std::size_t i = 0; same && i < guard.row_shape.size(); ++i) same = rows->shape[i + 1] == guard.row_shape[i];
    if (!same || rows->dtype != (guard.is_uint8() ? VAEE_UINT8 : VAEE_FLOAT32)) fail(VAEE_INPUT_ERROR, "rows of the stream have another shape or type than the model takes");
    if (multiply(rows->shape[0], multiply(4, guard.row_elements())) > INT64_MAX / 16) fail(VAEE_INPUT_ERROR, "more rows than fit in a memory");
    if (rows->shape[0] > 0 && !rows->data) fail(VAEE_INPUT_ERROR, "rows has rows and no data: data is NULL");
    return rows->shape[0];
}

namespace {
const Json& rules_of(const Session& session) {
    const Json& json = session.manifest().json();
    if (!json.is_null("condition")) fail(VAEE_OPTION_ERROR, "a stream has no conditions: score the rows of a conditional model with vaee_score");
    if (json.is_null("stream")) fail(VAEE_OPTION_ERROR, "this bundle has no rules for streams: export it again");
    return json.at("stream");
}
}  // namespace

Stream::Stream(Session& session, i64 stride)
    : session_(session), guard_(rules_of(session).at("guard"), session.manifest().json().at("input")), alarm_(alarm_rules(rules_of(session).at("alarm"))) {
    const Json& input = session.manifest().json().at("input");
    length_ = input.text_at("layout") == "time_features" ? shape_of(input.at("shape"))[0] : 1;
    stride_ = stride == 0 ? length_ : stride;
    if (stride_ < 1 || stride_ > INT32_MAX) fail(VAEE_OPTION_ERROR, "stride is out of range");
    if (stride_ != 1 && length_ == 1) fail(VAEE_OPTION_ERROR, "stride is the step between windows, and this model takes single rows");
}

void Stream::push(const vaee_array* rows, const double* times) {
    i64 n = check_block(rows, guard_);
    if (n == 0) return;
    std::vector<u8> flags, steps;
    guard_.check(rows->data, n, times, flags, steps);
    std::size_t bytes = std::size_t(guard_.row_elements()) * (guard_.is_uint8() ? 1 : 4);
    const u8* data = static_cast<const u8*>(rows->data);
    rows_.insert(rows_.end(), data, data + std::size_t(n) * bytes);
    flags_.insert(flags_.end(), flags.begin(), flags.end());
    for (i64 i = 0; i < n; ++i) times_.push_back(times ? times[i] : std::nan(""));
    i64 held = i64(times_.size());
    std::vector<i64> starts;
    for (i64 start = skip_; start + length_ <= held; start += stride_) starts.push_back(start);
    for (std::size_t at = 0; at < starts.size(); at += std::size_t(at_once))
        decide(std::vector<i64>(starts.begin() + i64(at), starts.begin() + std::min(i64(at) + at_once, i64(starts.size()))));
    i64 following = starts.empty() ? skip_ : starts.back() + stride_, drop = std::min(following, held);
    skip_ = following - drop;
    first_ += drop;
    rows_.erase(rows_.begin(), rows_.begin() + drop * i64(bytes));
    flags_.erase(flags_.begin(), flags_.begin() + drop * i64(guard_.cells()));
    times_.erase(times_.begin(), times_.begin() + drop);
}

void Stream::decide(const std::vector<i64>& starts) {
    std::size_t cells = guard_.cells(), bytes = std::size_t(guard_.row_elements()) * (guard_.is_uint8() ? 1 : 4), window = bytes * std::size_t(length_);
    std::vector<Held> made;
    Bytes valid;
    for (i64 start : starts) {
        Held held{};
        held.flags.assign(cells, 0);
        for (i64 r = start; r < start + length_; ++r)
            for (std::size_t c = 0; c < cells; ++c) held.flags[c] |= flags_[std::size_t(r) * cells + c];
        vaee_event& event = held.event;
        for (u8 flag : held.flags) event.faults |= flag;
        event.index = first_ + start + length_ - 1;
        event.time = times_[std::size_t(start + length_ - 1)];
        event.p_value = std::nan(""), event.score = std::nanf(""), event.is_anomaly = -1;
        if (event.faults)
            event.status = VAEE_ROW_NON_FINITE_INPUT;
        else
            valid.insert(valid.end(), rows_.begin() + start * i64(bytes), rows_.begin() + start * i64(bytes) + i64(window));
        made.push_back(std::move(held));
    }
    std::size_t n = window ? valid.size() / window : 0;
    std::vector<float> score(n);
    std::vector<double> p_value(n);
    std::vector<u8> is_anomaly(n), status(n);
    bool calibrated = session_.info().head[0].calibrated;
    const vaee_shape& shape = session_.info().input;
    vaee_array x{valid.data(), shape.dtype, shape.rank + 1, {i64(n)}};
    std::copy_n(shape.shape, shape.rank, x.shape + 1);
    vaee_scores out{};
    out.score = score.data(), out.status = status.data();
    if (calibrated) out.p_value = p_value.data(), out.is_anomaly = is_anomaly.data();
    session_.score(&x, nullptr, out);
    std::size_t i = 0;
    for (Held& held : made) {
        vaee_event& event = held.event;
        if (event.status == VAEE_ROW_OK) {
            event.status = status[i];
            event.scored = event.status == VAEE_ROW_OK;
            if (event.scored) {
                event.score = score[i];
                if (calibrated) event.p_value = p_value[i], event.is_anomaly = is_anomaly[i];
            }
            ++i;
        }
        event.alarm = alarm_.step(event.scored ? event.is_anomaly : -1, event.p_value);
        events_.push_back(std::move(held));
    }
}

bool Stream::next(vaee_event& event) {
    if (events_.empty()) return false;
    current_ = std::move(events_.front());
    events_.pop_front();
    event = current_.event;
    event.features = current_.flags.size();
    event.feature_faults = current_.flags.data();
    return true;
}

}  // namespace vaee
