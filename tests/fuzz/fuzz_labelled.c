/* Labelled texts (CSV): labels and groups of what is accepted are within their bounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/training/labelled.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

dtx_status dtx_fuzz_status;

const char *const dtx_fuzz_words[] = {"\"", "\"\"", ",", "\n", "\r\n", "good", "bad", "other", "label", "group", "text", "\xEF\xBB\xBF", "\xC3", NULL};

size_t dtx_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "text,label,group\n\"one, two\",good,a\nthree,bad,a\nfour,good,b\nfive,bad,b\nsix,good,c\nseven,bad,c\n",
        "group,text,label\r\n1,x,yes\r\n2,y,no\r\n3,\"z\nz\",yes\r\n4,w,no\r\n",
    };

    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}

static char link_path[64]; /* the file's name decides the kind */

static void remove_link(void)
{
    unlink(link_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = dtx_memory_file(data, size);
    char spec[80];
    const char *const specs[] = {spec};
    dtx_labelled l = {0};

    if (link_path[0] == '\0') {
        snprintf(link_path, sizeof link_path, "/tmp/dtx-fuzz-%ld.csv", (long)getpid());
        unlink(link_path);
        if (symlink(path, link_path) != 0) {
            perror(link_path);
            abort();
        }
        atexit(remove_link);
    }
    snprintf(spec, sizeof spec, "%s:text", link_path);
    dtx_fuzz_status = dtx_labelled_read(specs, 1, "label", "group", 0.3, 1, &l);
    for (int64_t i = 0; dtx_fuzz_status == DTX_OK && i < l.n; i++) {
        if (l.label[i] < 0 || l.label[i] >= l.n_labels || l.held[i] > 1) {
            abort();
        }
    }
    dtx_labelled_free(&l);
    return 0;
}
