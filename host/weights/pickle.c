/* The opcodes that data need in pickles of protocols 2 to 5 (Python's pickletools documents them). */
#include "weights/pickle.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const size_t size_limit = (size_t)64 << 20; /* what is read takes a few times as much memory */
enum { MOST_DIMENSIONS = 64 };                     /* of a tensor of PyTorch */

typedef struct machine {
    cvy_arena *arena;
    const char *path;
    const unsigned char *bytes;
    size_t size, at;
    cvy_pickled **stack, **memo;
    size_t depth, capacity, memo_count; /* the stack also shrinks, the memo does not */
    cvy_pickled *storages;
} machine;

static convoy_status bad(const machine *m, const char *what) {
    return cvy_fail(CONVOY_INVALID, "%s: its pickle is damaged at byte %zu: %s", m->path, m->at, what);
}

/* ---- values ---- */

static void *grow(cvy_arena *arena, void *array, size_t count) {
    if ((count & (count - 1)) != 0)
        return array;
    cvy_pickled **larger = cvy_arena_alloc(arena, (count ? 2 * count : 1) * sizeof *larger);
    if (count)
        memcpy(larger, array, count * sizeof *larger);
    return larger;
}

static cvy_pickled *make(machine *m, cvy_pickled_kind kind, long long number, const char *text) {
    cvy_pickled *value = cvy_arena_alloc(m->arena, sizeof *value);
    *value = (cvy_pickled){.kind = kind, .number = number, .text = text};
    return value;
}

static void add(machine *m, cvy_pickled *to, cvy_pickled *item) {
    to->items = grow(m->arena, to->items, to->count);
    to->items[to->count++] = item;
}

static void push(machine *m, cvy_pickled *value) {
    if (m->depth == m->capacity) {
        m->capacity = m->capacity ? 2 * m->capacity : 64;
        cvy_pickled **larger = cvy_arena_alloc(m->arena, m->capacity * sizeof *larger);
        if (m->depth)
            memcpy(larger, m->stack, m->depth * sizeof *larger);
        m->stack = larger;
    }
    m->stack[m->depth++] = value;
}

static void push_number(machine *m, long long number) {
    push(m, make(m, CVY_PICKLED_NUMBER, number, NULL));
}

/* The topmost value; NULL: none. */
static cvy_pickled *pop(machine *m) {
    return m->depth && m->stack[m->depth - 1]->kind != CVY_PICKLED_MARK ? m->stack[--m->depth] : NULL;
}

/* ---- arguments ---- */

static bool take(machine *m, size_t count, const unsigned char **bytes) {
    if (count > m->size - m->at)
        return false;
    *bytes = m->bytes + m->at;
    m->at += count;
    return true;
}

/* Little-endian, of up to 8 bytes. */
static bool take_number(machine *m, size_t count, uint64_t *number) {
    const unsigned char *bytes;
    *number = 0;
    if (!take(m, count, &bytes))
        return false;
    for (size_t i = 0; i < count; i++)
        *number |= (uint64_t)bytes[i] << (8 * i);
    return true;
}

static bool take_line(machine *m, const char **line) {
    const unsigned char *start = m->bytes + m->at, *end = memchr(start, '\n', m->size - m->at);
    if (!end)
        return false;
    *line = cvy_arena_strndup(m->arena, (const char *)start, (size_t)(end - start));
    m->at += (size_t)(end - start) + 1;
    return true;
}

/* ---- what the opcodes do ---- */

/* Everything above the latest mark, as a sequence; the mark goes too. NULL: there is none. */
static cvy_pickled *pop_to_mark(machine *m) {
    size_t mark = m->depth;
    while (mark && m->stack[mark - 1]->kind != CVY_PICKLED_MARK)
        mark--;
    if (!mark)
        return NULL;
    cvy_pickled *list = make(m, CVY_PICKLED_SEQUENCE, 0, NULL);
    for (size_t i = mark; i < m->depth; i++)
        add(m, list, m->stack[i]);
    m->depth = mark - 1;
    return list;
}

static convoy_status push_tuple(machine *m, size_t count) {
    cvy_pickled *tuple = make(m, CVY_PICKLED_SEQUENCE, 0, NULL);
    if (m->depth < count)
        return bad(m, "too few values for a tuple");
    for (size_t i = m->depth - count; i < m->depth; i++)
        add(m, tuple, m->stack[i]);
    m->depth -= count;
    push(m, tuple);
    return CONVOY_OK;
}

