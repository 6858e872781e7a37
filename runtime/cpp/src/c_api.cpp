// The C ABI: every exception becomes an error and a message of this thread.
#include <new>

#include "onnx.h"
#include "session.h"
#include "stream.h"
#include "tables.h"

struct vaee_session {
    vaee::Session session;
};
struct vaee_stream {
    vaee::Stream stream;
};
struct vaee_alarm {
    vaee::Alarm alarm;
};

namespace {

thread_local std::string last_error;

template <class Call>
vaee_error guarded(const Call& call) noexcept {
    try {
        last_error.clear();
        call();
        return VAEE_OK;
    } catch (const vaee::Error& error) {
        try {
            last_error = std::string(error.what()).substr(0, 2000);
            for (char& c : last_error)
                if ((c >= 0 && c < 32) || c == 127) c = '?';  // a terminal would obey it
        } catch (...) {
        }
        return error.code;
    } catch (const std::bad_alloc&) {
        return VAEE_OUT_OF_MEMORY;
    } catch (const std::length_error&) {
        return VAEE_OUT_OF_MEMORY;
    } catch (const std::exception& error) {
        try {
            last_error = std::string("a bug of libvaeedge: ") + error.what();
        } catch (...) {
        }
        return VAEE_INTERNAL_ERROR;
    } catch (...) {
        return VAEE_INTERNAL_ERROR;
    }
}

void need(const void* pointer, const char* name) {
    if (!pointer) vaee::fail(VAEE_OPTION_ERROR, std::string(name) + " is NULL");
}

std::string_view text(const void* data, size_t bytes) { return {static_cast<const char*>(data), data ? bytes : 0}; }

}  // namespace

const char* vaee_version(void) { return vaee::version; }

const char* vaee_error_name(vaee_error error) {
    static const char* const names[] = {"", "BundleError", "BundleCorrupt", "BundleInvalid", "BundleTooNew", "GraphRefused", "PairMismatch",
                                        "InputError", "OptionError", "CalibrationError", "MissingDependency", "ProviderUnavailable",
                                        "BackendError", "SessionClosed", "MemoryError", "InternalError"};
    return error >= 0 && error <= VAEE_INTERNAL_ERROR ? names[error] : "InternalError";
}

const char* vaee_last_error(void) { return last_error.c_str(); }

vaee_error vaee_check(const char* path, char* bundle_id) {
    return guarded([&] {
        need(path, "path");
        vaee::Bundle bundle(path);
        bundle.check_all();
        if (bundle_id) std::memcpy(bundle_id, bundle.id().c_str(), 65);
    });
}

vaee_error vaee_check_graph(const void* onnx, size_t bytes) {
    return guarded([&] { vaee::onnx::scan(text(onnx, bytes), nullptr); });
}

vaee_error vaee_check_manifest(const void* json, size_t bytes) {
    return guarded([&] { vaee::Manifest manifest(text(json, bytes)); });
}

vaee_error vaee_verify(const char* path, const vaee_options* options, vaee_verification* outcome) {
    return guarded([&] {
        need(path, "path"), need(outcome, "outcome");
        auto bundle = std::make_shared<vaee::Bundle>(path);
        bundle->verify_members();
        vaee_options own = options ? *options : vaee_options{};
        vaee_verification made{};
        made.ok = 1;
        for (const std::string& variant : bundle->manifest().variants()) {
            own.variant = variant.c_str();
            vaee::Session(bundle, own).verify(made);
        }
        *outcome = made;
    });
}

vaee_error vaee_open(const char* path, const vaee_options* options, vaee_session** session) {
    if (session) *session = nullptr;
    return guarded([&] {
        need(path, "path"), need(session, "session");
        vaee_options own = options ? *options : vaee_options{};
        *session = new vaee_session{{std::make_shared<vaee::Bundle>(path), own}};
    });
}

const vaee_info* vaee_get_info(const vaee_session* session) { return session ? &session->session.info() : nullptr; }

void vaee_close(vaee_session* session) { delete session; }

vaee_error vaee_score(vaee_session* session, const vaee_array* x, const vaee_array* condition, const vaee_scores* scores) {
    return guarded([&] {
        need(session, "session"), need(scores, "scores");
        session->session.score(x, condition, *scores);
    });
}

