// Rows in, events out: guard, windows, scores and the alarm, in constant memory.
#pragma once

#include <deque>
#include <vector>

#include "session.h"

namespace vaee {

class Guard {
public:
    Guard(const Json& rules, const Json& input);
    // Flags of each cell, (n, cells), and rows that do not follow the one before, (n).
    void check(const void* rows, i64 n, const double* times, std::vector<u8>& flags, std::vector<u8>& steps);
    std::size_t cells() const { return cells_; }
    i64 row_elements() const { return elements_; }
    bool is_uint8() const { return uint8_; }
    std::vector<i64> row_shape;

private:
    double at(const u8* row, i64 i) const;
    bool uint8_, per_cell_, first_ = true;
    i64 elements_, stuck_, saturated_;
    std::size_t cells_;
    double longest_step_, time_ = 0;
    bool timed_ = false;
    std::vector<double> low_, high_, lowest_, highest_;
    std::vector<u8> constant_;
    Bytes last_;
    std::vector<i64> run_;
};

class Alarm {
public:
    explicit Alarm(const vaee_alarm_rules& rules);
    vaee_alarm_state step(int is_anomaly, double p_value);

private:
    vaee_alarm_rules rules_;
    std::deque<bool> recent_;
    bool on_ = false;
    int clear_ = 0, cooling_ = 0;
};

vaee_alarm_rules alarm_rules(const Json& rules);
i64 check_block(const vaee_array* rows, const Guard& guard);

class Stream {
public:
    Stream(Session& session, i64 stride);
    void push(const vaee_array* rows, const double* times);
    bool next(vaee_event& event);

private:
    struct Held {
        vaee_event event;
        std::vector<u8> flags;
    };
    void decide(const std::vector<i64>& starts);
    Session& session_;
    Guard guard_;
    Alarm alarm_;
    i64 length_, stride_, skip_ = 0, first_ = 0;  // first_: index in the stream of the first row held
    Bytes rows_;
    std::vector<u8> flags_, steps_;
    std::vector<double> times_;
    std::deque<Held> events_;
    Held current_{};
};

}  // namespace vaee
