#include "statistics.h"

#include <algorithm>
#include <cmath>

#include "manifest.h"

namespace vaee {

namespace {

float little_float(const u8* p) {
    u32 bits = little32(p);
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

bool inside(double rate) { return rate > 0 && rate < 1; }

void check_rate(double rate) {
    if (!inside(rate)) fail(VAEE_CALIBRATION_ERROR, "the false-positive rate is not inside (0, 1)");
}

}  // namespace

Sketch::Sketch(const Bytes& raw, i64 n) : n_(n) {
    std::size_t points = raw.size() / 8;
    bool good = points > 0 && i64(points) <= n;
    for (std::size_t i = 0; i < points; ++i) {
        values_.push_back(little_float(raw.data() + 4 * i));
        above_.push_back(little32(raw.data() + 4 * (points + i)));
        good = good && std::isfinite(values_[i]) && (i == 0 || (values_[i] > values_[i - 1] && above_[i] < above_[i - 1]));
    }
    check(good && above_.back() == 0 && i64(above_[0]) < n, "the calibration sketch is not sorted, or its counts do not fit its size");
}

double Sketch::p_value(float score) const {
    if (std::isnan(score)) return std::nan("");
    // The largest stored value below the score bounds the count from above, exactly so in the tail.
    auto below = std::lower_bound(values_.begin(), values_.end(), score);
    double count = below == values_.begin() ? double(n_) : double(above_[std::size_t(below - values_.begin()) - 1]);
    return (1.0 + count) / (double(n_) + 1.0);
}

double Sketch::threshold(double rate) const {
    check_rate(rate);
    double k = std::ceil(double(n_ + 1) * (1.0 - rate) - 1e-9);
    if (k > double(n_))
        fail(VAEE_CALIBRATION_ERROR, "there are too few calibration rows (" + std::to_string(n_) + ") for this false-positive rate: ask for a larger one");
    for (std::size_t i = 0; i < values_.size(); ++i)
        if (double(above_[i]) <= double(n_) - k) return values_[i];
    return values_.back();
}

double tail_threshold(const Json& tail, double rate) {
    double share = tail.real_at("excesses") / tail.real_at("n"), shape = tail.real_at("shape"), scale = tail.real_at("scale");
    if (!(rate > 0 && rate <= share)) fail(VAEE_CALIBRATION_ERROR, "the false-positive rate is outside the fitted tail: take the quantile");
    if (rate < 1.0 / (20 * tail.real_at("n")) * (1 - 1e-9)) fail(VAEE_CALIBRATION_ERROR, "the false-positive rate is too far beyond the calibration rows");
    double log_odds = std::log(share / rate);
    if (std::abs(shape) < 1e-9) return tail.real_at("level") + scale * log_odds;
    return tail.real_at("level") + scale * std::expm1(shape * log_odds) / shape;
}

LatentStatistics::LatentStatistics(const Bytes& raw) {
    std::size_t count = raw.size() / 4, d = 0;
    while (d * (d + 1) < count) ++d;
    bool good = d > 0 && d * (d + 1) == count;
    for (std::size_t i = 0; good && i < count; ++i) {
        float x = little_float(raw.data() + 4 * i);
        good = std::isfinite(x);
        (i < d ? mean_ : whiten_).push_back(x);
    }
    check(good, "the statistics of the latents are not finite numbers of a mean and a matrix");
}

float LatentStatistics::distance(const float* code) const {
    std::size_t d = mean_.size();
    double total = 0;
    for (std::size_t k = 0; k < d; ++k) {
        double white = 0;
        for (std::size_t i = 0; i < d; ++i) white += (double(code[i]) - double(mean_[i])) * double(whiten_[k * d + i]);
        total += white * white;
    }
    return float(std::sqrt(total));
}

float combined(const std::string& head, const std::vector<double>& p_values) {
    double sum = 0, n = double(p_values.size());
    for (double p : p_values) sum += head == "fisher" ? std::log(p) : head == "harmonic" ? 1.0 / p : p;
    return float(head == "fisher" ? -2.0 * sum : head == "harmonic" ? sum / n : 1.0 - sum / n);
}

// --- noise: Philox4x64-10, and the normal quantile AS 241 in a written-down order --------------------------------

namespace {

// A product that no compiler fuses with a sum: fused operations round once, and the bits would differ.
inline double product(double a, double b) {
    volatile double p = a * b;
    return p;
}

u64 high_product(u64 a, u64 b, u64& low) {
    unsigned __int128 whole = static_cast<unsigned __int128>(a) * b;
    low = u64(whole);
    return u64(whole >> 64);
}

const double centre[2][8] = {
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4, 4.5921953931549871457e4,
     6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3, 2.1213794301586595867e4,
     3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3}};
const double middle[2][8] = {
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0, 1.27045825245236838258e0,
     2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1, 1.48103976427480074590e-1,
     1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9}};
const double far_tail[2][8] = {
    {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1, 2.65321895265761230930e-2,
     1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
    {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2, 7.86869131145613259100e-4,
     1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15}};

double horner(const double* terms, int count, double r) {
    double total = product(terms[count - 1], r);
    for (int i = count - 2; i > 0; --i) total = product(total + terms[i], r);
    return total + terms[0];
}

double ratio(const double terms[2][8], double r) { return horner(terms[0], 8, r) / horner(terms[1], 8, r); }

// Our own logarithm from + - * /: libm's may differ in the last bit.
double natural_log(double x) {
    static const double series[12] = {1.0 / 1, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17, 1.0 / 19, 1.0 / 21, 1.0 / 23};
    int exponent;
    double mantissa = std::frexp(x, &exponent);
    double power = exponent;
    if (mantissa < 0.7071067811865476) {
        mantissa *= 2.0;
        power -= 1.0;
    }
    double s = (mantissa - 1.0) / (mantissa + 1.0);
    double tail = product(product(2.0, s), horner(series, 12, product(s, s))) + product(power, 1.90821492927058770002e-10);
    return product(power, 6.93147180369123816490e-01) + tail;
}

double normal_quantile(double p) {
    double q = p - 0.5;
    if (std::abs(q) <= 0.425) return product(q, ratio(centre, 0.180625 - product(q, q)));
    double r = std::sqrt(-natural_log(q < 0 ? p : 1.0 - p));
    double magnitude = r > 5.0 ? ratio(far_tail, r - 5.0) : ratio(middle, r - 1.6);
    return q < 0 ? -magnitude : magnitude;
}

// (n, positions): one choice per position, from its own table or from the one there is.
void choose(const Bytes& raw, std::size_t tables, std::size_t codes, i64 n, i64 positions, u64 seed, i64* chosen) {
    std::vector<u64> words(std::size_t(n * positions));
    philox(seed, 1, words.size(), words.data());
    for (std::size_t i = 0; i < words.size(); ++i) {
        u64 word = std::min(words[i] >> 32, u64(0xfffffffe));  // a stored 2^32 - 1 stands for 2^32, which no word reaches
        const u8* table = raw.data() + 4 * codes * (tables > 1 ? i % std::size_t(positions) : 0);
        std::size_t low = 0, high = codes - 1;
        while (low < high) {
            std::size_t half = (low + high) / 2;
            if (little32(table + 4 * half) <= word)
                low = half + 1;
            else
                high = half;
        }
        chosen[i] = i64(low);
    }
}

}  // namespace

namespace {
void philox_block(u64 seed, u64 stream, u64 block, u64 (&c)[4]) {
    c[0] = block + 1, c[1] = c[2] = c[3] = 0;
    u64 key[2] = {seed, stream};
    for (int round = 0; round < 10; ++round) {
        u64 low0, low1, high0 = high_product(0xD2E7470EE14C6C93u, c[0], low0), high1 = high_product(0xCA5A826395121157u, c[2], low1);
        u64 next[4] = {high1 ^ c[1] ^ key[0], low1, high0 ^ c[3] ^ key[1], low0};
        std::memcpy(c, next, sizeof c);
        key[0] += 0x9E3779B97F4A7C15u;
        key[1] += 0xBB67AE8584CAA73Bu;
    }
}
}  // namespace

void philox(u64 seed, u64 stream, std::size_t count, u64* words) {
    u64 block[4];
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 4 == 0) philox_block(seed, stream, i / 4, block);
        words[i] = block[i % 4];
    }
}

