/* Model files that are right, and model files that must be refused: each with its status, and a message that names the
 * file and the thing. All are written here into a folder of their own. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/file.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/weights/weights.h"
#include "tests/src/weights/build_torch.h"

static char folder[1024];

/* --- files of the test's folder --- */

static const char *in_folder(const char *name)
{
    static char path[2][1100];
    static int turn;

    turn = 1 - turn;
    assert_int_equal(dtx_file_join(path[turn], sizeof path[turn], folder, name), DTX_OK);
    return path[turn];
}

static void put(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in_folder(name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void clean(void)
{
    char command[1200];

    snprintf(command, sizeof command, "rm -rf '%s'/*", folder);
    assert_int_equal(system(command), 0);
}

/* Opens `name` of the folder ("" = the folder) and expects `status` and both texts in the message. */
static void expect(const char *name, dtx_status status, const char *named, const char *why)
{
    dtx_weights *w = NULL;
    size_t held = dtx_mem_used();

    dtx_error_clear();
    dtx_status st = dtx_weights_open(name[0] != '\0' ? in_folder(name) : folder, NULL, &w);
    if (st != status ||
        (status != DTX_OK && (strstr(dtx_error_text(), named) == NULL || strstr(dtx_error_text(), why) == NULL))) {
        fail_msg("%s: expected status %d with \"%s\" and \"%s\", found %d: %s", name, status, named, why, st,
                 dtx_error_text());
    }
    assert_true(status == DTX_OK || strstr(dtx_error_text(), folder) != NULL);
    dtx_weights_close(w);
    assert_int_equal(dtx_mem_used(), held);
}

/* --- safetensors --- */

static void put_safetensors(const char *name, const char *header, const void *data, size_t size)
{
    buf b = {0};

    buf_number(&b, strlen(header), 8);
    buf_text(&b, header);
    buf_add(&b, data, size);
    put(name, b.p, b.n);
    buf_free(&b);
}

static const uint8_t zeros[256];

static void test_safetensors_refused(void **unused)
{
    static const struct {
        const char *header;
        size_t data; /* bytes */
        const char *named, *why;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 23, "tensor a",
         "ends at byte 24 of 23"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 25, "end at byte 24",
         "25 bytes follow"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,20]}}", 20, "tensor a",
         "span 20 bytes, but F32 [2, 3] takes 24"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 8, "tensor a", "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 8, "tensor a", "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, "tensor a", "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 8, "tensor a", "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[18446744073709551612,18446744073709551616]}}", 8,
         "tensor a", "data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[2,6]}}",
         6, "a and b", "overlap at byte 2"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[8,12]}}",
         12, "tensor b", "4 bytes before it at byte 4"},
        {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor a", "dtype \"F8_E4M3\""},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor a", "dtype \"(absent)\""},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "tensor a",
         "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "tensor a",
         "whole number"},
        {"{\"a\":{\"dtype\":\"F64\",\"shape\":[4503599627370496,1024],\"data_offsets\":[0,0]}}", 0, "tensor a",
         "overflows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]}}", 4, "tensor a", "axis 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "tensor a", "axis 0"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "tensor a",
         "more than 8 axes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":4,\"data_offsets\":[0,4]}}", 4, "tensor a", "list of sizes"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
         "\"data_offsets\":[4,8]}}",
         8, "\"a\"", "twice"},
        {"{\"a\":7}", 0, "tensor a", "dtype"},
        {"[]", 0, "header", "object"},
        {"{\"a\":", 0, "header", "malformed JSON"},
        {"{\"__metadata__\":{\"x\":1}}", 0, "__metadata__: x", "string"},
        {"{\"__metadata__\":[]}", 0, "__metadata__", "object"},
    };
    static const uint8_t long_header[16] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, '{', '}'};
    static const uint8_t too_long[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}'};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_safetensors("model.safetensors", cases[i].header, zeros, cases[i].data);
        expect("", DTX_ERR_INPUT, cases[i].named, cases[i].why);
    }
    put("model.safetensors", "", 0);
    expect("", DTX_ERR_INPUT, "0 bytes", "too short");
    put("model.safetensors", zeros, 7);
    expect("", DTX_ERR_INPUT, "7 bytes", "too short");
    put("model.safetensors", long_header, sizeof long_header);
    expect("", DTX_ERR_INPUT, "18446744073709551615", "truncated");
    put("model.safetensors", too_long, sizeof too_long);
    expect("", DTX_ERR_INPUT, "claims 9 bytes", "has 8");
    put("model.safetensors", "version https://lfs", 19); /* a pointer file that was never replaced by the real one */
    expect("", DTX_ERR_INPUT, "header", "not a safetensors file");
    clean();
}

