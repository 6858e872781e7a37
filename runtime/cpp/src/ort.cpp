#include "ort.h"

#include <dlfcn.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>

#include "onnx.h"

namespace vaee {

namespace {

// Places in OrtApi. New functions are only ever added at its end; all of these are there since version 5.
enum Slot { GetErrorMessage = 2, CreateEnv = 3, DisableTelemetryEvents = 6, CreateSessionFromArray = 8, Run = 9, CreateSessionOptions = 10,
            SetSessionLogSeverityLevel = 22, SetIntraOpNumThreads = 24, SetInterOpNumThreads = 25, CreateTensorWithDataAsOrtValue = 49,
            CreateCpuMemoryInfo = 69, ReleaseEnv = 92, ReleaseStatus = 93, ReleaseMemoryInfo = 94, ReleaseSession = 95, ReleaseValue = 96,
            ReleaseSessionOptions = 100, AddSessionConfigEntry = 130 };
constexpr u32 api_version = 17;  // of onnxruntime 1.17, the oldest that runs the graphs
constexpr int fatal_only = 4;    // problems come as errors, not as lines on stderr

struct ApiBase {
    void* const* (*get_api)(u32);
    const char* (*get_version)();
};

int element_type(const std::string& dtype) { return dtype == "uint8" ? 2 : dtype == "int64" ? 7 : 1; }

// x86 CPUs without VNNI, which Linux tells, add products of unsigned and signed bytes in 16 bits; see integers.py.
bool adds_exactly() {
#if defined(__x86_64__) || defined(__i386__)
    static const bool exactly = [] {
        std::ifstream file("/proc/cpuinfo");
        std::string text{std::istreambuf_iterator<char>(file), {}};
        return text.find("vnni") != std::string::npos;
    }();
    return exactly;
#else
    return true;
#endif
}

bool may_saturate(const Bytes& graph) {
    std::string_view raw(reinterpret_cast<const char*>(graph.data()), graph.size());
    return raw.find("DequantizeLinear") != raw.npos && !adds_exactly() && onnx::scan(raw, nullptr).signed_weights;
}

std::string first_line(const char* text) {
    std::string line = text ? text : "no message";
    return line.substr(0, line.find('\n')).substr(0, 300);
}

}  // namespace

std::shared_ptr<Ort> Ort::load(const char* library) {
    // One environment for each library: two of one library in a process share their settings anyway.
    static std::mutex mutex;
    static std::map<std::string, std::weak_ptr<Ort>> loaded;
    std::lock_guard<std::mutex> lock(mutex);
    const char* variable = std::getenv("VAE_EDGE_ONNXRUNTIME");
    std::vector<std::string> names;
    if (library)
        names = {library};
    else if (variable && *variable)
        names = {variable};
    else
        names = {"libonnxruntime.so.1", "libonnxruntime.so", "libonnxruntime.dylib"};
    std::string key = names[0], reason;
    if (auto ort = loaded[key].lock()) return ort;
    std::shared_ptr<Ort> ort(new Ort);
    for (const std::string& name : names) {
        ort->library_ = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (ort->library_) break;
        const char* error = ::dlerror();
        reason = error ? error : "unknown";
    }
    const char* remedy = ": pass the path of libonnxruntime.so in vaee_options.onnxruntime, or set VAE_EDGE_ONNXRUNTIME";
    if (!ort->library_) fail(VAEE_MISSING_DEPENDENCY, "ONNX Runtime cannot be loaded (" + reason + ")" + remedy);
    using GetBase = const ApiBase* (*)();
    GetBase get_base = nullptr;
    void* symbol = ::dlsym(ort->library_, "OrtGetApiBase");
    std::memcpy(&get_base, &symbol, sizeof symbol);
    const ApiBase* base = get_base ? get_base() : nullptr;
    if (!base) fail(VAEE_MISSING_DEPENDENCY, key + " is no ONNX Runtime: it has no OrtGetApiBase" + remedy);
    const char* version = base->get_version();
    ort->version_ = version ? version : "unknown";
    ort->api_ = base->get_api(api_version);
    if (!ort->api_)
        fail(VAEE_PROVIDER_UNAVAILABLE, "onnxruntime " + ort->version_ + " is too old: libvaeedge needs 1.17 or newer");
    ort->check(ort->slot<void* (*)(int, const char*, void**)>(CreateEnv)(fatal_only, "vae-edge", &ort->environment_), "did not start");
    ort->check(ort->slot<void* (*)(const void*)>(DisableTelemetryEvents)(ort->environment_), "did not start");
    ort->check(ort->slot<void* (*)(int, int, void**)>(CreateCpuMemoryInfo)(0, 0, &ort->memory_), "did not start");
    loaded[key] = ort;
    return ort;
}

Ort::~Ort() {
    if (memory_) slot<void (*)(void*)>(ReleaseMemoryInfo)(memory_);
    if (environment_) slot<void (*)(void*)>(ReleaseEnv)(environment_);
    // The library stays: its threads and thread-local data do not survive an unload.
}

void Ort::check(void* status, const std::string& what) const {
    if (!status) return;
    std::string text = first_line(slot<const char* (*)(const void*)>(GetErrorMessage)(status));
    slot<void (*)(void*)>(ReleaseStatus)(status);
    fail(VAEE_BACKEND_ERROR, "onnxruntime " + version_ + " " + what + ": " + text);
}

void* Ort::create(const Bytes& graph, const std::string& name, int threads) const {
    void *options = nullptr, *session = nullptr;
    check(slot<void* (*)(void**)>(CreateSessionOptions)(&options), "made no options");
    struct Guard {
        const Ort& ort;
        void* options;
        ~Guard() { ort.slot<void (*)(void*)>(ReleaseSessionOptions)(options); }
    } guard{*this, options};
    check(slot<void* (*)(void*, int)>(SetSessionLogSeverityLevel)(options, fatal_only), "took no option");
    if (threads > 0) check(slot<void* (*)(void*, int)>(SetIntraOpNumThreads)(options, threads), "took no number of threads");
    check(slot<void* (*)(void*, int)>(SetInterOpNumThreads)(options, 1), "took no number of threads");
    if (may_saturate(graph)) check(slot<void* (*)(void*, const char*, const char*)>(AddSessionConfigEntry)(options, "session.disable_quant_qdq", "1"), "took no option");
    check(slot<void* (*)(const void*, const void*, std::size_t, const void*, void**)>(CreateSessionFromArray)(
              environment_, graph.data(), graph.size(), options, &session),
          "refused graph '" + name + "'");
    return session;
}

void Ort::run(void* session, const std::vector<Feed>& feeds, const std::vector<Fetch>& fetches, i64 first, i64 rows) const {
    struct Values {
        const Ort& ort;
        std::vector<void*> all{};
        ~Values() {
            for (void* value : all) ort.slot<void (*)(void*)>(ReleaseValue)(value);
        }
    } inputs{*this}, outputs{*this};
    auto bind = [&](Values& values, void* data, const Tensor& tensor, i64 first) {
        std::vector<i64> shape{rows};
        shape.insert(shape.end(), tensor.shape.begin(), tensor.shape.end());
        std::size_t row_bytes = std::size_t(element_count(tensor.shape) * element_bytes(tensor.dtype));
        void* value = nullptr;
        check(slot<void* (*)(const void*, void*, std::size_t, const i64*, std::size_t, int, void**)>(CreateTensorWithDataAsOrtValue)(
                  memory_, static_cast<u8*>(data) + std::size_t(first) * row_bytes, std::size_t(rows) * row_bytes, shape.data(), shape.size(),
                  element_type(tensor.dtype), &value),
              "took no array");
        values.all.push_back(value);
    };
    std::vector<const char*> input_names, output_names;
    for (const Feed& feed : feeds) {
        bind(inputs, const_cast<void*>(feed.data), feed.tensor, feed.repeated ? 0 : first);
        input_names.push_back(feed.tensor.name.c_str());
    }
    for (const Fetch& fetch : fetches) {
        bind(outputs, fetch.data, fetch.tensor, first);
        output_names.push_back(fetch.tensor.name.c_str());
    }
    std::vector<void*> given = outputs.all;
    check(slot<void* (*)(void*, const void*, const char* const*, void* const*, std::size_t, const char* const*, std::size_t, void**)>(Run)(
              session, nullptr, input_names.data(), inputs.all.data(), inputs.all.size(), output_names.data(), given.size(), given.data()),
          "failed in a run");
}

void Ort::release(void* session) const { slot<void (*)(void*)>(ReleaseSession)(session); }

}  // namespace vaee
