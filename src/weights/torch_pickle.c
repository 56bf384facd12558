#include "src/weights/torch_pickle.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "src/base/mem.h"
#include "src/weights/parts.h"

/* Values of the machine. Strings are spans of the pickle; containers are chains of cells. */
typedef enum {
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_TEXT,
    V_MARK,
    V_TUPLE,
    V_LIST,
    V_DICT,
    V_NAME,
    V_STORAGE,
    V_TENSOR
} kind;

static const char *const kind_name[] = {"None",  "bool", "int",  "float", "str",     "mark",
                                        "tuple", "list", "dict", "name",  "storage", "tensor"};

/* The names of Python that are known, and what calling them makes. */
typedef enum { N_ORDERED_DICT, N_REBUILD_TENSOR, N_REBUILD_PARAMETER, N_STORAGE_TYPE } name_role;

static const struct {
    const char *module, *name;
    name_role role;
    dtx_dtype dtype;
} known_names[] = {
    {"collections", "OrderedDict", N_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", N_REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", N_REBUILD_PARAMETER, 0},
    {"torch", "FloatStorage", N_STORAGE_TYPE, DTX_F32},
    {"torch", "HalfStorage", N_STORAGE_TYPE, DTX_F16},
    {"torch", "BFloat16Storage", N_STORAGE_TYPE, DTX_BF16},
    {"torch", "DoubleStorage", N_STORAGE_TYPE, DTX_F64},
    {"torch", "LongStorage", N_STORAGE_TYPE, DTX_I64},
    {"torch", "IntStorage", N_STORAGE_TYPE, DTX_I32},
    {"torch", "ShortStorage", N_STORAGE_TYPE, DTX_I16},
    {"torch", "CharStorage", N_STORAGE_TYPE, DTX_I8},
    {"torch", "ByteStorage", N_STORAGE_TYPE, DTX_U8},
    {"torch", "BoolStorage", N_STORAGE_TYPE, DTX_BOOL},
};

typedef struct {
    kind kind;
    int64_t number;   /* int, bool; storage: elements; name: index in known_names; dict, list, tuple: members */
    const char *text; /* str; storage: its key */
    size_t len;
    int32_t head, tail; /* containers: first and last cell, -1 = empty */
    int32_t tensor;     /* index in tensors */
    dtx_dtype dtype;    /* storage */
} value;

/* A member of a container: `key` for dictionaries only. Indices into values and cells. */
typedef struct {
    int32_t key, item, next;
} cell;

typedef struct {
    const char *file;
    const unsigned char *p;
    size_t size, at, op_at;
    value *values;
    size_t n_values, cap_values;
    cell *cells;
    size_t n_cells, cap_cells;
    int32_t *stack;
    size_t n_stack, cap_stack;
    int32_t *memo; /* value index + 1, 0 = never put */
    size_t cap_memo;
    dtx_pickled *tensors;
    size_t n_tensors, cap_tensors;
} machine;

static dtx_status malformed(const machine *m, const char *what)
{
    return DTX_FAIL(DTX_ERR_INPUT, "%s: data.pkl: byte %zu: %s", m->file, m->op_at, what);
}

/* --- input --- */

static dtx_status take(machine *m, size_t n, const unsigned char **p)
{
    if (n > m->size - m->at) {
        return malformed(m, "the pickle ends inside an opcode; truncated");
    }
    *p = m->p + m->at;
    m->at += n;
    return DTX_OK;
}

/* Unsigned little endian. */
static dtx_status take_number(machine *m, int bytes, uint64_t *out)
{
    const unsigned char *p = NULL;

    DTX_TRY(take(m, (size_t)bytes, &p));
    *out = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        *out = *out << 8 | p[i];
    }
    return DTX_OK;
}

/* --- values and stack --- */

static dtx_status push_index(machine *m, int32_t v)
{
    DTX_TRY(DTX_GROW(m->stack, m->cap_stack, m->n_stack + 1));
    m->stack[m->n_stack++] = v;
    return DTX_OK;
}

static dtx_status push(machine *m, value v)
{
    if (m->n_values >= INT32_MAX) {
        return malformed(m, "too many values");
    }
    DTX_TRY(DTX_GROW(m->values, m->cap_values, m->n_values + 1));
    m->values[m->n_values] = v;
    return push_index(m, (int32_t)m->n_values++);
}