static const float six[6] = {1, 2, 3, 4, 5, 6};
static const int64_t ids[2] = {-7, INT64_MAX};

static void test_safetensors_written_and_read(void **unused)
{
    const dtx_tensor out[] = {
        {.name = "z \"quoted\" \xC3\xA9",
         .dtype = DTX_F32,
         .n_dims = 2,
         .shape = {2, 3},
         .data = six,
         .size_bytes = 24},
        {.name = "ids", .dtype = DTX_I64, .n_dims = 1, .shape = {2}, .data = ids, .size_bytes = 16},
        {.name = "scalar", .dtype = DTX_F32, .data = six, .size_bytes = 4},
        {.name = "none", .dtype = DTX_U8, .n_dims = 2, .shape = {0, 5}, .data = six, .size_bytes = 0},
    };
    const dtx_meta meta[] = {{"format", "pt"}, {"note", "a \"b\"\n"}};
    dtx_weights *w = NULL;

    (void)unused;
    assert_int_equal(dtx_safetensors_write(in_folder("model.safetensors"), out, 4, meta, 2), DTX_OK);
    assert_int_equal(dtx_weights_open(folder, NULL, &w), DTX_OK);
    assert_int_equal(dtx_weights_count(w), 4);
    assert_string_equal(dtx_weights_metadata(w, "note"), "a \"b\"\n");
    assert_null(dtx_weights_metadata(w, "other"));
    assert_null(dtx_weights_find(w, "other"));
    const dtx_tensor *t = dtx_weights_find(w, out[0].name);
    assert_non_null(t);
    assert_int_equal(t->n_elements, 6);
    assert_int_equal(t->shape[1], 3);
    assert_memory_equal(t->data, six, 24);
    assert_int_equal((uintptr_t)t->data % 8, 0);
    t = dtx_weights_find(w, "ids");
    assert_memory_equal(t->data, ids, 16);
    assert_int_equal(dtx_weights_find(w, "scalar")->n_elements, 1);
    assert_int_equal(dtx_weights_find(w, "none")->n_elements, 0);
    for (int64_t i = 1; i < 4; i++) {
        assert_true(strcmp(dtx_weights_at(w, i - 1)->name, dtx_weights_at(w, i)->name) < 0);
    }
    dtx_weights_close(w);
    /* a folder that cannot be written to leaves nothing behind */
    assert_int_equal(dtx_safetensors_write(in_folder("no/such/model.safetensors"), out, 4, NULL, 0), DTX_ERR_MISSING);
    clean();
    assert_int_equal(dtx_safetensors_write("/dev/full/x.safetensors", out, 4, NULL, 0), DTX_ERR_MISSING);
}

/* --- shards --- */

static void put_shard(const char *name, const char *tensor, const float *x, int64_t n)
{
    const dtx_tensor t = {
        .name = tensor, .dtype = DTX_F32, .n_dims = 1, .shape = {n}, .data = x, .size_bytes = 4 * (size_t)n};

    assert_int_equal(dtx_safetensors_write(in_folder(name), &t, 1, NULL, 0), DTX_OK);
}