/* Adds items to the container that is on top. */
static convoy_status extend(machine *m, cvy_pickled *items, cvy_pickled_kind kind) {
    cvy_pickled *to = m->depth ? m->stack[m->depth - 1] : NULL;
    if (!items || !to || to->kind != kind || (kind == CVY_PICKLED_DICTIONARY && items->count % 2))
        return bad(m, "items without a container");
    for (size_t i = 0; i < items->count; i++)
        add(m, to, items->items[i]);
    return CONVOY_OK;
}

static convoy_status push_text(machine *m, size_t length_bytes, bool text) {
    uint64_t length;
    const unsigned char *bytes;
    if (!take_number(m, length_bytes, &length) || length > m->size || !take(m, (size_t)length, &bytes))
        return bad(m, "it is cut short");
    if (text && memchr(bytes, 0, (size_t)length))
        return bad(m, "text with a byte 0");
    push(m,
         text ? make(m, CVY_PICKLED_TEXT, 0, cvy_arena_strndup(m->arena, (const char *)bytes, (size_t)length))
              : make(m, CVY_PICKLED_OTHER, 0, NULL));
    return CONVOY_OK;
}

static convoy_status push_int(machine *m, size_t bytes, bool with_sign) {
    uint64_t number;
    if (!take_number(m, bytes, &number))
        return bad(m, "it is cut short");
    push_number(m, with_sign ? (int32_t)(uint32_t)number : (long long)number);
    return CONVOY_OK;
}

/* A long number; one of more than 8 bytes is none that a tensor has. */
static convoy_status push_long(machine *m) {
    uint64_t length, number;
    const unsigned char *bytes;
    if (!take_number(m, 1, &length))
        return bad(m, "it is cut short");
    if (length > 7) {
        if (!take(m, (size_t)length, &bytes))
            return bad(m, "it is cut short");
        push(m, make(m, CVY_PICKLED_OTHER, 0, NULL));
        return CONVOY_OK;
    }
    if (!take_number(m, (size_t)length, &number))
        return bad(m, "it is cut short");
    bool negative = length && number >> (8 * length - 1);
    push_number(m, negative ? (long long)number - (1LL << (8 * length)) : (long long)number);
    return CONVOY_OK;
}

static convoy_status push_global(machine *m, const char *module, const char *name) {
    static const char *const allowed[] = {"collections OrderedDict",
                                          "torch._utils _rebuild_tensor_v2",
                                          "torch._utils _rebuild_parameter",
                                          "torch FloatStorage",
                                          "torch DoubleStorage",
                                          "torch HalfStorage",
                                          "torch BFloat16Storage",
                                          "torch LongStorage",
                                          "torch IntStorage",
                                          "torch ShortStorage",
                                          "torch CharStorage",
                                          "torch ByteStorage",
                                          "torch BoolStorage",
                                          "torch Size"};
    const char *full = cvy_arena_printf(m->arena, "%s %s", module, name);
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(allowed[i], full) == 0) {
            push(m, make(m, CVY_PICKLED_GLOBAL, 0, allowed[i]));
            return CONVOY_OK;
        }
    if (strcmp(module, "torch") == 0 && strstr(name, "Storage"))
        return cvy_fail(CONVOY_INVALID,
                        "%s: it has tensors of a type that is not known here, torch.%.100s: save them as "
                        "float32, with .float()",
                        m->path, name);
    return cvy_fail(
        CONVOY_INVALID,
        "%s: its pickle asks for `%.100s.%.100s`, and nothing in a file is executed here. Save the "
        "state dict alone: torch.save(model.state_dict(), \"w.pth\")",
        m->path, module, name);
}

/* A shape, or strides. */
static bool has_numbers(const cvy_pickled *list) {
    if (list->kind != CVY_PICKLED_SEQUENCE || list->count > MOST_DIMENSIONS)
        return false;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->kind != CVY_PICKLED_NUMBER)
            return false;
    return true;
}

