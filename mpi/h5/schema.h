/* schema.h - everything that a run.h5 holds: one table of its datasets, one of its groups and one of their attributes, and all
 * that is made, written and read by them. Names, types, axes, fill values, long names and units stand in schema.c alone;
 * `detoxlens inspect --schema` prints them, mpi/README.md shows what it prints.
 *
 * A dataset is named by its group's path ("/variants/FT/completions", from dtx_h5_group) and its name below it ("tokens"). Every
 * read and write states the lengths that it expects: x has room for them. A file whose dataset has another type, number of
 * axes or length is DTX_ERR_INPUT naming both; one that lacks it DTX_ERR_MISSING; a name that the table lacks DTX_ERR_CHECK.
 * All functions are local. */
#ifndef DTX_H5_SCHEMA_H
#define DTX_H5_SCHEMA_H

#include "mpi/h5/h5.h"

/* --- the tables --- */

typedef enum {
    DTX_H5_ROOT,
    DTX_H5_PROMPTS,
    DTX_H5_VARIANTS, DTX_H5_VARIANT, DTX_H5_COMPLETIONS,
    DTX_H5_TOXICITIES, DTX_H5_TOXICITY,         /* all sets of a variant; one of them */
    DTX_H5_ATTRIBUTIONS, DTX_H5_ATTRIBUTION, DTX_H5_WORDS, DTX_H5_CHECK,
    DTX_H5_CALIBRATIONS, DTX_H5_CALIBRATION,
    DTX_H5_TRAININGS, DTX_H5_TRAINING, DTX_H5_TIMING,
    DTX_H5_ALL_ROLLOUTS, DTX_H5_ROLLOUTS,
    DTX_H5_ALL_REJECTED, DTX_H5_REJECTED,
    DTX_H5_LAUNCHES, DTX_H5_LAUNCH,
    DTX_H5_PLACES
} dtx_h5_place;

typedef struct {
    const char *path;       /* "/variants/{V}/toxicity/{S}": a part in braces stands for a name */
    const char *meaning;
    const char *writers;    /* jobs, "generate, import" */
} dtx_h5_place_info;
extern const dtx_h5_place_info dtx_h5_places[DTX_H5_PLACES];

typedef enum { DTX_H5_U8, DTX_H5_I32, DTX_H5_I64, DTX_H5_U64, DTX_H5_F32, DTX_H5_F64, DTX_H5_TYPES } dtx_h5_type;
const char *dtx_h5_type_name(dtx_h5_type type); /* "f32" */
hid_t dtx_h5_native(dtx_h5_type type);          /* borrowed */

/* Axes by how their length follows from what a place counts. */
typedef enum { DTX_H5_BY_ROW, DTX_H5_BY_EDGE, DTX_H5_BY_STEP, DTX_H5_BY_ITEM } dtx_h5_axis_kind;
typedef struct {
    const char *name;       /* of its dimension scale */
    dtx_h5_axis_kind kind;  /* the place's rows; rows + 1; the width of a row; any length, an unwritten scale */
    bool root;              /* the scale lies in the root where its length fits */
    const char *counts;
} dtx_h5_axis;
extern const dtx_h5_axis dtx_h5_axes[];
extern const int dtx_h5_n_axes;

typedef struct {
    dtx_h5_place place;
    const char *name;       /* below the place; may have groups within, "words/length" */
    const char *axis[2];    /* names of axes, the second NULL where there is one alone */
    dtx_h5_type type;
    const char *long_name, *units;
    const char *writers;    /* jobs */
    int fill;               /* integers; floats are NaN */
    const char *flat;       /* offsets: the dataset of the same place that they point into */
    const char *imported;   /* the long name in an imported variant; NULL = the same */
    const char *when;       /* what it depends on; NULL = always there once the place is complete */
} dtx_h5_dataset;
extern const dtx_h5_dataset dtx_h5_datasets[];
extern const int dtx_h5_n_datasets;

