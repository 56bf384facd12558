/* Copies a group or dataset into another file as the jobs would have made it there: dimension scales are not copied, they are
 * found or made by dtx_h5_make, as HDF5 stores them by address. */
#include <stdio.h>
#include <string.h>

#include "mpi/h5/impl.h"
#include "src/base/mem.h"

enum { PATH_SIZE = 1024, PIECE = 1 << 24 };

/* --- attributes --- */

/* Those that HDF5's dimension scales and dtx_h5_make look after. */
static bool is_made(const char *name)
{
    static const char *const made[] = {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "long_name", "units"};

    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        if (strcmp(name, made[i]) == 0) {
            return true;
        }
    }
    return false;
}

static dtx_status copy_attribute(hid_t from, hid_t to, const char *path, const char *name)
{
    hid_t a = H5Aopen(from, name, H5P_DEFAULT), b = -1, type = a >= 0 ? H5Aget_type(a) : -1, space = a >= 0 ? H5Aget_space(a) : -1;
    hssize_t n = space >= 0 ? H5Sget_simple_extent_npoints(space) : -1;
    char *x = NULL;
    dtx_status st = DTX_OK;

    if (type < 0 || n < 0 || H5Tdetect_class(type, H5T_VLEN) > 0 || H5Tis_variable_str(type) > 0) {
        st = DTX_FAIL(DTX_ERR_INPUT, "the attribute %s of %s is damaged or of a type that no run.h5 holds", name, path);
        goto done;
    }
    DTX_GO(DTX_NEW(x, (size_t)n * H5Tget_size(type) + 1));
    b = H5Acreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (b < 0 || (n > 0 && (H5Aread(a, type, x) < 0 || H5Awrite(b, type, x) < 0))) {
        st = DTX_H5_FAIL(DTX_ERR_CHECK, "cannot copy the attribute %s of %s", name, path);
    }
done:
    dtx_free(x);
    if (b >= 0) {
        H5Aclose(b);
    }
    if (space >= 0) {
        H5Sclose(space);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (a >= 0) {
        H5Aclose(a);
    }
    return st;
}

dtx_status dtx_h5_copy_attributes(hid_t from_file, const char *path, hid_t to_file, const char *to_path)
{
    hid_t from = -1, to = -1;
    H5O_info_t info;
    char name[256];
    dtx_status st;

    DTX_GO(dtx_h5_open_object(from_file, path, &from));
    DTX_GO(dtx_h5_open_object(to_file, to_path, &to));
    if (H5Oget_info2(from, &info, H5O_INFO_NUM_ATTRS) < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot list the attributes of %s", path);
        goto done;
    }
    for (hsize_t i = 0; i < info.num_attrs; i++) {
        ssize_t len = H5Aget_name_by_idx(from, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT);
        if (len <= 0 || (size_t)len >= sizeof name) {
            st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read the attributes of %s", path);
            goto done;
        }
        if (!is_made(name) && H5Aexists(to, name) <= 0) {
            DTX_GO(copy_attribute(from, to, path, name));
        }
    }
done:
    if (from >= 0) {
        H5Oclose(from);
    }
    if (to >= 0) {
        H5Oclose(to);
    }
    return st;
}

/* --- datasets --- */

/* How dtx_h5_make is told of an axis: those of the root by "/name", even where another length has put them into the group. */
static dtx_status axis_name(hid_t file, const char *scale, char out[PATH_SIZE])
{
    static const char *const of_root[] = {"row", "row_edge", "step"};
    const char *name = strrchr(scale, '/');
    char *label = NULL;
    bool root = name == scale;

    if (name == NULL) {
        return DTX_FAIL(DTX_ERR_INPUT, "a dimension scale without a name");
    }
    DTX_TRY(dtx_h5_attr_get_str(file, scale, "NAME", &label));
    for (size_t i = 0; i < sizeof of_root / sizeof *of_root; i++) {
        root = root || strcmp(name + 1, of_root[i]) == 0;
    }
    bool flat = label != NULL && strncmp(label, "This is a netCDF dimension", 26) == 0;
    dtx_free(label);
    snprintf(out, PATH_SIZE, "%s%s", flat ? "flat:" : root ? "/" : "", name + 1);
    return DTX_OK;
}

/* An open dataset as dtx_h5_make has to be told of it. `text` holds the strings. */
typedef struct {
    char scale[PATH_SIZE], dim[2][PATH_SIZE], *long_name, *units;
} spec_text;

static dtx_status describe(hid_t file, const char *path, hid_t dset, hid_t native, spec_text *text, dtx_h5_spec *spec)
{
    H5D_fill_value_t fill = H5D_FILL_VALUE_UNDEFINED;
    hid_t dcpl = H5Dget_create_plist(dset);

    *spec = (dtx_h5_spec){.path = path, .type = native};
    DTX_TRY(dtx_h5_space_shape(dset, path, spec->shape, &spec->rank));
    if (spec->rank < 1 || !(H5Tget_class(native) == H5T_INTEGER || (H5Tget_class(native) == H5T_FLOAT && H5Tget_size(native) >= 4))
        || H5Tget_size(native) > 8) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s is no dataset of numbers with one or two axes", path);
    }
    for (int i = 0; i < spec->rank; i++) {
        DTX_TRY(dtx_h5_scale_name(dset, path, i, text->scale, sizeof text->scale));
        if (text->scale[0] != '\0') {
            DTX_TRY(axis_name(file, text->scale, text->dim[i]));
            spec->dims[i] = text->dim[i];
        }
    }
    if (H5Tget_class(native) == H5T_INTEGER && H5Pfill_value_defined(dcpl, &fill) >= 0 && fill != H5D_FILL_VALUE_UNDEFINED) {
        H5Pget_fill_value(dcpl, H5T_NATIVE_INT64, &spec->fill);
    }
    H5Pclose(dcpl);
    DTX_TRY(dtx_h5_attr_get_str(file, path, "long_name", &text->long_name));
    DTX_TRY(dtx_h5_attr_get_str(file, path, "units", &text->units));
    spec->long_name = text->long_name != NULL ? text->long_name : "";
    spec->units = text->units != NULL ? text->units : "1";
    return DTX_OK;
}