/* What a call of an allowed name stands for; nothing is called. */
static convoy_status reduce(machine *m) {
    cvy_pickled *arguments = pop(m), *function = arguments ? pop(m) : NULL;
    if (!function || function->kind != CVY_PICKLED_GLOBAL || arguments->kind != CVY_PICKLED_SEQUENCE)
        return bad(m, "a call of something that is no name");
    cvy_pickled **a = arguments->items;
    if (strcmp(function->text, "collections OrderedDict") == 0 && arguments->count == 0) {
        push(m, make(m, CVY_PICKLED_DICTIONARY, 0, NULL));
    } else if (strcmp(function->text, "torch._utils _rebuild_tensor_v2") == 0 && arguments->count >= 4 &&
               a[0]->kind == CVY_PICKLED_STORAGE && a[1]->kind == CVY_PICKLED_NUMBER && has_numbers(a[2]) &&
               has_numbers(a[3]) && a[2]->count == a[3]->count) {
        cvy_pickled *tensor = make(m, CVY_PICKLED_TENSOR, 0, NULL);
        for (size_t i = 0; i < 4; i++)
            add(m, tensor, a[i]);
        push(m, tensor);
    } else if (strcmp(function->text, "torch._utils _rebuild_parameter") == 0 && arguments->count >= 1 &&
               a[0]->kind == CVY_PICKLED_TENSOR) {
        push(m, a[0]);
    } else if (strcmp(function->text, "torch Size") == 0 && arguments->count == 1) {
        push(m, a[0]);
    } else {
        return cvy_fail(CONVOY_INVALID, "%s: its pickle calls %s with arguments that are not known here",
                        m->path, function->text);
    }
    return CONVOY_OK;
}

/* ("storage", type, key, place, elements[, view]) */
static convoy_status push_storage(machine *m) {
    const cvy_pickled *id = pop(m);
    if (!id || id->kind != CVY_PICKLED_SEQUENCE || id->count < 5 || id->items[0]->kind != CVY_PICKLED_TEXT ||
        strcmp(id->items[0]->text, "storage") != 0 || id->items[1]->kind != CVY_PICKLED_GLOBAL ||
        id->items[2]->kind != CVY_PICKLED_TEXT || id->items[4]->kind != CVY_PICKLED_NUMBER)
        return bad(m, "an object outside it that is no storage");
    if (id->count > 5 && id->items[5]->kind != CVY_PICKLED_OTHER)
        return bad(m, "a storage that is part of another");
    cvy_pickled *storage = make(m, CVY_PICKLED_STORAGE, id->items[4]->number, id->items[2]->text);
    add(m, storage, id->items[1]);
    add(m, m->storages, storage);
    push(m, storage);
    return CONVOY_OK;
}

/* Memo numbers count up from 0, so that each is at most as large as the file. */
static convoy_status put(machine *m, size_t index) {
    if (!m->depth || index > m->memo_count)
        return bad(m, "a memo out of order");
    if (index == m->memo_count) {
        m->memo = grow(m->arena, m->memo, m->memo_count);
        m->memo_count++;
    }
    m->memo[index] = m->stack[m->depth - 1];
    return CONVOY_OK;
}

static convoy_status memo_step(machine *m, int opcode) {
    uint64_t index = m->memo_count;
    if (opcode != 0x94 && !take_number(m, opcode == 'q' || opcode == 'h' ? 1 : 4, &index))
        return bad(m, "it is cut short");
    if (opcode == 'q' || opcode == 'r' || opcode == 0x94)
        return put(m, (size_t)index);
    if (index >= m->memo_count)
        return bad(m, "a memo that was never kept");
    push(m, m->memo[index]);
    return CONVOY_OK;
}

static convoy_status name_step(machine *m, int opcode) {
    const char *module = NULL, *name = NULL;
    if (opcode == 'c') {
        if (!take_line(m, &module) || !take_line(m, &name))
            return bad(m, "it is cut short");
        return push_global(m, module, name);
    }
    const cvy_pickled *second = pop(m), *first = second ? pop(m) : NULL;
    if (!first || first->kind != CVY_PICKLED_TEXT || second->kind != CVY_PICKLED_TEXT)
        return bad(m, "a name that is no text");
    return push_global(m, first->text, second->text);
}

