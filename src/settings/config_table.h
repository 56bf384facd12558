/* config_table.h - the rows behind config.h: where each key lives in dtx_config and what it may hold. Used by config.c
 * and its tests alone; everybody else reads dtx_config. */
#ifndef DTX_CONFIG_TABLE_H
#define DTX_CONFIG_TABLE_H

#include "src/settings/config.h"

typedef enum { DTX_CFG_INT, DTX_CFG_NUMBER, DTX_CFG_BOOL, DTX_CFG_TEXT, DTX_CFG_CHOICE, DTX_CFG_LIST } dtx_config_kind;

/* HIDDEN: a refused value is not repeated in the message. SECRET: neither that, nor printed or stored, nor taken from the
 * command line, which every user of the machine can read. */
typedef enum { DTX_CFG_OPEN, DTX_CFG_HIDDEN, DTX_CFG_SECRET } dtx_config_privacy;

typedef struct {
    const char *key;
    dtx_config_kind kind;
    size_t offset, size;        /* in dtx_config; size of the whole array for texts and lists */
    const char *fallback;       /* default, as --set would write it */
    double min, max;            /* numbers; max may be HUGE_VAL */
    const char *allowed;        /* what to say of a value; NULL = derived from kind, range and words */
    bool (*valid)(const char *value); /* texts with a form of their own; may be NULL */
    unsigned jobs;              /* DTX_JOB_* */
    const char *help;
    dtx_config_privacy privacy;
    const char *const *words;   /* choices: ends with NULL; the field holds the index (choices.h) */
} dtx_config_row;

extern const dtx_config_row dtx_config_table[];
extern const size_t dtx_config_table_size;

#endif
