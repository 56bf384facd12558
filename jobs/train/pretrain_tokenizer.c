/* The tokenizer that a training from scratch makes of its texts. */
#include "jobs/train/pretrain.h"
#include "src/base/file.h"

dtx_status dtx_pretrain_tokenizer(dtx_pretrainer *t, const char *const *text, const size_t *len, int64_t n, bool roberta)
{
    DTX_TRY(dtx_file_mkdirs(t->tokenizer_dir));
    return dtx_bpe_train(text, len, n, t->c->pretrain.vocab, roberta, t->tokenizer_dir);
}