static dtx_status copy_values(hid_t from, hid_t to, const char *path, hid_t type, const hsize_t shape[2])
{
    size_t row = (size_t)shape[1] * H5Tget_size(type);
    hsize_t at_once = row > 0 && row < PIECE ? PIECE / row : 1;
    char *x = NULL;
    dtx_status st;

    at_once = at_once < shape[0] ? at_once : shape[0];
    DTX_GO(DTX_NEW_RAW(x, at_once * row + 1));
    for (hsize_t first = 0; first < shape[0]; first += at_once) {
        hsize_t n = shape[0] - first < at_once ? shape[0] - first : at_once;
        DTX_GO(dtx_h5_read_open(from, path, type, first, n, shape[1], x));
        DTX_GO(dtx_h5_write_rows(to, path, type, first, n, shape[1], x));
    }
done:
    dtx_free(x);
    return st;
}

static dtx_status copy_dataset(hid_t from_file, const char *path, hid_t to_file)
{
    hid_t from = -1, to = -1, type = -1, native = -1;
    spec_text *text = NULL;
    dtx_h5_spec spec;
    dtx_status st;

    DTX_GO(DTX_NEW(text, 1));
    DTX_GO(dtx_h5_open_object(from_file, path, &from));
    type = H5Dget_type(from);
    native = type >= 0 ? H5Tget_native_type(type, H5T_DIR_ASCEND) : -1;
    if (native < 0) {
        st = DTX_H5_FAIL(DTX_ERR_INPUT, "cannot read the type of %s", path);
        goto done;
    }
    DTX_GO(describe(from_file, path, from, native, text, &spec));
    DTX_GO(dtx_h5_make_spec(to_file, &spec));
    DTX_GO(dtx_h5_copy_attributes(from_file, path, to_file, path));
    DTX_GO(dtx_h5_open_object(to_file, path, &to));
    st = copy_values(from, to, path, native, spec.shape);
done:
    if (text != NULL) {
        dtx_free(text->long_name);
        dtx_free(text->units);
    }
    dtx_free(text);
    if (to >= 0) {
        H5Oclose(to);
    }
    if (native >= 0) {
        H5Tclose(native);
    }
    if (type >= 0) {
        H5Tclose(type);
    }
    if (from >= 0) {
        H5Oclose(from);
    }
    return st;
}

dtx_status dtx_h5_copy(hid_t from, const char *path, hid_t to)
{
    char **names = NULL, member[PATH_SIZE];
    size_t n;
    hid_t obj = -1;

    DTX_TRY(dtx_h5_open_object(from, path, &obj));
    bool group = H5Iget_type(obj) == H5I_GROUP, scale = !group && dtx_h5_is_scale(obj);
    H5Oclose(obj);
    if (!group) {
        return scale ? DTX_OK : copy_dataset(from, path, to);
    }
    DTX_TRY(dtx_h5_make_groups(to, path, true));
    DTX_TRY(dtx_h5_copy_attributes(from, path, to, path));
    DTX_TRY(dtx_h5_list(from, path, &names, &n));
    dtx_status st = DTX_OK;
    for (size_t i = 0; i < n && st == DTX_OK; i++) {
        int len = snprintf(member, sizeof member, "%s/%s", path, names[i]);
        st = len < (int)sizeof member ? dtx_h5_copy(from, member, to) : DTX_FAIL(DTX_ERR_INPUT, "%s: path too long", path);
    }
    dtx_free(names);
    return st;
}