static convoy_status container_step(machine *m, int opcode) {
    cvy_pickled *items;
    switch (opcode) {
    case ']':
    case ')':
    case '}':
        push(m, make(m, opcode == '}' ? CVY_PICKLED_DICTIONARY : CVY_PICKLED_SEQUENCE, 0, NULL));
        return CONVOY_OK;
    case 't':
        items = pop_to_mark(m);
        if (!items)
            return bad(m, "a tuple without a beginning");
        push(m, items);
        return CONVOY_OK;
    case 'e':
        return extend(m, pop_to_mark(m), CVY_PICKLED_SEQUENCE);
    case 'u':
        return extend(m, pop_to_mark(m), CVY_PICKLED_DICTIONARY);
    case 'a':
    case 's': {
        convoy_status status = push_tuple(m, opcode == 'a' ? 1 : 2);
        return status ? status
                      : extend(m, pop(m), opcode == 'a' ? CVY_PICKLED_SEQUENCE : CVY_PICKLED_DICTIONARY);
    }
    default: /* 0x85 to 0x87 */
        return push_tuple(m, (size_t)(opcode - 0x84));
    }
}

static convoy_status value_step(machine *m, int opcode) {
    const unsigned char *skipped;
    switch (opcode) {
    case 'J':
        return push_int(m, 4, true);
    case 'K':
        return push_int(m, 1, false);
    case 'M':
        return push_int(m, 2, false);
    case 0x8a:
        return push_long(m);
    case 0x88:
    case 0x89:
        push_number(m, opcode == 0x88);
        return CONVOY_OK;
    case 'G':
        if (!take(m, 8, &skipped))
            return bad(m, "it is cut short");
        push(m, make(m, CVY_PICKLED_OTHER, 0, NULL));
        return CONVOY_OK;
    case 'N':
        push(m, make(m, CVY_PICKLED_OTHER, 0, NULL));
        return CONVOY_OK;
    case 'X':
        return push_text(m, 4, true);
    case 0x8c:
        return push_text(m, 1, true);
    case 'U':
    case 'C':
        return push_text(m, 1, false);
    default: /* 'T', 'B' */
        return push_text(m, 4, false);
    }
}

static convoy_status step(machine *m, int opcode) {
    const unsigned char *skipped;
    if (memchr("JKMGNXUCTB\x8a\x88\x89\x8c", opcode, 14))
        return value_step(m, opcode);
    if (memchr("])}teuas\x85\x86\x87", opcode, 11))
        return container_step(m, opcode);
    if (memchr("qrhj\x94", opcode, 5))
        return memo_step(m, opcode);
    switch (opcode) {
    case 0x80:
        return take(m, 1, &skipped) ? CONVOY_OK : bad(m, "it is cut short");
    case 0x95:
        return take(m, 8, &skipped) ? CONVOY_OK : bad(m, "it is cut short");
    case '(':
        push(m, make(m, CVY_PICKLED_MARK, 0, NULL));
        return CONVOY_OK;
    case 'c':
    case 0x93:
        return name_step(m, opcode);
    case 'R':
        return reduce(m);
    case 'b': /* attributes, as a state dict's _metadata, are not needed */
        return pop(m) && m->depth ? CONVOY_OK : bad(m, "attributes of nothing");
    case 'Q':
        return push_storage(m);
    default:
        return cvy_fail(CONVOY_INVALID,
                        "%s: its pickle has the opcode 0x%02x at byte %zu, which state dicts do "
                        "not need and which is not read",
                        m->path, (unsigned)opcode, m->at - 1);
    }
}

convoy_status cvy_unpickle(cvy_arena *arena, const char *path, const char *bytes, size_t size, size_t *used,
                           cvy_pickled **value, cvy_pickled **storages) {
    machine m = {.arena = arena,
                 .path = path,
                 .bytes = (const unsigned char *)bytes,
                 .size = size < size_limit ? size : size_limit};
    convoy_status status = CONVOY_OK;
    m.storages = make(&m, CVY_PICKLED_SEQUENCE, 0, NULL);
    while (!status) {
        if (m.at == m.size)
            return bad(&m, size > m.size ? "it is too long" : "it is cut short");
        int opcode = m.bytes[m.at++];
        if (opcode == '.')
            break;
        status = step(&m, opcode);
    }
    if (status)
        return status;
    *value = pop(&m);
    *used = m.at;
    *storages = m.storages;
    return *value ? CONVOY_OK : bad(&m, "it ends without a value");
}
