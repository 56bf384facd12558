/* schema.c - inspect --schema: the table of everything that a run.h5 holds (mpi/h5/schema.h), as text and as JSON. mpi/README.md
 * shows the text as it is printed here. */
#include <stdio.h>
#include <string.h>

#include "jobs/inspect/inspect.h"
#include "mpi/h5/schema.h"

static const char *kind_name(char kind)
{
    return kind == 's' ? "text" : kind == 'i' ? "whole number" : "number";
}

static const char *scale_name(const dtx_h5_axis *a)
{
    return a->kind == DTX_H5_BY_ITEM ? "in the group, without values" : a->root ? "in the root where its length fits, else in the group"
                                                                               : "in the group";
}

/* --- text --- */

static void print_attributes(dtx_h5_place place, const char *dataset, const char *indent)
{
    for (int i = 0; i < dtx_h5_n_attributes; i++) {
        const dtx_h5_attribute *a = &dtx_h5_attributes[i];
        if (a->place == place && (dataset == NULL) == (a->dataset == NULL) && (dataset == NULL || strcmp(dataset, a->dataset) == 0)) {
            printf("%s@%-30s %-13s %s\n", indent, a->name, kind_name(a->kind), a->meaning);
        }
    }
}

static void print_dataset(const dtx_h5_dataset *d)
{
    char shape[64];

    snprintf(shape, sizeof shape, d->axis[1] != NULL ? "(%s, %s)" : "(%s)", d->axis[0], d->axis[1]);
    printf("  %-26s %-20s %-4s %s [%s]", d->name, shape, dtx_h5_type_name(d->type), d->long_name, d->units);
    if (d->fill != 0) {
        printf("; %d where there is nothing", d->fill);
    }
    if (d->flat != NULL) {
        printf("; into %s", d->flat);
    }
    printf("; %s%s%s\n", d->writers, d->when != NULL ? ": " : "", d->when != NULL ? d->when : "");
    print_attributes(d->place, d->name, "    ");
}

static void print_text(void)
{
    printf("schema_version %d\n\naxes, each with a dimension scale of its name\n", DTX_SCHEMA_VERSION);
    for (int i = 0; i < dtx_h5_n_axes; i++) {
        printf("  %-14s %s; scale %s\n", dtx_h5_axes[i].name, dtx_h5_axes[i].counts, scale_name(&dtx_h5_axes[i]));
    }
    for (int p = 0; p < DTX_H5_PLACES; p++) {
        printf("\n%s  %s; %s\n", dtx_h5_places[p].path, dtx_h5_places[p].meaning, dtx_h5_places[p].writers);
        print_attributes((dtx_h5_place)p, NULL, "  ");
        for (int i = 0; i < dtx_h5_n_datasets; i++) {
            if (dtx_h5_datasets[i].place == (dtx_h5_place)p) {
                print_dataset(&dtx_h5_datasets[i]);
            }
        }
    }
}

/* --- JSON --- */

static void add_attributes(cJSON *o, dtx_h5_place place, const char *dataset)
{
    cJSON *list = cJSON_AddArrayToObject(o, "attributes");

    for (int i = 0; i < dtx_h5_n_attributes; i++) {
        const dtx_h5_attribute *a = &dtx_h5_attributes[i];
        if (a->place == place && (dataset == NULL) == (a->dataset == NULL) && (dataset == NULL || strcmp(dataset, a->dataset) == 0)) {
            cJSON *one = cJSON_CreateObject();
            cJSON_AddStringToObject(one, "name", a->name);
            cJSON_AddStringToObject(one, "type", kind_name(a->kind));
            cJSON_AddStringToObject(one, "meaning", a->meaning);
            cJSON_AddItemToArray(list, one);
        }
    }
}

static cJSON *dataset_json(const dtx_h5_dataset *d)
{
    cJSON *o = cJSON_CreateObject(), *axes;
    const bool real = d->type == DTX_H5_F32 || d->type == DTX_H5_F64;

    cJSON_AddStringToObject(o, "name", d->name);
    axes = cJSON_AddArrayToObject(o, "axes");
    for (int i = 0; i < 2 && d->axis[i] != NULL; i++) {
        cJSON_AddItemToArray(axes, cJSON_CreateString(d->axis[i]));
    }
    cJSON_AddStringToObject(o, "type", dtx_h5_type_name(d->type));
    cJSON_AddItemToObject(o, "fill", real ? cJSON_CreateString("NaN") : cJSON_CreateNumber(d->fill));
    cJSON_AddStringToObject(o, "long_name", d->long_name);
    if (d->imported != NULL) {
        cJSON_AddStringToObject(o, "long_name_imported", d->imported);
    }
    cJSON_AddStringToObject(o, "units", d->units);
    cJSON_AddStringToObject(o, "written_by", d->writers);
    if (d->flat != NULL) {
        cJSON_AddStringToObject(o, "points_into", d->flat);
    }
    if (d->when != NULL) {
        cJSON_AddStringToObject(o, "when", d->when);
    }
    add_attributes(o, d->place, d->name);
    return o;
}

static cJSON *schema_json(void)
{
    cJSON *root = cJSON_CreateObject();

    cJSON_AddNumberToObject(root, "schema_version", DTX_SCHEMA_VERSION);
    cJSON *axes = cJSON_AddArrayToObject(root, "axes");
    for (int i = 0; i < dtx_h5_n_axes; i++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "name", dtx_h5_axes[i].name);
        cJSON_AddStringToObject(o, "counts", dtx_h5_axes[i].counts);
        cJSON_AddStringToObject(o, "scale", scale_name(&dtx_h5_axes[i]));
        cJSON_AddItemToArray(axes, o);
    }
    cJSON *groups = cJSON_AddArrayToObject(root, "groups");
    for (int p = 0; p < DTX_H5_PLACES; p++) {
        cJSON *o = cJSON_CreateObject();
        cJSON_AddStringToObject(o, "path", dtx_h5_places[p].path);
        cJSON_AddStringToObject(o, "meaning", dtx_h5_places[p].meaning);
        cJSON_AddStringToObject(o, "written_by", dtx_h5_places[p].writers);
        add_attributes(o, (dtx_h5_place)p, NULL);
        cJSON *datasets = cJSON_AddArrayToObject(o, "datasets");
        for (int i = 0; i < dtx_h5_n_datasets; i++) {
            if (dtx_h5_datasets[i].place == (dtx_h5_place)p) {
                cJSON_AddItemToArray(datasets, dataset_json(&dtx_h5_datasets[i]));
            }
        }
        cJSON_AddItemToArray(groups, o);
    }
    return root;
}

dtx_status dtx_inspect_schema(bool json)
{
    if (!json) {
        print_text();
        return DTX_OK;
    }
    cJSON *root = schema_json();
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    if (text == NULL) {
        return DTX_FAIL(DTX_ERR_MISSING, "no memory for the schema as JSON");
    }
    puts(text);
    cJSON_free(text);
    return DTX_OK;
}
