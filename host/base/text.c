/* Strings: the growing buffer, number parsing that ignores the locale, and the nearest word for "did you
 * mean". */
#include "base/text.h"

#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/status.h"

/* ---- the C locale ---- */

static pthread_once_t locale_once = PTHREAD_ONCE_INIT;
static locale_t plain_locale;

static void create_locale(void) {
    plain_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain_locale)
        cvy_abort_memory();
}

/* Created once, kept until the process ends. */
static locale_t c_locale(void) {
    pthread_once(&locale_once, create_locale);
    return plain_locale;
}

/* ---- the growing buffer ---- */

static void reserve(cvy_text *text, size_t more) {
    if (more > SIZE_MAX / 4 || text->length > SIZE_MAX / 4)
        cvy_abort_memory();
    size_t wanted = text->length + more + 1;
    if (wanted <= text->capacity)
        return;
    size_t capacity = text->capacity ? text->capacity * 2 : 64;
    while (capacity < wanted)
        capacity *= 2;
    char *data = realloc(text->data, capacity);
    if (!data)
        cvy_abort_memory();
    text->data = data;
    text->capacity = capacity;
}

void cvy_text_add_list(cvy_text *text, const char *format, va_list arguments) {
    locale_t before = uselocale(c_locale());
    va_list copy;
    va_copy(copy, arguments);
    int length = vsnprintf(NULL, 0, format, copy);
    va_end(copy);
    reserve(text, length > 0 ? (size_t)length : 0);
    text->data[text->length] = '\0';
    if (length > 0) {
        vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
        text->length += (size_t)length;
    }
    uselocale(before);
}

void cvy_text_add(cvy_text *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    cvy_text_add_list(text, format, arguments);
    va_end(arguments);
}

void cvy_text_add_number(cvy_text *text, double value) {
    char digits[40];
    locale_t before = uselocale(c_locale());
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value)
            break;
    }
    uselocale(before);
    cvy_text_add(text, "%s", digits);
}

size_t cvy_text_character(const unsigned char *bytes, unsigned *code) {
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = bytes[0] < 0x80             ? 1
                          : (bytes[0] & 0xE0) == 0xC0 ? 2
                          : (bytes[0] & 0xF0) == 0xE0 ? 3
                          : (bytes[0] & 0xF8) == 0xF0 ? 4
                                                      : 0;
    if (length < 2) {
        *code = bytes[0];
        return length;
    }
    *code = bytes[0] & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80) /* or the end of the text */
            return 0;
        *code = *code << 6 | (bytes[i] & 0x3Fu);
    }
    const bool surrogate = *code >= 0xD800 && *code < 0xE000;
    return *code < least[length] || *code > 0x10FFFF || surrogate ? 0 : length;
}

static bool is_invisible(unsigned code) {
    return code < ' ' || (code >= 0x7F && code < 0xA0) || (code >= 0x200E && code <= 0x200F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

typedef enum { BYTES, CODE } escape; /* \x1B, or \u001B */

static void add_visible(cvy_text *text, const char *shown, bool lines, escape as) {
    const char *start = shown; /* of what needs no escape */
    for (const char *c = shown;;) {
        unsigned code;
        size_t length = cvy_text_character((const unsigned char *)c, &code);
        if (*c && length && (!is_invisible(code) || (lines && (code == '\n' || code == '\t')))) {
            c += length;
            continue;
        }
        cvy_text_add(text, "%.*s", (int)(c - start), start);
        if (!*c)
            return;
        for (size_t i = 0; as == BYTES && i < (length ? length : 1); i++)
            cvy_text_add(text, "\\x%02X", (unsigned char)c[i]);
        if (as == CODE)
            cvy_text_add(text, "\\u%04X", code);
        start = c += length ? length : 1;
    }
}

void cvy_text_add_visible(cvy_text *text, const char *shown, bool lines) {
    add_visible(text, shown, lines, BYTES);
}

void cvy_text_add_visible_json(cvy_text *text, const char *json) {
    add_visible(text, json, true, CODE);
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void cvy_text_add_base64(cvy_text *text, const void *data, size_t size) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i += 3) {
        const unsigned word = (unsigned)bytes[i] << 16 | (i + 1 < size ? (unsigned)bytes[i + 1] << 8 : 0) |
                              (i + 2 < size ? bytes[i + 2] : 0u);
        char four[5] = "====";
        for (size_t d = 0; d < 4 && i + d <= size; d++)
            four[d] = base64_digits[word >> (18 - 6 * d) & 63];
        cvy_text_add(text, "%s", four);
    }
}

bool cvy_text_from_base64(const char *text, char *bytes, size_t *size) {
    unsigned word = 0;
    size_t digits = 0;
    *size = 0;
    for (; *text && *text != '='; text++) {
        const char *digit = strchr(base64_digits, *text);
        if (!digit)
            return false;
        word = word << 6 | (unsigned)(digit - base64_digits);
        if (++digits % 4 != 1)
            bytes[(*size)++] = (char)(word >> ((8 - digits % 4 * 2) % 8) & 0xFF);
    }
    return strspn(text, "=") == strlen(text) && strlen(text) == (4 - digits % 4) % 4 && digits % 4 != 1;
}

void cvy_text_free(cvy_text *text) {
    free(text->data);
    *text = (cvy_text){0};
}

const char *cvy_text_get(const cvy_text *text) {
    return text->data ? text->data : "";
}

/* ---- words ---- */

/* ASCII only: names of parameters and devices; the locale must not change what matches. */
static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

enum { LONGEST_WORD = 64 };

static int smallest(int a, int b, int c) {
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Damerau-Levenshtein distance in its restricted form (optimal string alignment): insertions, deletions,
   substitutions, and swaps of neighbours, no part edited twice. Both words are at most LONGEST_WORD long. */
static int distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    int rows[3][LONGEST_WORD + 1];
    int *two_above = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        above[j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            int differs = lower(a[i - 1]) != lower(b[j - 1]);
            row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + differs);
            bool swapped =
                i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
            if (swapped && two_above[j - 2] + 1 < row[j])
                row[j] = two_above[j - 2] + 1;
        }
        int *free_row = two_above;
        two_above = above;
        above = row;
        row = free_row;
    }
    return above[b_length];
}

