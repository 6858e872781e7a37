/* Score raw float32 rows from stdin: score BUNDLE < rows.f32; one line a row: score, p-value, decision. */
#include <stdio.h>
#include <stdlib.h>

#include "vae_edge.h"

static int failed(vaee_error error) {
    if (error) fprintf(stderr, "%s: %s\n", vaee_error_name(error), vaee_last_error());
    return error != VAEE_OK;
}

int main(int argc, char** argv) {
    vaee_session* session;
    if (argc != 2 || failed(vaee_open(argv[1], NULL, &session))) return 2;
    const vaee_info* info = vaee_get_info(session);
    float* row = malloc((size_t)info->input.elements * sizeof *row);
    vaee_array x = {row, VAEE_FLOAT32, info->input.rank + 1, {1}};
    for (int i = 0; i < info->input.rank; ++i) x.shape[i + 1] = info->input.shape[i];
    float score;
    double p_value;
    uint8_t is_anomaly, status;
    vaee_scores out = {&score, &p_value, &is_anomaly, &status, NULL, NULL, NULL, 0, NULL, NULL};
    int code = 0;
    while (row && !code && fread(row, sizeof *row, (size_t)info->input.elements, stdin) == (size_t)info->input.elements) {
        code = failed(vaee_score(session, &x, NULL, &out)) ? 2 : 0;
        if (!code) printf("%.6g %.4g %s\n", (double)score, p_value, status ? "not scored" : is_anomaly ? "anomaly" : "normal");
    }
    free(row);
    vaee_close(session);
    return code;
}