static void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static void test_shards(void **unused)
{
    static const char index[] = "model.safetensors.index.json";
    dtx_weights *w = NULL;

    (void)unused;
    put_shard("s1.safetensors", "a", six, 2);
    put_shard("s2.safetensors", "b", six + 2, 3);
    put_text(index, "{\"metadata\":{},\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    assert_int_equal(dtx_weights_open(folder, NULL, &w), DTX_OK);
    assert_int_equal(dtx_weights_count(w), 2);
    assert_memory_equal(dtx_weights_find(w, "b")->data, six + 2, 12);
    assert_non_null(strstr(dtx_weights_find(w, "b")->file, "s2.safetensors"));
    dtx_weights_close(w);
    expect(index, DTX_OK, "", ""); /* the index itself can be named */

    put_text(index, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\",\"c\":\"s2.safetensors\"}}");
    expect("", DTX_ERR_INPUT, "tensor c should be in s2.safetensors", "not there");
    put_text(index, "{\"weight_map\":{\"a\":\"s2.safetensors\",\"b\":\"s1.safetensors\"}}");
    expect("", DTX_ERR_INPUT, "tensor a should be in s2.safetensors", "but is in");
    put_text(index, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s3.safetensors\"}}");
    expect("", DTX_ERR_MISSING, "tensor b is said to be in s3.safetensors", "missing");
    put_text(index, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"../s2.safetensors\"}}");
    expect("", DTX_ERR_INPUT, "weight_map: b", "same folder");
    put_text(index, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":5}}");
    expect("", DTX_ERR_INPUT, "weight_map: b", "name of a file");
    put_text(index, "{\"weight_map\":{}}");
    expect("", DTX_ERR_INPUT, index, "weight_map");
    put_text(index, "{\"weight_map\":{\"a\":");
    expect("", DTX_ERR_INPUT, index, "malformed JSON");
    put_shard("s2.safetensors", "a", six, 3);
    put_text(index, "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    expect("", DTX_ERR_INPUT, "tensor a is there twice", "s1.safetensors");

    put_shard("s2.safetensors", "b", six, 3); /* the same length, cut by one byte */
    assert_int_equal(truncate(in_folder("s2.safetensors"), (off_t)(8 + 56 + 11)), 0);
    expect("", DTX_ERR_INPUT, "s2.safetensors", "truncated");
    clean();
}

static void test_where_weights_are(void **unused)
{
    dtx_weights *w = NULL;

    (void)unused;
    expect("", DTX_ERR_MISSING, "holds no weights", "pytorch_model.bin");
    expect("nothing", DTX_ERR_MISSING, "nothing", "no such file or folder");
    put_shard("adapter_model.safetensors", "a", six, 2);
    expect("", DTX_ERR_MISSING, "holds no weights", "model.safetensors");
    assert_int_equal(dtx_weights_open(folder, "adapter_model", &w), DTX_OK);
    dtx_weights_close(w);
    put_text("pytorch_model.bin", "\x80\x02"
                                  "older format");
    expect("", DTX_ERR_INPUT, "pytorch_model.bin", "not a zip archive");
    put_shard("model.safetensors", "a", six, 2); /* preferred where both are */
    expect("", DTX_OK, "", "");
    clean();
}

/* --- torch --- */

#define TENSOR_A                                                                                                       \
    {                                                                                                                  \
        .name = "a", .storage_type = "FloatStorage", .key = "0", .storage_size = 6, .n_dims = 2, .shape = {2, 3},      \
        .stride = {                                                                                                    \
            3,                                                                                                         \
            1                                                                                                          \
        }                                                                                                              \
    }

static void put_torch(const char *name, const pickle_item *items, size_t n, bool ordered, bool wide)
{
    buf pickle = {0}, zip = {0};

    pickle_build(&pickle, items, n, ordered);
    const zip_item files[] = {
        {"m/data.pkl", pickle.p, pickle.n}, {"m/data/0", six, 24}, {"m/data/1", ids, 16}, {"m/version", "3\n", 2}};
    zip_build(&zip, files, 4, wide);
    put(name, zip.p, zip.n);
    buf_free(&pickle);
    buf_free(&zip);
}

static void test_torch_read(void **unused)
{
    const pickle_item items[] = {
        TENSOR_A,
        {.name = "tail",
         .storage_type = "FloatStorage",
         .key = "0",
         .storage_size = 6,
         .offset = 2,
         .n_dims = 1,
         .shape = {4},
         .stride = {1},
         .parameter = true},
        {.name = "ids",
         .storage_type = "LongStorage",
         .key = "1",
         .storage_size = 2,
         .n_dims = 1,
         .shape = {2},
         .stride = {1}},
        {.name = "row",
         .storage_type = "FloatStorage",
         .key = "0",
         .storage_size = 6,
         .n_dims = 3,
         .shape = {1, 6, 1},
         .stride = {77, 1, 5}},
        {.name = "scalar", .storage_type = "FloatStorage", .key = "0", .storage_size = 6, .offset = 5},
    };

    (void)unused;
    for (int form = 0; form < 4; form++) {
        dtx_weights *w = NULL;
        put_torch("pytorch_model.bin", items, 5, form % 2 != 0, form / 2 != 0);
        if (dtx_weights_open(folder, NULL, &w) != DTX_OK) {
            fail_msg("form %d: %s", form, dtx_error_text());
        }
        assert_int_equal(dtx_weights_count(w), 5);
        assert_memory_equal(dtx_weights_find(w, "a")->data, six, 24);
        assert_int_equal(dtx_weights_find(w, "a")->shape[1], 3);
        assert_memory_equal(dtx_weights_find(w, "tail")->data, six + 2, 16);
        assert_memory_equal(dtx_weights_find(w, "ids")->data, ids, 16);
        assert_int_equal(dtx_weights_find(w, "ids")->dtype, DTX_I64);
        assert_int_equal(dtx_weights_find(w, "row")->n_elements, 6);
        assert_memory_equal(dtx_weights_find(w, "scalar")->data, six + 5, 4);
        dtx_weights_close(w);
    }
    clean();
}

static void test_torch_tensors_refused(void **unused)
{
    static const struct {
        pickle_item item;
        const char *named, *why;
    } cases[] = {
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 6,
          .n_dims = 2,
          .shape = {3, 2},
          .stride = {1, 3}},
         "tensor t",
         "row-major"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 6,
          .n_dims = 2,
          .shape = {2, 3},
          .stride = {0, 1}},
         "tensor t",
         "row-major"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 6,
          .offset = 3,
          .n_dims = 1,
          .shape = {4},
          .stride = {1}},
         "data.pkl",
         "does not fit its storage of 6"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 6,
          .offset = 7,
          .n_dims = 1,
          .shape = {0},
          .stride = {1}},
         "data.pkl",
         "does not fit its storage of 6"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 7,
          .n_dims = 1,
          .shape = {6},
          .stride = {1}},
         "tensor t",
         "has 24 bytes, but 7 elements of F32"},
        {{.name = "t",
          .storage_type = "HalfStorage",
          .key = "0",
          .storage_size = 6,
          .n_dims = 1,
          .shape = {6},
          .stride = {1}},
         "tensor t",
         "has 24 bytes, but 6 elements of F16"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "9",
          .storage_size = 6,
          .n_dims = 1,
          .shape = {6},
          .stride = {1}},
         "tensor t",
         "data/9 is not in the archive"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 6,
          .n_dims = 1,
          .shape = {-6},
          .stride = {1}},
         "data.pkl",
         "whole numbers from 0"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = 6,
          .offset = -1,
          .n_dims = 1,
          .shape = {2},
          .stride = {1}},
         "data.pkl",
         "_rebuild_tensor_v2"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = -6,
          .n_dims = 1,
          .shape = {2},
          .stride = {1}},
         "data.pkl",
         "a storage"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = INT64_MAX,
          .n_dims = 2,
          .shape = {INT64_MAX, 4},
          .stride = {4, 1}},
         "data.pkl",
         "overflows"},
        {{.name = "t",
          .storage_type = "FloatStorage",
          .key = "0",
          .storage_size = INT64_MAX,
          .n_dims = 1,
          .shape = {INT64_MAX},
          .stride = {1}},
         "data.pkl",
         "overflows"},
        {{.name = "t",
          .storage_type = "QInt8Storage",
          .key = "0",
          .storage_size = 6,
          .n_dims = 1,
          .shape = {6},
          .stride = {1}},
         "torch.QInt8Storage",
         "refused"},
    };
    const pickle_item twice[] = {TENSOR_A, TENSOR_A};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_torch("pytorch_model.bin", &cases[i].item, 1, true, false);
        expect("", DTX_ERR_INPUT, cases[i].named, cases[i].why);
    }
    put_torch("pytorch_model.bin", twice, 2, true, false);
    expect("", DTX_ERR_INPUT, "tensor a is there twice", "once");
    clean();
}