/* How far `candidate` is from `word`, or -1 where it is no plausible misspelling: up to a third of the longer
   word may differ, and something must be left. The beginning of a longer name ("kernel") counts as one slip
   per missing letter beyond that limit too, so that it is offered only when nothing is nearer. */
static int plausible_distance(const char *word, const char *candidate) {
    size_t a = strlen(word), b = strlen(candidate);
    if (a == 0 || b == 0 || a > LONGEST_WORD || b > LONGEST_WORD)
        return -1;
    int d = distance(word, a, candidate, b);
    int longer = (int)(a > b ? a : b), shorter = (int)(a < b ? a : b);
    if (d <= (longer + 2) / 3 && d < shorter)
        return d;
    return a >= 3 && a < b && strncasecmp(word, candidate, a) == 0 ? d : -1;
}

const char *cvy_text_nearest(const char *word, const char *const *candidates, size_t count) {
    const char *best = NULL;
    int best_distance = 0;
    for (size_t i = 0; i < count; i++) {
        int d = plausible_distance(word, candidates[i]);
        if (d >= 0 && (!best || d < best_distance)) {
            best = candidates[i];
            best_distance = d;
        }
    }
    return best;
}

bool cvy_text_contains(const char *text, const char *part) {
    for (;; text++) {
        size_t matched = 0;
        while (part[matched] && lower(text[matched]) == lower(part[matched]))
            matched++;
        if (!part[matched])
            return true;
        if (!*text)
            return false;
    }
}

/* ---- numbers ---- */

bool cvy_text_to_long(const char *text, long long *value) {
    const char *digits = text + (text[0] == '+' || text[0] == '-');
    if (!*digits || digits[strspn(digits, "0123456789")])
        return false;
    errno = 0;
    long long parsed = strtoll(text, NULL, 10);
    if (errno)
        return false;
    *value = parsed;
    return true;
}

bool cvy_text_to_double(const char *text, double *value) {
    /* Keeps hexadecimal, "inf", "nan" and leading blanks away from strtod, which takes them all. */
    if (!*text || text[strspn(text, "0123456789+-.eE")])
        return false;
    char *end = NULL;
    double parsed = strtod_l(text, &end, c_locale());
    if (end == text || *end || parsed - parsed != 0.0) {
        return false; /* overflow gives infinity; underflow to a subnormal or 0 is the nearest number, and
                         taken */
    }
    *value = parsed;
    return true;
}

void cvy_text_add_field(cvy_text *text, const char *field) {
    if (!field[strcspn(field, ",\"\n\r")]) {
        cvy_text_add(text, "%s", field);
        return;
    }
    cvy_text_add(text, "\"");
    for (const char *c = field; *c; c++)
        cvy_text_add(text, *c == '"' ? "\"\"" : "%c", *c);
    cvy_text_add(text, "\"");
}

size_t cvy_text_split_row(char *line, char **fields, size_t most) {
    size_t count = 0;
    for (char *next = line; next && count < most; count++) {
        char *to = next;
        bool quoted = *next == '"';
        fields[count] = next;
        for (next += quoted; *next && (quoted || *next != ','); next++)
            if (quoted && *next == '"' && next[1] != '"')
                quoted = false;
            else
                *to++ = quoted && *next == '"' ? *next++ : *next;
        next = *next ? next + 1 : NULL;
        *to = '\0';
    }
    return count;
}