static dtx_status push_number(machine *m, kind k, int64_t number)
{
    return push(m, (value){.kind = k, .number = number, .head = -1, .tail = -1});
}

static dtx_status pop(machine *m, int32_t *v)
{
    if (m->n_stack == 0) {
        return malformed(m, "the stack is empty");
    }
    *v = m->stack[--m->n_stack];
    return DTX_OK;
}

static dtx_status pop_kind(machine *m, kind k, value **v)
{
    int32_t i = 0;

    DTX_TRY(pop(m, &i));
    if (m->values[i].kind != k) {
        return DTX_FAIL(DTX_ERR_INPUT, "%s: data.pkl: byte %zu: a %s is expected, found a %s", m->file, m->op_at,
                        kind_name[k], kind_name[m->values[i].kind]);
    }
    *v = &m->values[i];
    return DTX_OK;
}

/* Position of the topmost mark. */
static dtx_status find_mark(const machine *m, size_t *at)
{
    for (size_t i = m->n_stack; i > 0; i--) {
        if (m->values[m->stack[i - 1]].kind == V_MARK) {
            *at = i - 1;
            return DTX_OK;
        }
    }
    return malformed(m, "no mark on the stack");
}

static dtx_status append(machine *m, int32_t container, int32_t key, int32_t item)
{
    DTX_TRY(DTX_GROW(m->cells, m->cap_cells, m->n_cells + 1));
    if (m->n_cells >= INT32_MAX) {
        return malformed(m, "too many values");
    }
    int32_t c = (int32_t)m->n_cells++;
    value *v = &m->values[container];
    m->cells[c] = (cell){key, item, -1};
    if (v->head < 0) {
        v->head = c;
    } else {
        m->cells[v->tail].next = c;
    }
    v->tail = c;
    v->number++;
    return DTX_OK;
}

/* The topmost n entries become a tuple. */
static dtx_status make_tuple(machine *m, size_t n)
{
    if (n > m->n_stack) {
        return malformed(m, "the stack is empty");
    }
    size_t first = m->n_stack - n;
    DTX_TRY(push_number(m, V_TUPLE, 0));
    int32_t tuple = m->stack[--m->n_stack];
    for (size_t i = first; i < first + n; i++) {
        if (m->values[m->stack[i]].kind == V_MARK) {
            return malformed(m, "a mark inside a tuple");
        }
        DTX_TRY(append(m, tuple, -1, m->stack[i]));
    }
    m->n_stack = first;
    return push_index(m, tuple);
}

/* Members of a tuple into out[0..max); false when there are fewer than min or more than max. */
static bool unpack(const machine *m, const value *tuple, int64_t min, int64_t max, value **out)
{
    if (tuple->kind != V_TUPLE || tuple->number < min || tuple->number > max) {
        return false;
    }
    for (int32_t c = tuple->head, i = 0; c >= 0; c = m->cells[c].next, i++) {
        out[i] = &m->values[m->cells[c].item];
    }
    return true;
}

/* --- what names make --- */

static dtx_status load_name(machine *m)
{
    char module[64], name[64];
    char *const part[] = {module, name};

    for (int k = 0; k < 2; k++) {
        const unsigned char *line = m->p + m->at, *end = memchr(line, '\n', m->size - m->at);
        size_t n = end != NULL ? (size_t)(end - line) : 0;
        if (end == NULL || n >= sizeof module) {
            return malformed(m, "a name longer than any that is supported");
        }
        for (size_t i = 0; i < n; i++) {
            part[k][i] = line[i] >= ' ' && line[i] < 0x7F ? (char)line[i] : '?';
        }
        part[k][n] = '\0';
        m->at += n + 1;
    }
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++) {
        if (strcmp(module, known_names[i].module) == 0 && strcmp(name, known_names[i].name) == 0) {
            return push_number(m, V_NAME, (int64_t)i);
        }
    }
    return DTX_FAIL(DTX_ERR_INPUT,
                    "%s: data.pkl: byte %zu: the name %s.%s is refused: a file of tensors alone is expected; save the "
                    "state dictionary, or convert to safetensors",
                    m->file, m->op_at, module, name);
}