void standard_normal(u64 seed, u64 stream, std::size_t count, float* noise) {
    u64 block[4];
    for (std::size_t i = 0; i < count; ++i) {
        if (i % 4 == 0) philox_block(seed, stream, i / 4, block);
        double u = (double(block[i % 4] >> 11) + 0.5) * 0x1p-53;
        noise[i] = float(normal_quantile(std::min(u, 1.0 - 0x1p-53)));
    }
}

void check_prior(const Json& latent, const Bytes& raw) {
    const Json& prior = latent.at("prior");
    std::size_t k = std::size_t(prior.whole_at("components")), tables = 1, codes = k;
    if (prior.text_at("kind") == "categorical") {
        tables = k, codes = std::size_t(latent.whole_at("codebook"));
    } else {
        std::size_t numbers = raw.size() / 4 - k;
        for (std::size_t i = 0; i < numbers; ++i) {
            float x = little_float(raw.data() + 4 * (k + i));
            check(std::isfinite(x) && (i < numbers / 2 || x >= 0), "a number of the prior is not finite, or a standard deviation is negative");
        }
    }
    for (std::size_t t = 0; t < tables; ++t) {
        u32 before = 0;
        for (std::size_t i = 0; i < codes; ++i) {
            u32 own = little32(raw.data() + 4 * (t * codes + i));
            check(own >= before, "the cumulated probabilities of the prior do not ascend to 1");
            before = own;
        }
        check(before == 0xffffffff, "the cumulated probabilities of the prior do not ascend to 1");
    }
}

void draw(const Json& latent, const Bytes& raw, i64 n, u64 seed, double temperature, void* z) {
    const Json& prior = latent.at("prior");
    const std::string& kind = prior.text_at("kind");
    i64 elements = element_count(shape_of(latent.at("shape")));
    std::size_t k = std::size_t(prior.whole_at("components"));
    if (kind == "none") fail(VAEE_OPTION_ERROR, "this model cannot be sampled: decode takes latents of your own");
    if (kind == "categorical") {
        if (temperature != 1.0) fail(VAEE_OPTION_ERROR, "a table of code probabilities has no temperature: leave it at 1");
        return choose(raw, k, std::size_t(latent.whole_at("codebook")), n, elements, seed, static_cast<i64*>(z));
    }
    float* made = static_cast<float*>(z);
    std::size_t count = std::size_t(n * elements);
    standard_normal(seed, 0, count, made);
    float warmth = float(temperature);
    for (std::size_t i = 0; i < count; ++i) made[i] *= warmth;
    if (kind == "standard_normal") return;
    std::vector<i64> chosen(static_cast<std::size_t>(n));
    choose(raw, 1, k, n, 1, seed, chosen.data());
    for (i64 row = 0; row < n; ++row)
        for (i64 i = 0; i < elements; ++i) {
            const u8* mean = raw.data() + 4 * (k + std::size_t(chosen[std::size_t(row)] * elements + i));
            const u8* std_of = mean + 4 * k * std::size_t(elements);
            volatile float noise = little_float(std_of) * made[row * elements + i];  // not fused
            made[row * elements + i] = little_float(mean) + noise;
        }
}

}  // namespace vaee
