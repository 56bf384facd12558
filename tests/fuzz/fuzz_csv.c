#include <stdlib.h>
#include <string.h>

#include "src/base/csv.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"", "\"\"", ",", "\n", "\r\n", "\r", "\"\n\"", ",\"", "\",", "\xEF\xBB\xBF", "\xC3", ",,,,,,", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "text,TARGET,dialogue_id,turn_id,type,source\n\"They said \"\"no\"\", and\nleft\",CYCLISTS,0,0,HS,demonstrative\n"
        "A kind answer.,CYCLISTS,0,1,CN,demonstrative\n",
        "\xEF\xBB\xBF,prompt\r\n0,\"caf\xC3\xA9\"\r\n\r\n1, blanks stay \r\n2,",
        "id\n1\n",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dtx_csv t = {0};
    volatile unsigned sum = 0;

    dtx_fuzz_status = dtx_csv_read(dtx_memory_file(data, size), &t);
    for (int64_t row = -1; dtx_fuzz_status == DTX_OK && row < t.n_rows; row++) {
        for (int64_t column = 0; column < t.n_columns; column++) {
            size_t len;
            const char *cell = dtx_csv_cell(&t, row, column, &len);
            for (size_t i = 0; i < len; i++) {
                sum += (unsigned char)cell[i];
            }
        }
        if (t.line[row + 1] < 1) { /* records begin somewhere */
            abort();
        }
    }
    dtx_csv_free(&t);
    return 0;
}