static void put_pickle(const char *pickle, size_t n)
{
    buf zip = {0};
    const zip_item files[] = {{"m/data.pkl", pickle, n}, {"m/data/0", six, 24}};

    zip_build(&zip, files, 2, false);
    put("pytorch_model.bin", zip.p, zip.n);
    buf_free(&zip);
}

/* What would run code, or is not a dictionary of tensors. */
static void test_pickles_refused(void **unused)
{
#define PICKLE(s) s, sizeof(s) - 1
    static const struct {
        const char *pickle;
        size_t n;
        const char *named, *why;
    } cases[] = {
        {PICKLE("\x80\x02"
                "cos\nsystem\nX\x05\0\0\0touch\x85R."),
         "os.system", "refused"},
        {PICKLE("\x80\x02"
                "cbuiltins\neval\n."),
         "builtins.eval", "refused"},
        {PICKLE("\x80\x02"
                "ctorch\nload\n."),
         "torch.load", "refused"},
        {PICKLE("\x80\x02"
                "ccollections\nOrderedDict\n)\x81."),
         "opcode 0x81", "refused"}, /* NEWOBJ */
        {PICKLE("\x80\x04\x8C\x02"
                "os\x8C\x06system\x93."),
         "opcode 0x93", "refused"},                                              /* STACK_GLOBAL */
        {PICKLE("\x80\x02(S'touch'\nios\nsystem\n."), "opcode 0x53", "refused"}, /* STRING, INST */
        {PICKLE("\x80\x02(cos\nsystem\no."), "os.system", "refused"},            /* OBJ */
        {PICKLE("\x80\x02\x82\x01."), "opcode 0x82", "refused"},                 /* EXT1 */
        {PICKLE("\x80\x02}X\x01\0\0\0aK\x01s."), "a is a int", "tensors alone"},
        {PICKLE("\x80\x02}K\x01K\x01s."), "byte", "not a text"},
        {PICKLE("\x80\x02}X\x03\0\0\0a\0bK\x01s."), "byte", "not a text"},
        {PICKLE("\x80\x02K\x01."), "a dict is expected", "found a int"},
        {PICKLE("\x80\x01}."), "protocol 2", "byte 0"},
        {PICKLE("\x80\x02}"), "byte 3", "truncated"},
        {PICKLE("\x80\x02X\xFF\xFF\xFF\xFF"
                "a."),
         "byte 2", "truncated"},
        {PICKLE("\x80\x02."), "stack is empty", "byte 2"},
        {PICKLE("\x80\x02t."), "no mark", "byte 2"},
        {PICKLE("\x80\x02h\x05."), "never put", "byte 2"},
        {PICKLE("\x80\x02}r\xFF\xFF\xFF\x7F."), "memo key", "byte 3"},
        {PICKLE("\x80\x02"
                "ccollections\nOrderedDict\nK\x01\x85R."),
         "OrderedDict", "no arguments"},
        {PICKLE("\x80\x02}}b}s."), "dictionary", "byte"},
        {PICKLE("\x80\x02\x8A\x09\1\1\1\1\1\1\1\1\1."), "64 bits", "byte 2"},
        {PICKLE("\x80\x02"
                "ctorch\nFloatStorage\n)R."),
         "storage type", "called"},
        {PICKLE("\x80\x02"
                "ccollectionscollectionscollectionscollectionscollectionscollections\nx\n."),
         "name longer", "byte 2"},
    };
#undef PICKLE

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_pickle(cases[i].pickle, cases[i].n);
        expect("", DTX_ERR_INPUT, cases[i].named, cases[i].why);
    }
    clean();
}

