/* inspect.h - the parts of the job inspect: each looks at one kind of thing and adds what it finds. */
#ifndef DTX_INSPECT_H
#define DTX_INSPECT_H

#include "jobs/shared/facts.h"

/* A Hugging Face model folder, with or without weights. `sha256` hashes every byte of the weights. */
dtx_status dtx_inspect_model(const char *dir, bool sha256, dtx_facts *f);
/* A LoRA adapter's folder in PEFT's layout. */
dtx_status dtx_inspect_adapter(const char *dir, bool sha256, dtx_facts *f);
/* One weights file: its tensors. */
dtx_status dtx_inspect_weights(const char *file, bool sha256, dtx_facts *f);
/* A GGUF file: its keys, and the model, or what it lacks to be one. */
dtx_status dtx_inspect_gguf(const char *file, bool sha256, dtx_facts *f);
/* A run.h5; `dir` is its run directory, for the progress of a job that is under way. */
dtx_status dtx_inspect_run(const char *dir, const char *file, dtx_facts *f);
/* One row of a run.h5: text, completion, prompt dependence. */
dtx_status dtx_inspect_row(const char *file, const char *variant, int64_t row, dtx_facts *f);
/* Everything that a run.h5 can hold, printed as text or JSON. */
dtx_status dtx_inspect_schema(bool json);

#endif
