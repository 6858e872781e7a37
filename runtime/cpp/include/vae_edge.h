/* libvaeedge: bundles of vae-edge from C and C++.
 *
 * Every function returns VAEE_OK or the error that the Python runtime raises under the same name; vaee_last_error()
 * then says what was wrong and what to do. All arrays belong to the caller. A session may be used from many threads
 * at once. ONNX Runtime is loaded at run time from the caller's own library (1.17 or newer).
 */
#ifndef VAE_EDGE_H
#define VAE_EDGE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define VAEE_API __attribute__((visibility("default")))
#else
#define VAEE_API
#endif

typedef enum {
    VAEE_OK = 0,
    VAEE_BUNDLE_ERROR,         /* the system does not open or read the file */
    VAEE_BUNDLE_CORRUPT,       /* bytes differ from what was written */
    VAEE_BUNDLE_INVALID,       /* well-formed bytes that break a rule of the format */
    VAEE_BUNDLE_TOO_NEW,       /* written for a newer runtime */
    VAEE_GRAPH_REFUSED,        /* an ONNX graph that is not run */
    VAEE_PAIR_MISMATCH,        /* graphs of two exports in one bundle */
    VAEE_INPUT_ERROR,          /* an array that does not fit the model */
    VAEE_OPTION_ERROR,         /* an argument that is not valid */
    VAEE_CALIBRATION_ERROR,    /* no calibration, or too few rows for what was asked */
    VAEE_MISSING_DEPENDENCY,   /* no ONNX Runtime was found */
    VAEE_PROVIDER_UNAVAILABLE, /* the ONNX Runtime found is too old */
    VAEE_BACKEND_ERROR,        /* the engine failed */
    VAEE_SESSION_CLOSED,       /* use in a forked child */
    VAEE_OUT_OF_MEMORY,
    VAEE_INTERNAL_ERROR        /* a bug of this library */
} vaee_error;

typedef enum { VAEE_FLOAT32 = 1, VAEE_UINT8 = 2, VAEE_INT64 = 7, VAEE_FLOAT64 = 11 } vaee_dtype;

/* What became of one row. A row that is not VAEE_ROW_OK holds NaN and is no anomaly. */
enum { VAEE_ROW_OK = 0, VAEE_ROW_NON_FINITE_INPUT = 1, VAEE_ROW_NON_FINITE_OUTPUT = 2, VAEE_ROW_UNKNOWN_CODE = 3 };

/* What is wrong with a cell of a stream; values add up. */
enum { VAEE_NON_FINITE = 1, VAEE_OUT_OF_RANGE = 2, VAEE_STUCK = 4, VAEE_SATURATED = 8, VAEE_GAP = 16 };

typedef enum { VAEE_ALARM_OFF = 0, VAEE_ALARM_RAISED, VAEE_ALARM_ON, VAEE_ALARM_CLEARED } vaee_alarm_state;

/* An array in C order: shape[0] is the number of rows. */
typedef struct {
    const void* data;
    vaee_dtype dtype;
    int rank;
    int64_t shape[8];
} vaee_array;

/* Shape of one row, without the batch axis. */
typedef struct {
    vaee_dtype dtype;
    int rank;
    int64_t shape[5];
    int64_t elements;
} vaee_shape;

typedef struct {
    const char* name;
    int calibrated;             /* whether there are p-values and a threshold */
    double threshold;           /* NaN where not calibrated */
    double false_positive_rate; /* that the threshold stands for */
    int64_t calibration_rows;
} vaee_head;

typedef struct vaee_session vaee_session;
typedef struct vaee_stream vaee_stream;
typedef struct vaee_alarm vaee_alarm;

/* Set what is wanted, zero the rest. */
typedef struct {
    const char* variant;     /* NULL or "auto": fp32 where there is one */
    const char* onnxruntime; /* path of libonnxruntime.so; NULL: VAE_EDGE_ONNXRUNTIME, then the system's search */
    int threads;             /* of one run; 0: the engine chooses */
} vaee_options;

/* All pointers live as long as the session. */
typedef struct {
    const char* model_name;
    const char* model_version;
    const char* bundle_id;
    const char* pair_id;
    int64_t release;
    const char* variant;
    const char* engine_version;
    const char* layout;      /* of the input: nchw, nhwc, features, time_features, any */
    const char* latent_kind; /* gaussian, deterministic, codes */
    const char* prior_kind;  /* standard_normal, gaussian_mixture, categorical, none */
    vaee_shape input;
    vaee_shape condition; /* rank -1: the model takes none */
    vaee_shape latent;    /* what decode takes */
    vaee_shape embedding; /* mean of vaee_encode */
    vaee_shape output;
    int has_kl;
    int has_logvar;
    int has_indices;
    int has_stream_rules;
    size_t variants;
    const char* const* variant_names;
    size_t heads;
    const vaee_head* head; /* the first is the default head */
} vaee_info;

/* Results of one head for n rows; each pointer may be NULL. */
typedef struct {
    const char* head;
    float* score;
    double* p_value;
    uint8_t* is_anomaly; /* score > threshold */
} vaee_head_scores;

/* Results of vaee_score for n rows; each pointer may be NULL. */
typedef struct {
    float* score;        /* (n): of the default head */
    double* p_value;     /* (n) */
    uint8_t* is_anomaly; /* (n) */
    uint8_t* status;     /* (n) */
    float* reconstruction; /* (n) */
    float* kl;           /* (n); an error where the model has none */
    float* map;          /* (n, input elements) */
    size_t heads;
    const vaee_head_scores* head; /* further heads */
    const double* threshold;      /* of the default head, instead of the calibrated one; NULL: that one */
} vaee_scores;

