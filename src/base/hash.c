#include "src/base/hash.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "src/base/file.h"
#include "src/base/mem.h"

struct dtx_sha256 {
    EVP_MD_CTX *ctx;
};

static dtx_status failed(void)
{
    return DTX_FAIL(DTX_ERR_CHECK, "libcrypto cannot compute SHA-256");
}

static void write_hex(const unsigned char *digest, unsigned int n, char *out)
{
    for (unsigned int i = 0; i < n; i++) {
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

dtx_status dtx_sha256_new(dtx_sha256 **out)
{
    dtx_sha256 *h;

    DTX_TRY(DTX_NEW(h, 1));
    h->ctx = EVP_MD_CTX_new();
    if (h->ctx == NULL || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        dtx_sha256_del(h);
        return failed();
    }
    *out = h;
    return DTX_OK;
}

dtx_status dtx_sha256_add(dtx_sha256 *h, const void *data, size_t size)
{
    return EVP_DigestUpdate(h->ctx, data, size) == 1 ? DTX_OK : failed();
}

dtx_status dtx_sha256_end(dtx_sha256 *h, char out[DTX_SHA256_TEXT])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;

    if (EVP_DigestFinal_ex(h->ctx, digest, &n) != 1 || n != 32) {
        return failed();
    }
    write_hex(digest, n, out);
    return DTX_OK;
}

void dtx_sha256_del(dtx_sha256 *h)
{
    if (h != NULL) {
        EVP_MD_CTX_free(h->ctx);
        dtx_free(h);
    }
}

dtx_status dtx_sha256_bytes(const void *data, size_t size, char out[DTX_SHA256_TEXT])
{
    dtx_sha256 *h = NULL;
    dtx_status st = DTX_OK;

    DTX_GO(dtx_sha256_new(&h));
    DTX_GO(dtx_sha256_add(h, data, size));
    DTX_GO(dtx_sha256_end(h, out));
done:
    dtx_sha256_del(h);
    return st;
}

dtx_status dtx_sha256_file(const char *path, char out[DTX_SHA256_TEXT])
{
    dtx_file_map map;

    DTX_TRY(dtx_file_map_open(path, &map));
    dtx_status st = dtx_sha256_bytes(map.data, map.size, out);
    dtx_file_map_close(&map);
    return st;
}

dtx_status dtx_git_blob_bytes(const void *data, size_t size, char out[DTX_GIT_TEXT])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    char head[40];
    int len = snprintf(head, sizeof head, "blob %zu", size) + 1; /* the NUL belongs to it */
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int good = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) == 1 && EVP_DigestUpdate(ctx, head, (size_t)len) == 1
            && EVP_DigestUpdate(ctx, data, size) == 1 && EVP_DigestFinal_ex(ctx, digest, &n) == 1 && n == 20;

    EVP_MD_CTX_free(ctx);
    if (!good) {
        return DTX_FAIL(DTX_ERR_CHECK, "libcrypto cannot compute SHA-1");
    }
    write_hex(digest, n, out);
    return DTX_OK;
}

dtx_status dtx_git_blob_file(const char *path, char out[DTX_GIT_TEXT])
{
    dtx_file_map map;

    DTX_TRY(dtx_file_map_open(path, &map));
    dtx_status st = dtx_git_blob_bytes(map.data, map.size, out);
    dtx_file_map_close(&map);
    return st;
}

dtx_status dtx_base64(const void *data, size_t size, char **out)
{
    char *text = NULL;

    if (size > (size_t)3 << 29) {
        return DTX_FAIL(DTX_ERR_CHECK, "%zu bytes are too many for base64", size);
    }
    DTX_TRY(DTX_NEW(text, (size + 2) / 3 * 4 + 1));
    EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    *out = text;
    return DTX_OK;
}
