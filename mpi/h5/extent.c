#include "mpi/h5/extent.h"

#include <string.h>
#include <sys/stat.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

enum { CONVERT_AT_ONCE = 1 << 20 }; /* elements */

hid_t dtx_h5_extent_type(const dtx_h5_extent *p)
{
    if (p->is_float) {
        return p->item == 4 ? H5T_IEEE_F32LE : p->item == 8 ? H5T_IEEE_F64LE : -1;
    }
    switch (p->item) {
    case 1: return p->is_signed ? H5T_STD_I8LE : H5T_STD_U8LE;
    case 2: return p->is_signed ? H5T_STD_I16LE : H5T_STD_U16LE;
    case 4: return p->is_signed ? H5T_STD_I32LE : H5T_STD_U32LE;
    case 8: return p->is_signed ? H5T_STD_I64LE : H5T_STD_U64LE;
    default: return -1;
    }
}

dtx_status dtx_h5_locate(hid_t dset, const char *path, dtx_h5_extent *p)
{
    hsize_t shape[2] = {0, 0};
    hid_t type = H5Dget_type(dset);
    struct stat sb;
    int rank = 0;
    dtx_status st;

    DTX_GO(dtx_h5_space_shape(dset, path, shape, &rank));
    *p = (dtx_h5_extent){.rows = (int64_t)shape[0], .width = (int64_t)shape[1], .is_float = H5Tget_class(type) == H5T_FLOAT,
                        .is_signed = H5Tget_class(type) == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2,
                        .item = (int32_t)H5Tget_size(type)};
    if ((!p->is_float && H5Tget_class(type) != H5T_INTEGER) || dtx_h5_extent_type(p) < 0
        || H5Tequal(type, dtx_h5_extent_type(p)) <= 0) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s holds no little-endian numbers, which this program writes", path));
    }
    if (shape[0] == 0 || shape[1] == 0) {
        goto done;
    }
    const haddr_t at = H5Dget_offset(dset);
    hid_t file = H5Iget_file_id(dset);
    const int fd = dtx_h5_descriptor(file);
    H5Fclose(file);
    uint64_t end;
    if (at == HADDR_UNDEF || fd < 0 || fstat(fd, &sb) != 0 || __builtin_mul_overflow(shape[0], shape[1], &end)
        || __builtin_mul_overflow(end, (uint64_t)p->item, &end) || __builtin_add_overflow(end, (uint64_t)at, &end)
        || end > (uint64_t)sb.st_size) {
        DTX_GO(DTX_FAIL(DTX_ERR_INPUT, "%s: its %llu x %llu values do not stand in one piece within the file; this program makes "
                        "datasets contiguous", path, (unsigned long long)shape[0], (unsigned long long)shape[1]));
    }
    p->offset = at;
done:
    if (type >= 0) {
        H5Tclose(type);
    }
    return st;
}

static dtx_status put(int fd, const char *path, const void *x, size_t size, uint64_t at)
{
    const int error = dtx_h5_pwrite(fd, x, size, at);

    return error == 0 ? DTX_OK
                      : DTX_FAIL(DTX_ERR_MISSING, "cannot write %zu bytes of %s into run.h5: %s", size, path, strerror(error));
}

dtx_status dtx_h5_extent_write(int fd, const dtx_h5_extent *p, const char *path, hid_t type, int64_t first, int64_t n, const void *x)
{
    const hid_t stored = dtx_h5_extent_type(p);
    const size_t from = H5Tget_size(type), to = (size_t)p->item, elements = (size_t)n * (size_t)p->width;
    const uint64_t at = p->offset + (uint64_t)first * (uint64_t)p->width * to;
    char *buf = NULL;
    dtx_status st;

    if (H5Tequal(type, stored) > 0) {
        return put(fd, path, x, elements * to, at);
    }
    const size_t some = elements < CONVERT_AT_ONCE ? elements : CONVERT_AT_ONCE;
    DTX_GO(DTX_NEW_RAW(buf, some * (from > to ? from : to) + 1));
    for (size_t done = 0; done < elements; done += some) {
        const size_t k = elements - done < some ? elements - done : some;
        memcpy(buf, (const char *)x + done * from, k * from);
        if (H5Tconvert(type, stored, k, buf, NULL, H5P_DEFAULT) < 0) {
            DTX_GO(DTX_H5_FAIL(DTX_ERR_CHECK, "cannot convert values of %s", path));
        }
        DTX_GO(put(fd, path, buf, k * to, at + done * to));
    }
    st = DTX_OK;
done:
    dtx_free(buf);
    return st;
}
