// A bundle opened for running: its graphs, its engine, its lifetime.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "bundle.h"
#include "ort.h"
#include "statistics.h"

namespace vaee {

struct Rows {  // what a caller passed, checked
    const void* data;
    i64 n;
};

class Session {
public:
    Session(std::shared_ptr<Bundle> bundle, const vaee_options& options);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void score(const vaee_array* x, const vaee_array* condition, const vaee_scores& scores);
    void encode(const vaee_array* x, const vaee_array* condition, float* mean, float* logvar, i64* indices, u8* status);
    void decode(const vaee_array* z, const vaee_array* condition, void* x_hat);
    void sample(i64 n, u64 seed, double temperature, const vaee_array* condition, void* x_hat);
    void latents(i64 n, u64 seed, double temperature, void* z);
    void decide(const char* head, const float* scores, std::size_t n, double* p_value, u8* is_anomaly);
    double threshold_for(const char* head, const char* method, double rate);
    void verify(vaee_verification& outcome);

    const vaee_info& info() const { return info_; }
    const Manifest& manifest() const { return bundle_->manifest(); }
    bool is_calibrated(const std::string& head) const { return manifest().calibration(variant_, head) != nullptr; }

private:
    class Running;
    void describe();
    void* graph(const std::string& name);
    const Json& spec(const std::string& name) const { return manifest().variant(variant_).at("graphs").at(name); }
    std::vector<Tensor> tensors(const std::string& name, const char* side) const;
    void run(const std::string& name, const std::vector<Feed>& feeds, const std::vector<Fetch>& fetches, i64 n);
    const Sketch* sketch(const std::string& head);
    const LatentStatistics& statistics();
    const Bytes& prior();
    std::string known_head(const char* head) const;
    std::vector<Feed> row_feeds(const vaee_array* x, const vaee_array* condition, std::vector<u8>& status, Bytes& copy, Bytes& repeated, i64& n);
    void add_condition(const vaee_array* condition, i64 n, std::vector<Feed>& feeds, Bytes& repeated) const;
    void mark_unknown_codes(const void* data, const Tensor& tensor, i64 n, std::vector<u8>& status, Bytes& copy) const;
    void check_count(i64 n) const;

    std::shared_ptr<Bundle> bundle_;
    std::string variant_;
    int threads_;
    std::shared_ptr<Ort> ort_;
    std::mutex mutex_;
    std::condition_variable idle_;
    int running_ = 0;
    long pid_;
    std::map<std::string, void*> sessions_;
    std::map<std::string, std::unique_ptr<Sketch>> sketches_;
    std::unique_ptr<LatentStatistics> statistics_;
    std::unique_ptr<Bytes> prior_;
    std::vector<std::string> variant_names_, head_names_;
    std::vector<const char*> variant_pointers_;
    std::vector<vaee_head> heads_;
    std::string strings_[10];
    vaee_info info_{};
};

std::vector<float> posterior_noise(const Manifest& manifest, i64 rows);

}  // namespace vaee