/* One field of a good archive changed: at `back` bytes from the end, or at the n-th occurrence of a signature. */
static void test_archives_refused(void **unused)
{
    static const struct {
        uint32_t signature;
        int occurrence, at, bytes;
        uint64_t value;
        const char *named, *why;
    } cases[] = {
        {0x02014b50u, 1, 10, 2, 8, "m/data/0", "compressed"},
        {0x02014b50u, 1, 8, 2, 1, "m/data/0", "encrypted"},
        {0x02014b50u, 1, 24, 4, 23, "m/data/0", "contradict"},
        {0x02014b50u, 1, 42, 4, 1, "m/data/0", "no local header at byte 1"},
        {0x02014b50u, 1, 42, 4, 0, "m/data/0", "another entry"},
        {0x02014b50u, 1, 42, 4, 0xFFFFFFFFu, "m/data/0", "contradict"},
        {0x02014b50u, 0, 28, 2, 0xFFFF, "byte", "beyond its end"},
        {0x02014b50u, 1, 0, 4, 0, "byte", "header of the zip directory"},
        {0x04034b50u, 1, 28, 2, 0xFFFF, "m/data/0", "another entry"},
        {0x06054b50u, 0, 16, 4, 0xFFFFFF, "zip directory", "does not fit"},
        {0x06054b50u, 0, 12, 4, 0xFFFFFF, "zip directory", "does not fit"},
        {0x06054b50u, 0, 10, 2, 0xFFFF, "several volumes", ""},
        {0x06054b50u, 0, 20, 2, 5, "end record is not there", "truncated"},
        {0x06054b50u, 0, 0, 4, 0, "end record is not there", "truncated"},
    };
    buf good = {0}, pickle = {0};
    const pickle_item item = TENSOR_A;

    (void)unused;
    pickle_build(&pickle, &item, 1, false);
    const zip_item files[] = {{"m/data.pkl", pickle.p, pickle.n}, {"m/data/0", six, 24}};
    zip_build(&good, files, 2, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf bad = {0};
        buf_add(&bad, good.p, good.n);
        int seen = 0;
        size_t at = 0;
        for (;; at++) {
            assert_true(at + 4 <= bad.n);
            if (memcmp(bad.p + at, &cases[i].signature, 4) == 0 && seen++ == cases[i].occurrence) {
                break;
            }
        }
        memcpy(bad.p + at + cases[i].at, &cases[i].value, (size_t)cases[i].bytes);
        put("pytorch_model.bin", bad.p, bad.n);
        expect("", DTX_ERR_INPUT, cases[i].named, cases[i].why);
        buf_free(&bad);
    }
    for (size_t cut = 4; cut < good.n; cut++) { /* every truncation */
        put("pytorch_model.bin", good.p, cut);
        expect("", DTX_ERR_INPUT, "pytorch_model.bin", "");
    }
    buf_free(&good);

    const zip_item none[] = {
        {"m/other", "x", 1}, {"data.pkl", pickle.p, pickle.n}, {"a/b/data.pkl", pickle.p, pickle.n}};
    zip_build(&good, none, 3, true);
    put("pytorch_model.bin", good.p, good.n);
    expect("", DTX_ERR_INPUT, "holds no data.pkl", "torch.save");
    buf_free(&good);
    const zip_item twice[] = {{"m/data.pkl", pickle.p, pickle.n}, {"m/data/0", six, 24}, {"m/data/0", six, 24}};
    zip_build(&good, twice, 3, true);
    put("pytorch_model.bin", good.p, good.n);
    expect("", DTX_ERR_INPUT, "m/data/0", "twice");
    buf_free(&good);
    const zip_item big[] = {{"m/data.pkl", pickle.p, pickle.n}, {"m/data/0", six, 24}, {"m/byteorder", "big", 3}};
    zip_build(&good, big, 3, false);
    put("pytorch_model.bin", good.p, good.n);
    expect("", DTX_ERR_INPUT, "byteorder is \"big\"", "little");
    buf_free(&good);
    buf_free(&pickle);
    clean();
}

