// From scores to p-values, thresholds and the heads that no graph computes; and the noise of the prior.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "json.h"

namespace vaee {

class Sketch {  // sorted calibration scores, or a conservative subset of them
public:
    Sketch(const Bytes& raw, i64 n);
    double p_value(float score) const;
    double threshold(double rate) const;

private:
    std::vector<float> values_;
    std::vector<u32> above_;
    i64 n_;
};

double tail_threshold(const Json& tail, double rate);

class LatentStatistics {
public:
    explicit LatentStatistics(const Bytes& raw);
    float distance(const float* code) const;
    std::size_t latents() const { return mean_.size(); }

private:
    std::vector<float> mean_, whiten_;
};

float combined(const std::string& head, const std::vector<double>& p_values);

void philox(u64 seed, u64 stream, std::size_t count, u64* words);
void standard_normal(u64 seed, u64 stream, std::size_t count, float* noise);
void check_prior(const Json& latent, const Bytes& raw);
// n latents: float32, or int64 of codes.
void draw(const Json& latent, const Bytes& raw, i64 n, u64 seed, double temperature, void* z);

}  // namespace vaee