typedef struct {
    int ok; /* every golden output is within its tolerance */
    int64_t members;
    int64_t rows;
    int64_t checks;
    double worst; /* largest difference, as a share of its tolerance */
    char worst_output[160];
} vaee_verification;

typedef struct {
    int raise_after;
    int of;
    int clear_after;
    double clear_rate;
    int cool_down;
} vaee_alarm_rules;

typedef struct {
    int64_t index; /* of the last row it is about, from 0 */
    double time;   /* of that row; NaN where none was given */
    int scored;    /* 0: score, p_value, is_anomaly hold nothing */
    int status;    /* VAEE_ROW_OK, or why there is no score */
    float score;
    double p_value; /* NaN without calibration */
    int is_anomaly; /* -1 without a threshold */
    vaee_alarm_state alarm;
    unsigned faults;              /* of any cell */
    size_t features;              /* length of feature_faults */
    const uint8_t* feature_faults; /* per feature; lives until the next call of the stream */
} vaee_event;

VAEE_API const char* vaee_version(void);
VAEE_API const char* vaee_error_name(vaee_error error); /* as in Python: "BundleCorrupt" */
VAEE_API const char* vaee_last_error(void);             /* of this thread; lives until its next call */

/* Container, manifest, every hash and every graph; no engine is needed. bundle_id may be NULL, or hold 65 bytes. */
VAEE_API vaee_error vaee_check(const char* path, char* bundle_id);
VAEE_API vaee_error vaee_check_graph(const void* onnx, size_t bytes);
VAEE_API vaee_error vaee_check_manifest(const void* json, size_t bytes);
/* As vaee_check, and the golden vectors of every variant. */
VAEE_API vaee_error vaee_verify(const char* path, const vaee_options* options, vaee_verification* outcome);

VAEE_API vaee_error vaee_open(const char* path, const vaee_options* options, vaee_session** session);
VAEE_API const vaee_info* vaee_get_info(const vaee_session* session);
/* Waits for the calls that run now; no call may begin after it. NULL is no error. */
VAEE_API void vaee_close(vaee_session* session);

/* condition is NULL for a model that takes none; an array without the axis of rows is one for all rows. */
VAEE_API vaee_error vaee_score(vaee_session* session, const vaee_array* x, const vaee_array* condition,
                               const vaee_scores* scores);
/* mean (n, embedding), logvar (n, latent), indices (n, latent), status (n); each may be NULL. */
VAEE_API vaee_error vaee_encode(vaee_session* session, const vaee_array* x, const vaee_array* condition, float* mean,
                                float* logvar, int64_t* indices, uint8_t* status);
/* x_hat (n, output) of the output's dtype. */
VAEE_API vaee_error vaee_decode(vaee_session* session, const vaee_array* z, const vaee_array* condition, void* x_hat);
VAEE_API vaee_error vaee_sample(vaee_session* session, int64_t n, uint64_t seed, double temperature,
                                const vaee_array* condition, void* x_hat);
/* The latents that vaee_sample decodes: float32, or int64 of codes. */
VAEE_API vaee_error vaee_latents(vaee_session* session, int64_t n, uint64_t seed, double temperature, void* z);
/* p_value and is_anomaly of given scores of one head; NULL is the default head. */
VAEE_API vaee_error vaee_decide(vaee_session* session, const char* head, const float* scores, size_t n,
                                double* p_value, uint8_t* is_anomaly);
/* method: "conformal" or "tail". */
VAEE_API vaee_error vaee_threshold_for(vaee_session* session, const char* head, const char* method, double rate,
                                       double* threshold);

/* The noise of every vae-edge runtime, bit for bit. */
VAEE_API vaee_error vaee_words(uint64_t seed, uint64_t stream, size_t count, uint64_t* words);
VAEE_API vaee_error vaee_noise(uint64_t seed, uint64_t stream, size_t count, float* noise);

/* Decisions about rows as they come. stride: rows from one window to the next; 0: a whole window. */
VAEE_API vaee_error vaee_stream_open(vaee_session* session, int64_t stride, vaee_stream** stream);
/* times: seconds, (n), or NULL. */
VAEE_API vaee_error vaee_stream_push(vaee_stream* stream, const vaee_array* rows, const double* times);
/* 1 and an event, or 0 where none waits. */
VAEE_API int vaee_stream_next(vaee_stream* stream, vaee_event* event);
VAEE_API void vaee_stream_close(vaee_stream* stream);
/* Faults of one block by the bundle's rules: flags (n, features; a picture has one), steps (n). No engine runs. */
VAEE_API vaee_error vaee_guard(const char* path, const vaee_array* rows, const double* times, uint8_t* flags,
                               uint8_t* steps);
VAEE_API vaee_error vaee_alarm_open(const vaee_alarm_rules* rules, vaee_alarm** alarm);
/* is_anomaly: 1, 0, or -1 where there was no score. p_value: NaN where there is none. */
VAEE_API vaee_alarm_state vaee_alarm_step(vaee_alarm* alarm, int is_anomaly, double p_value);
VAEE_API void vaee_alarm_close(vaee_alarm* alarm);

#ifdef __cplusplus
}
#endif
#endif