/* --- fingerprint --- */

static void fingerprint_of(const char *name, int all, char out[65])
{
    dtx_weights *w = NULL;

    if (dtx_weights_open(in_folder(name), NULL, &w) != DTX_OK) {
        fail_msg("%s", dtx_error_text());
    }
    assert_int_equal(dtx_weights_fingerprint(w, all, out), DTX_OK);
    assert_int_equal(strlen(out), 64);
    dtx_weights_close(w);
}

static void test_fingerprint(void **unused)
{
    static uint8_t big[200000];
    const pickle_item items[] = {TENSOR_A,
                                 {.name = "i",
                                  .storage_type = "LongStorage",
                                  .key = "1",
                                  .storage_size = 2,
                                  .n_dims = 1,
                                  .shape = {2},
                                  .stride = {1}}};
    dtx_tensor t[] = {
        {.name = "i", .dtype = DTX_I64, .n_dims = 1, .shape = {2}, .data = ids, .size_bytes = 16},
        {.name = "a", .dtype = DTX_F32, .n_dims = 2, .shape = {2, 3}, .data = six, .size_bytes = 24},
    };
    char one[65], two[65], all[65];

    (void)unused;
    put_torch("pytorch_model.bin", items, 2, true, false);
    assert_int_equal(dtx_safetensors_write(in_folder("model.safetensors"), t, 2, NULL, 0), DTX_OK);
    assert_int_equal(dtx_safetensors_write(in_folder("s1"), t, 1, NULL, 0), DTX_OK);
    assert_int_equal(dtx_safetensors_write(in_folder("s2"), t + 1, 1, NULL, 0), DTX_OK);
    put_text("m.index.json", "{\"weight_map\":{\"a\":\"s2\",\"i\":\"s1\"}}");
    fingerprint_of("pytorch_model.bin", 0, one);
    fingerprint_of("model.safetensors", 0, two);
    assert_string_equal(one, two);
    fingerprint_of("m.index.json", 0, two);
    assert_string_equal(one, two);

    t[1].shape[0] = 3; /* another shape over the same bytes */
    t[1].shape[1] = 2;
    assert_int_equal(dtx_safetensors_write(in_folder("model.safetensors"), t, 2, NULL, 0), DTX_OK);
    fingerprint_of("model.safetensors", 0, two);
    assert_string_not_equal(one, two);

    /* a large tensor: the ends are sampled, all of it on request */
    dtx_tensor large = {
        .name = "a", .dtype = DTX_U8, .n_dims = 1, .shape = {sizeof big}, .data = big, .size_bytes = sizeof big};
    assert_int_equal(dtx_safetensors_write(in_folder("l0"), &large, 1, NULL, 0), DTX_OK);
    fingerprint_of("l0", 0, one);
    fingerprint_of("l0", 1, all);
    for (int k = 0; k < 2; k++) {
        big[k == 0 ? 0 : sizeof big - 1] = 1;
        assert_int_equal(dtx_safetensors_write(in_folder("l1"), &large, 1, NULL, 0), DTX_OK);
        fingerprint_of("l1", 0, two);
        assert_string_not_equal(one, two);
        big[k == 0 ? 0 : sizeof big - 1] = 0;
    }
    big[5000] = 1; /* between the first two blocks */
    assert_int_equal(dtx_safetensors_write(in_folder("l1"), &large, 1, NULL, 0), DTX_OK);
    fingerprint_of("l1", 0, two);
    assert_string_equal(one, two);
    fingerprint_of("l1", 1, two);
    assert_string_not_equal(all, two);
    clean();
}