vaee_error vaee_encode(vaee_session* session, const vaee_array* x, const vaee_array* condition, float* mean, float* logvar, int64_t* indices, uint8_t* status) {
    return guarded([&] {
        need(session, "session");
        session->session.encode(x, condition, mean, logvar, indices, status);
    });
}

vaee_error vaee_decode(vaee_session* session, const vaee_array* z, const vaee_array* condition, void* x_hat) {
    return guarded([&] {
        need(session, "session");
        session->session.decode(z, condition, x_hat);
    });
}

vaee_error vaee_sample(vaee_session* session, int64_t n, uint64_t seed, double temperature, const vaee_array* condition, void* x_hat) {
    return guarded([&] {
        need(session, "session");
        session->session.sample(n, seed, temperature, condition, x_hat);
    });
}

vaee_error vaee_latents(vaee_session* session, int64_t n, uint64_t seed, double temperature, void* z) {
    return guarded([&] {
        need(session, "session");
        session->session.latents(n, seed, temperature, z);
    });
}

vaee_error vaee_decide(vaee_session* session, const char* head, const float* scores, size_t n, double* p_value, uint8_t* is_anomaly) {
    return guarded([&] {
        need(session, "session");
        session->session.decide(head, scores, n, p_value, is_anomaly);
    });
}

vaee_error vaee_threshold_for(vaee_session* session, const char* head, const char* method, double rate, double* threshold) {
    return guarded([&] {
        need(session, "session"), need(threshold, "threshold");
        *threshold = session->session.threshold_for(head, method, rate);
    });
}

vaee_error vaee_words(uint64_t seed, uint64_t stream, size_t count, uint64_t* words) {
    return guarded([&] {
        if (count) need(words, "words");
        std::vector<vaee::u64> made(count);
        vaee::philox(seed, stream, count, made.data());
        std::copy(made.begin(), made.end(), words);
    });
}

vaee_error vaee_noise(uint64_t seed, uint64_t stream, size_t count, float* noise) {
    return guarded([&] {
        if (count) need(noise, "noise");
        vaee::standard_normal(seed, stream, count, noise);
    });
}

vaee_error vaee_stream_open(vaee_session* session, int64_t stride, vaee_stream** stream) {
    if (stream) *stream = nullptr;
    return guarded([&] {
        need(session, "session"), need(stream, "stream");
        *stream = new vaee_stream{{session->session, stride}};
    });
}

vaee_error vaee_stream_push(vaee_stream* stream, const vaee_array* rows, const double* times) {
    return guarded([&] {
        need(stream, "stream");
        stream->stream.push(rows, times);
    });
}

int vaee_stream_next(vaee_stream* stream, vaee_event* event) { return stream && event && stream->stream.next(*event); }

void vaee_stream_close(vaee_stream* stream) { delete stream; }

vaee_error vaee_guard(const char* path, const vaee_array* rows, const double* times, uint8_t* flags, uint8_t* steps) {
    return guarded([&] {
        need(path, "path");
        vaee::Bundle bundle(path);
        const vaee::Json& json = bundle.manifest().json();
        if (json.is_null("stream")) vaee::fail(VAEE_OPTION_ERROR, "this bundle has no rules for streams: export it again");
        vaee::Guard guard(json.at("stream").at("guard"), json.at("input"));
        vaee::i64 n = vaee::check_block(rows, guard);
        std::vector<vaee::u8> made, late;
        guard.check(rows->data, n, times, made, late);
        if (flags) std::copy(made.begin(), made.end(), flags);
        if (steps) std::copy(late.begin(), late.end(), steps);
    });
}

vaee_error vaee_alarm_open(const vaee_alarm_rules* rules, vaee_alarm** alarm) {
    if (alarm) *alarm = nullptr;
    return guarded([&] {
        need(rules, "rules"), need(alarm, "alarm");
        *alarm = new vaee_alarm{vaee::Alarm(*rules)};
    });
}

vaee_alarm_state vaee_alarm_step(vaee_alarm* alarm, int is_anomaly, double p_value) {
    return alarm ? alarm->alarm.step(is_anomaly, p_value) : VAEE_ALARM_OFF;
}

void vaee_alarm_close(vaee_alarm* alarm) { delete alarm; }
