// ONNX Runtime, loaded at run time from the library of the user: a Jetson's own GPU build counts.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base.h"
#include "manifest.h"

namespace vaee {

struct Feed {
    const void* data;
    Tensor tensor;
    bool repeated = false;  // the same rows for every piece
};
struct Fetch {
    void* data;
    Tensor tensor;
};

class Ort {
public:
    static std::shared_ptr<Ort> load(const char* library);
    ~Ort();
    const std::string& version() const { return version_; }
    void* create(const Bytes& graph, const std::string& name, int threads) const;
    // The buffers of the outputs are written to directly; rows start at `first` of each.
    void run(void* session, const std::vector<Feed>& feeds, const std::vector<Fetch>& fetches, i64 first, i64 rows) const;
    void release(void* session) const;

private:
    Ort() = default;
    template <class Function>
    Function slot(int index) const {
        Function function;
        std::memcpy(&function, api_ + index, sizeof function);
        return function;
    }
    void check(void* status, const std::string& what) const;
    void* library_ = nullptr;
    void* const* api_ = nullptr;  // OrtApi: a struct of function pointers whose order never changes
    void* environment_ = nullptr;
    void* memory_ = nullptr;
    std::string version_;
};

}  // namespace vaee