static void test_sha256(void **unused)
{
    /* FIPS 180-2, examples B.1 and of the empty message */
    static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    char text[DTX_SHA256_TEXT];

    (void)unused;
    put_text("abc", "abc");
    put_text("empty", "");
    assert_int_equal(dtx_sha256_file(in_folder("abc"), text), DTX_OK);
    assert_string_equal(text, abc);
    assert_int_equal(dtx_sha256_file(in_folder("empty"), text), DTX_OK);
    assert_string_equal(text, empty);
    assert_int_equal(dtx_sha256_file(in_folder("none"), text), DTX_ERR_MISSING);
    clean();
}

/* --- memory --- */

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");

    if (d == NULL) {
        return 0; /* no /proc: nothing to compare */
    }
    while (readdir(d) != NULL) {
        n++;
    }
    closedir(d);
    return n;
}

/* A map, not a copy: 8 MB of weights cost some hundred bytes of our own, and no descriptor stays open. */
static void test_mapped_not_copied(void **unused)
{
    enum { SIZE = 8 << 20 };
    uint8_t *x = calloc(SIZE, 1);
    dtx_weights *w = NULL;

    (void)unused;
    assert_non_null(x);
    const dtx_tensor t = {
        .name = "a", .dtype = DTX_BF16, .n_dims = 1, .shape = {SIZE / 2}, .data = x, .size_bytes = SIZE};
    assert_int_equal(dtx_safetensors_write(in_folder("model.safetensors"), &t, 1, NULL, 0), DTX_OK);
    free(x);
    size_t held = dtx_mem_used();
    int descriptors = open_descriptors();
    assert_int_equal(dtx_weights_open(folder, NULL, &w), DTX_OK);
    assert_int_equal(dtx_weights_find(w, "a")->size_bytes, SIZE);
    assert_true(dtx_mem_used() - held < 16384);
    assert_int_equal(open_descriptors(), descriptors);
    dtx_weights_close(w);
    assert_int_equal(dtx_mem_used(), held);
    clean();
}

