/* The nine C functions that TensorRT's Python bindings import. Each factory gives a null pointer, as the real ones do
 * where the driver is older than their CUDA, and first says so to the logger. Written for these tests: nothing of
 * NVIDIA's is in here. With LOGS a logger's first virtual function takes (this, severity, text), as in TensorRT 10. */
#include <stddef.h>

typedef void (*log_function)(void *, int, const char *);

static void *refuse(void *logger) {
#ifdef LOGS
    (*(log_function **)logger)[0](logger, 2, "CUDA lazy loading is not enabled");
    (*(log_function **)logger)[0](logger, 1, "CUDA initialization failure with error: 35");
#endif
    return NULL;
}

void *createInferBuilder_INTERNAL(void *logger, int version) { return refuse(logger); }
void *createInferRuntime_INTERNAL(void *logger, int version) { return refuse(logger); }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return NULL; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return NULL; }
void *getBuilderPluginRegistry(int capability) { return NULL; }
void *getPluginRegistry(void) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void *logger, const char *name) { return 1; }
