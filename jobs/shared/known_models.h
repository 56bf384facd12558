/* known_models.h - descriptions of the study's models and of two small relatives, as their makers publish them: a plan needs
 * no download, and `bench --make-model` makes folders of their shapes. */
#ifndef DTX_KNOWN_MODELS_H
#define DTX_KNOWN_MODELS_H

#include "src/model/families/arch.h"

typedef struct {
    const char *name, *folder; /* "redpajama-3b"; the folder's name at its publisher */
    const char *json;          /* config.json as far as the computation depends on it */
} dtx_known_model;

/* By short name or by the last part of a path; NULL when it is not known. */
const dtx_known_model *dtx_known_model_find(const char *path);
/* "redpajama-3b, falcon-7b, ..." for messages. */
const char *dtx_known_model_names(void);
dtx_status dtx_known_model_arch(const dtx_known_model *m, dtx_arch *out);

#endif
