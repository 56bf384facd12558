#include "src/model/families/table.h"

#include <string.h>

static const dtx_family *const table[] = {&dtx_family_neox, &dtx_family_falcon, &dtx_family_llama, &dtx_family_mistral,
                                         &dtx_family_qwen2, &dtx_family_qwen3, &dtx_family_smollm3, &dtx_family_olmo2, &dtx_family_gemma,
                                         &dtx_family_gemma2, &dtx_family_gemma3, &dtx_family_phi3, &dtx_family_gpt2, &dtx_family_gpt_neo,
                                         &dtx_family_roberta};
enum { N_FAMILIES = sizeof table / sizeof *table };

const dtx_family *dtx_family_at(int i)
{
    return i >= 0 && i < N_FAMILIES ? table[i] : NULL;
}

const dtx_family *dtx_family_find(const char *model_type)
{
    for (int i = 0; i < N_FAMILIES; i++) {
        bool found = strcmp(table[i]->model_type, model_type) == 0;
        for (int k = 0; k < 3 && table[i]->dialects[k] != NULL; k++) {
            found = found || strcmp(table[i]->dialects[k], model_type) == 0;
        }
        if (found) {
            return table[i];
        }
    }
    return NULL;
}

const dtx_family *dtx_family_of(const dtx_arch *a)
{
    return dtx_family_find(a->model_type);
}

bool dtx_family_ignores(const dtx_arch *a, const char *tensor)
{
    const size_t len = strlen(tensor);

    for (const char *const *p = dtx_family_of(a)->ignored; *p != NULL; p++) {
        const size_t n = strlen(*p) - 1;
        const bool tail = (*p)[0] == '*';
        if (tail ? len > n && strcmp(tensor + len - n, *p + 1) == 0 : strncmp(tensor, *p, n) == 0) {
            return true;
        }
    }
    return false;
}