typedef struct {
    dtx_h5_place place;
    const char *dataset;    /* NULL: of the group itself */
    const char *name;       /* a part in braces stands for a word */
    char kind;              /* 's' text, 'i' whole number, 'f' number */
    const char *meaning;
} dtx_h5_attribute;
extern const dtx_h5_attribute dtx_h5_attributes[];
extern const int dtx_h5_n_attributes;

/* A place's path with names for its parts in braces; those that it does not have are NULL. "" where it does not fit. */
void dtx_h5_group(char *out, size_t size, dtx_h5_place place, const char *name, const char *second);
/* The place of a group by its path; DTX_H5_PLACES for none. */
dtx_h5_place dtx_h5_place_of(const char *group);
/* NULL for a group or name that the table does not have. */
const dtx_h5_dataset *dtx_h5_find(const char *group, const char *name);

/* --- making, for editors --- */

/* rows: what the place counts (the first axis; offsets have one more); width: the second axis, 1 where there is none; of a flat
 * dataset rows is its length. */
dtx_status dtx_h5_make(hid_t file, const char *group, const char *name, int64_t rows, int64_t width);
/* In an imported variant, where the long name may be another. */
dtx_status dtx_h5_make_imported(hid_t file, const char *group, const char *name, int64_t rows, int64_t width);
/* Overwrites all values from x (rows, width); lengths as in dtx_h5_make. */
dtx_status dtx_h5_write(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, const void *x);
/* Makes and writes. */
dtx_status dtx_h5_put(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, const void *x);

/* --- reading --- */

enum { DTX_H5_ANY = -1 }; /* a length that is taken as it is found */

/* Whether there is an object of that name. */
bool dtx_h5_has(hid_t file, const char *group, const char *name);
/* An open dataset that is as expected (offsets: rows + 1 entries); H5Dclose is the caller's. shape gets its lengths, the second 1
 * where it has one axis; may be NULL. */
dtx_status dtx_h5_open(hid_t file, const char *group, const char *name, int64_t rows, int64_t width, hid_t *dset, int64_t shape[2]);
/* Lengths of one that is as expected. */
dtx_status dtx_h5_shape(hid_t file, const char *group, const char *name, int64_t rows, int64_t width, int64_t shape[2]);
/* The whole dataset, converted to `type`, into x (rows, width). */
dtx_status dtx_h5_read(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void *x);
/* Elements first .. first+count-1 of the first axis into x (count, width). */
dtx_status dtx_h5_read_rows(hid_t file, const char *group, const char *name, hid_t type, int64_t first, int64_t count, int64_t width,
                            void *x);
/* The whole dataset into memory of its own (dtx_free), with a zero byte after it. */
dtx_status dtx_h5_take(hid_t file, const char *group, const char *name, hid_t type, int64_t rows, int64_t width, void **x,
                       int64_t shape[2]);
/* Offsets of `rows` rows into their flat dataset, (rows + 1), ascending from 0 to its length: *x is dtx_free's, *n that length. */
dtx_status dtx_h5_take_offsets(hid_t file, const char *group, const char *name, int64_t rows, uint64_t **x, int64_t *n);
/* Of one row alone: where its elements begin and end. */
dtx_status dtx_h5_edges(hid_t file, const char *group, const char *name, int64_t rows, int64_t row, int64_t edge[2]);
/* Are offsets that stand in memory ascending, from 0 to `n`? DTX_ERR_INPUT with the entry. */
dtx_status dtx_h5_check_offsets(const char *group, const char *name, const uint64_t *x, int64_t rows, int64_t n);
/* Every dataset of a place that the file has, against these lengths; DTX_H5_ANY: against that of the first one. */
dtx_status dtx_h5_fits(hid_t file, const char *group, int64_t rows, int64_t width);
/* The same for each group of the file by itself. */
dtx_status dtx_h5_fits_all(hid_t file);

#endif