/* ("storage", type, key, location, elements) */
static dtx_status load_storage(machine *m)
{
    value *id, *part[5];

    DTX_TRY(pop_kind(m, V_TUPLE, &id));
    if (!unpack(m, id, 5, 5, part) || part[0]->kind != V_TEXT || part[0]->len != 7 ||
        memcmp(part[0]->text, "storage", 7) != 0 || part[1]->kind != V_NAME ||
        known_names[part[1]->number].role != N_STORAGE_TYPE || part[2]->kind != V_TEXT || part[4]->kind != V_INT ||
        part[4]->number < 0) {
        return malformed(m, "a storage (\"storage\", type, key, location, elements) is expected");
    }
    return push(m, (value){.kind = V_STORAGE,
                           .number = part[4]->number,
                           .text = part[2]->text,
                           .len = part[2]->len,
                           .dtype = known_names[part[1]->number].dtype});
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static dtx_status rebuild_tensor(machine *m, const value *args)
{
    value *part[7], *size[DTX_MAX_DIMS], *stride[DTX_MAX_DIMS];
    dtx_pickled t = {0};

    if (!unpack(m, args, 6, 7, part) || part[0]->kind != V_STORAGE || part[1]->kind != V_INT || part[1]->number < 0 ||
        !unpack(m, part[2], 0, DTX_MAX_DIMS, size) || !unpack(m, part[3], part[2]->number, part[2]->number, stride)) {
        return malformed(m,
                         "_rebuild_tensor_v2: (storage, offset, sizes, strides, ...) is expected, with at most 8 axes");
    }
    t.tensor.dtype = part[0]->dtype;
    t.tensor.n_dims = (int)part[2]->number;
    t.storage = part[0]->text;
    t.storage_len = part[0]->len;
    t.storage_size = part[0]->number;
    t.offset = part[1]->number;
    for (int i = 0; i < t.tensor.n_dims; i++) {
        if (size[i]->kind != V_INT || size[i]->number < 0 || stride[i]->kind != V_INT) {
            return malformed(m, "_rebuild_tensor_v2: sizes and strides must be whole numbers from 0");
        }
        t.tensor.shape[i] = size[i]->number;
    }
    if (!dtx_tensor_measure(&t.tensor)) {
        return malformed(m, "_rebuild_tensor_v2: the product of the sizes overflows 64 bits");
    }
    if (t.offset > t.storage_size || t.tensor.n_elements > t.storage_size - t.offset) {
        return DTX_FAIL(
            DTX_ERR_INPUT,
            "%s: data.pkl: byte %zu: a tensor of %lld elements from element %lld does not fit its storage of %lld",
            m->file, m->op_at, (long long)t.tensor.n_elements, (long long)t.offset, (long long)t.storage_size);
    }
    /* row-major strides; of an axis of length 1 the stride means nothing. The name is not known yet: a wrong stride is
     * remembered as an element count of -1 and reported by collect(). */
    int64_t expected = 1;
    for (int i = t.tensor.n_dims - 1; i >= 0 && t.tensor.n_elements > 0; i--) {
        if (t.tensor.shape[i] != 1 && stride[i]->number != expected) {
            t.tensor.n_elements = -1;
            break;
        }
        expected *= t.tensor.shape[i];
    }
    DTX_TRY(DTX_GROW(m->tensors, m->cap_tensors, m->n_tensors + 1));
    m->tensors[m->n_tensors++] = t;
    return push(m, (value){.kind = V_TENSOR, .tensor = (int32_t)m->n_tensors - 1});
}

static dtx_status reduce(machine *m)
{
    int32_t args = 0, callee = 0;
    value *part[3];

    DTX_TRY(pop(m, &args));
    DTX_TRY(pop(m, &callee));
    const value *a = &m->values[args], *f = &m->values[callee];
    if (f->kind != V_NAME || a->kind != V_TUPLE) {
        return malformed(m, "only a known name can be called");
    }
    switch (known_names[f->number].role) {
    case N_ORDERED_DICT:
        return a->number == 0 ? push_number(m, V_DICT, 0) : malformed(m, "OrderedDict: no arguments are expected");
    case N_REBUILD_TENSOR: return rebuild_tensor(m, a);
    case N_REBUILD_PARAMETER: /* (tensor, requires_grad, hooks): the tensor itself */
        if (!unpack(m, a, 3, 3, part) || part[0]->kind != V_TENSOR) {
            return malformed(m, "_rebuild_parameter: (tensor, requires_grad, hooks) is expected");
        }
        return push_index(m, (int32_t)(part[0] - m->values));
    case N_STORAGE_TYPE: break;
    }
    return malformed(m, "a storage type cannot be called");
}

/* --- opcodes --- */

/* The entries above the topmost mark (or the topmost `n`, when from_mark is false) go into the container below. */
static dtx_status extend(machine *m, kind k, bool from_mark, size_t n)
{
    size_t first = 0, step = k == V_DICT ? 2 : 1;

    if (from_mark) {
        DTX_TRY(find_mark(m, &first));
    } else {
        first = m->n_stack >= n ? m->n_stack - n : 0;
    }
    size_t items = first + (from_mark ? 1 : 0), below = first;
    if (below == 0 || m->values[m->stack[below - 1]].kind != k || (m->n_stack - items) % step != 0) {
        return malformed(m, k == V_DICT ? "pairs for a dictionary are expected" : "items for a list are expected");
    }
    for (size_t i = items; i < m->n_stack; i += step) {
        DTX_TRY(append(m, m->stack[below - 1], k == V_DICT ? m->stack[i] : -1, m->stack[i + step - 1]));
    }
    m->n_stack = first;
    return DTX_OK;
}

static dtx_status memo_put(machine *m, uint64_t key)
{
    /* PyTorch numbers its memos from 0, so that no key reaches the pickle's length */
    if (m->n_stack == 0 || key >= m->size) {
        return malformed(m, "a memo key beyond the pickle's length, or nothing to keep");
    }
    size_t had = m->cap_memo;
    DTX_TRY(DTX_GROW(m->memo, m->cap_memo, key + 1));
    memset(m->memo + had, 0, (m->cap_memo - had) * sizeof *m->memo);
    m->memo[key] = m->stack[m->n_stack - 1] + 1;
    return DTX_OK;
}

static dtx_status memo_get(machine *m, uint64_t key)
{
    if (key >= m->cap_memo || m->memo[key] == 0) {
        return malformed(m, "a memo that was never put");
    }
    return push_index(m, m->memo[key] - 1);
}

static dtx_status load_text(machine *m, int length_bytes)
{
    uint64_t n = 0;
    const unsigned char *p = NULL;

    DTX_TRY(take_number(m, length_bytes, &n));
    DTX_TRY(take(m, n > m->size ? m->size + 1 : (size_t)n, &p));
    return push(m, (value){.kind = V_TEXT, .text = (const char *)p, .len = (size_t)n});
}

/* A little-endian two's complement number of up to 8 bytes. */
static dtx_status load_long(machine *m)
{
    uint64_t n = 0, v = 0;
    const unsigned char *p = NULL;

    DTX_TRY(take_number(m, 1, &n));
    if (n > 8) {
        return malformed(m, "a whole number of more than 64 bits");
    }
    DTX_TRY(take(m, (size_t)n, &p));
    for (uint64_t i = 0; i < 8; i++) {
        unsigned char sign = n > 0 && (p[n - 1] & 0x80u) != 0 ? 0xFF : 0;
        v |= (uint64_t)(i < n ? p[i] : sign) << 8 * i;
    }
    return push_number(m, V_INT, (int64_t)v);
}

/* state of an object: PyTorch attaches the modules' versions (_metadata) to the dictionary; they are let go */
static dtx_status build(machine *m)
{
    value *state = NULL;

    DTX_TRY(pop_kind(m, V_DICT, &state));
    if (m->n_stack == 0 || m->values[m->stack[m->n_stack - 1]].kind != V_DICT) {
        return malformed(m, "BUILD: only a dictionary can have a state");
    }
    return DTX_OK;
}

/* Runs one opcode; *stop after STOP. Opcodes as in Python's pickletools, protocol 2 and what later ones add to it. */
static dtx_status step(machine *m, bool *stop)
{
    const unsigned char *op = NULL, *p = NULL;
    uint64_t n = 0;
    size_t mark = 0;

    m->op_at = m->at;
    DTX_TRY(take(m, 1, &op));
    switch (*op) {
    case 0x80: /* PROTO */
        DTX_TRY(take_number(m, 1, &n));
        return n >= 2 && n <= 5 ? DTX_OK : malformed(m, "pickle protocol 2 to 5 is expected");
    case '}': return push_number(m, V_DICT, 0);
    case ']': return push_number(m, V_LIST, 0);
    case ')': return push_number(m, V_TUPLE, 0);
    case '(': return push_number(m, V_MARK, 0);
    case 'N': return push_number(m, V_NONE, 0);
    case 0x88: return push_number(m, V_BOOL, 1);
    case 0x89: return push_number(m, V_BOOL, 0);
    case 'J': /* BININT, signed */ DTX_TRY(take_number(m, 4, &n)); return push_number(m, V_INT, (int32_t)(uint32_t)n);
    case 'K': DTX_TRY(take_number(m, 1, &n)); return push_number(m, V_INT, (int64_t)n);
    case 'M': DTX_TRY(take_number(m, 2, &n)); return push_number(m, V_INT, (int64_t)n);
    case 0x8A: return load_long(m);
    case 'G': /* BINFLOAT: its value is never needed */ DTX_TRY(take(m, 8, &p)); return push_number(m, V_FLOAT, 0);
    case 'X': return load_text(m, 4);
    case 0x8C: return load_text(m, 1); /* SHORT_BINUNICODE */
    case 'c': return load_name(m);
    case 'q': DTX_TRY(take_number(m, 1, &n)); return memo_put(m, n);
    case 'r': DTX_TRY(take_number(m, 4, &n)); return memo_put(m, n);
    case 'h': DTX_TRY(take_number(m, 1, &n)); return memo_get(m, n);
    case 'j': DTX_TRY(take_number(m, 4, &n)); return memo_get(m, n);
    case 't':
        DTX_TRY(find_mark(m, &mark));
        DTX_TRY(make_tuple(m, m->n_stack - mark - 1));
        m->stack[mark] = m->stack[m->n_stack - 1]; /* in the mark's place */
        m->n_stack--;
        return DTX_OK;
    case 0x85: return make_tuple(m, 1);
    case 0x86: return make_tuple(m, 2);
    case 0x87: return make_tuple(m, 3);
    case 'Q': return load_storage(m);
    case 'R': return reduce(m);
    case 'b': return build(m);
    case 's': return extend(m, V_DICT, false, 2);
    case 'u': return extend(m, V_DICT, true, 0);
    case 'a': return extend(m, V_LIST, false, 1);
    case 'e': return extend(m, V_LIST, true, 0);
    case '.': *stop = true; return DTX_OK;
    default: break;
    }
    return DTX_FAIL(DTX_ERR_INPUT,
                    "%s: data.pkl: byte %zu: opcode 0x%02X is refused: a file of tensors alone is expected; save the "
                    "state dictionary, or convert to safetensors",
                    m->file, m->op_at, *op);
}

/* The dictionary that the machine left behind, as a list of named tensors. */
static dtx_status collect(machine *m, dtx_pickled **out, size_t *n)
{
    value *top = NULL;
    size_t i = 0;
    dtx_pickled *list;

    DTX_TRY(pop_kind(m, V_DICT, &top));
    DTX_TRY(DTX_NEW(list, top->number));
    for (int32_t c = top->head; c >= 0; c = m->cells[c].next) {
        const value *key = &m->values[m->cells[c].key], *item = &m->values[m->cells[c].item];
        dtx_status st = DTX_OK;
        if (key->kind != V_TEXT || memchr(key->text, '\0', key->len) != NULL) {
            st = malformed(m, "a key of the state dictionary is not a text");
        } else if (item->kind != V_TENSOR) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: data.pkl: %.*s is a %s; a state dictionary holds tensors alone", m->file,
                          key->len > 256 ? 256 : (int)key->len, key->text, kind_name[item->kind]);
        } else if (m->tensors[item->tensor].tensor.n_elements < 0) {
            st = DTX_FAIL(DTX_ERR_INPUT, "%s: tensor %.*s: its strides are not row-major; save a contiguous copy",
                          m->file, key->len > 256 ? 256 : (int)key->len, key->text);
        }
        if (st != DTX_OK) {
            dtx_free(list);
            return st;
        }
        list[i] = m->tensors[item->tensor];
        list[i].name = key->text;
        list[i].name_len = key->len;
        i++;
    }
    *out = list;
    *n = i;
    return DTX_OK;
}

dtx_status dtx_pickle_read(const char *file, const char *data, size_t size, dtx_pickled **out, size_t *n)
{
    machine m = {.file = file, .p = (const unsigned char *)data, .size = size};
    bool stop = false;
    dtx_status st = DTX_OK;

    while (!stop) {
        DTX_GO(step(&m, &stop));
    }
    DTX_GO(collect(&m, out, n));
done:
    dtx_free(m.values);
    dtx_free(m.cells);
    dtx_free(m.stack);
    dtx_free(m.memo);
    dtx_free(m.tensors);
    return st;
}