/* Every allocation on the way fails once: a clean error, nothing held, and at last success. */
static void test_no_memory(void **unused)
{
    const pickle_item items[] = {TENSOR_A,
                                 {.name = "i",
                                  .storage_type = "LongStorage",
                                  .key = "1",
                                  .storage_size = 2,
                                  .n_dims = 1,
                                  .shape = {2},
                                  .stride = {1},
                                  .parameter = true}};

    (void)unused;
    put_shard("s1.safetensors", "b", six, 2);
    put_torch("s2.bin", items, 2, true, true);
    put_text("model.safetensors.index.json",
             "{\"weight_map\":{\"b\":\"s1.safetensors\",\"a\":\"s2.bin\",\"i\":\"s2.bin\"}}");
    size_t held = dtx_mem_used();
    int64_t n = 1;
    for (;; n++) {
        dtx_weights *w = NULL;
        char sum[65];
        dtx_error_clear();
        dtx_mem_fail_at(n);
        dtx_status st = dtx_weights_open(folder, NULL, &w);
        if (st == DTX_OK) {
            st = dtx_weights_fingerprint(w, 1, sum);
        }
        dtx_mem_fail_at(0);
        dtx_weights_close(w);
        assert_int_equal(dtx_mem_used(), held);
        if (st == DTX_OK) {
            break;
        }
        assert_int_equal(st, DTX_ERR_MISSING);
        assert_non_null(strstr(dtx_error_text(), "out of memory"));
        assert_true(n < 1000);
    }
    assert_true(n > 20); /* the hook was on the way */
    clean();
}

static int make_folder(void **unused)
{
    const char *tmp = getenv("TMPDIR");

    (void)unused;
    snprintf(folder, sizeof folder, "%s/dtx.XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **unused)
{
    (void)unused;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_safetensors_refused),
        cmocka_unit_test(test_safetensors_written_and_read),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_where_weights_are),
        cmocka_unit_test(test_torch_read),
        cmocka_unit_test(test_torch_tensors_refused),
        cmocka_unit_test(test_pickles_refused),
        cmocka_unit_test(test_archives_refused),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_mapped_not_copied),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
