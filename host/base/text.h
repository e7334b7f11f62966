/* Strings: a growing buffer, and the nearest word for "did you mean". */
#ifndef CVY_BASE_TEXT_H
#define CVY_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* A growing string; start with {0}. `data` is always NUL-terminated once something was added, else NULL.
   Numbers are formatted with '.' whatever the locale. Aborts the process when memory is out, as arenas do. */
typedef struct cvy_text {
    char *data;
    size_t length, capacity;
} cvy_text;

void cvy_text_add(cvy_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cvy_text_add_list(cvy_text *text, const char *format, va_list arguments);
/* The shortest of 15 to 17 significant digits that reads back as the same number: 0.1 stays "0.1". */
void cvy_text_add_number(cvy_text *text, double value);
/* Text from outside as a screen may have it: control characters, what turns the direction of writing, and
   bytes that are no UTF-8 become \x1B. `lines`: tabs and line breaks stay. */
void cvy_text_add_visible(cvy_text *text, const char *shown, bool lines);
/* The same of JSON, which means what it meant: the characters become \u001B, which only stand in strings. */
void cvy_text_add_visible_json(cvy_text *text, const char *json);
void cvy_text_add_base64(cvy_text *text, const void *data, size_t size);
void cvy_text_free(cvy_text *text);
/* "" instead of NULL. */
const char *cvy_text_get(const cvy_text *text);

/* The length of the UTF-8 character at `bytes`, 0 where there is none, and its code. */
size_t cvy_text_character(const unsigned char *bytes, unsigned *code);
/* Writes at most 3/4 of the text's length to `bytes`; false where the text is no base64. */
bool cvy_text_from_base64(const char *text, char *bytes, size_t *size);

/* The candidate closest to `word` (Damerau-Levenshtein, case-insensitive) if it is close enough to be a
   misspelling of it, else NULL. */
const char *cvy_text_nearest(const char *word, const char *const *candidates, size_t count);

/* Case-insensitive: does `text` contain `part`? */
bool cvy_text_contains(const char *text, const char *part);

/* A field of CSV, in quotes where it must be. */
void cvy_text_add_field(cvy_text *text, const char *field);
/* Cuts a line of CSV at its commas, in place; "fields in quotes" may have commas and doubled quotes. At most
   `most` fields: how many. */
size_t cvy_text_split_row(char *line, char **fields, size_t most);

/* Whole-string number parsing: false on empty text, trailing characters, overflow, NaN or infinity.
   The decimal point is always '.', whatever the locale. */
bool cvy_text_to_long(const char *text, long long *value);
bool cvy_text_to_double(const char *text, double *value);

#endif
