/* Reading lists of pictures. */
#include "data/list_rows.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "data/dataset.h"

enum { MOST_FIELDS = 64, LARGEST_LIST = 1 << 30 };

typedef struct field {
    char *text;
    size_t line, column;
} field;

/* Where reading stands. */
typedef struct reader {
    const char *path;
    char *at, *begin; /* and the beginning of its line */
    size_t line;
    char delimiter; /* ' ': the last one of a line */
} reader;

static convoy_status fail_at(const reader *r, size_t line, size_t column, const char *what) {
    return cvy_fail(CONVOY_INVALID, "%s:%zu:%zu: %s", r->path, line, column, what);
}

/* ---- Fields ---- */

static void trim(char *text) {
    size_t length = strlen(text);
    while (length && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
}

/* The end of the line becomes the end of the text before it. */
static void end_line(reader *r, char *newline) {
    if (*newline)
        *newline++ = '\0';
    r->at = r->begin = newline;
    r->line++;
}

/* What is quoted, without its quotes; two of them stand for one. */
static convoy_status take_quoted(reader *r, field *f) {
    char *out = f->text = r->at + 1, *in = out;
    for (; *in && (*in != '"' || in[1] == '"'); in++) {
        in += *in == '"';
        if (*in == '\n') {
            r->line++;
            r->begin = in + 1;
        }
        *out++ = *in;
    }
    if (!*in)
        return fail_at(r, f->line, f->column, "this quotation has no end");
    in++;
    *out = '\0';
    in += strspn(in, " \r");
    if (*in && *in != '\n' && *in != r->delimiter)
        return fail_at(r, r->line, (size_t)(in - r->begin) + 1, "after a quotation a field ends");
    r->at = in;
    return CONVOY_OK;
}

/* One field, and what ends it: *more is false at the end of its line. */
static convoy_status take_field(reader *r, field *f, bool *more) {
    r->at += strspn(r->at, " ");
    *f = (field){r->at, r->line, (size_t)(r->at - r->begin) + 1};
    convoy_status status = CONVOY_OK;
    if (*r->at == '"')
        status = take_quoted(r, f);
    else
        while (*r->at && *r->at != '\n' && *r->at != r->delimiter)
            r->at++;
    if (status)
        return status;
    *more = *r->at == r->delimiter;
    if (*more)
        *r->at++ = '\0';
    else
        end_line(r, r->at);
    trim(f->text);
    return CONVOY_OK;
}

/* "a picture.jpg cat": the class is the last word. */
static size_t take_words(reader *r, field *fields) {
    char *line = r->at;
    fields[0] = (field){line, r->line, 1};
    end_line(r, line + strcspn(line, "\n"));
    trim(line);
    char *space = line + strlen(line);
    while (space > line && space[-1] != ' ' && space[-1] != '\t')
        space--;
    if (space == line)
        return *line ? 1 : 0;
    fields[1] = (field){space, fields[0].line, (size_t)(space - line) + 1};
    space[-1] = '\0';
    trim(line);
    return 2;
}

/* The fields of the next line that is not empty; none at the end. */
static convoy_status next_record(reader *r, field *fields, size_t *count) {
    *count = 0;
    while (*r->at && !*count) {
        if (r->delimiter == ' ') {
            *count = take_words(r, fields);
            continue;
        }
        bool more = true;
        while (more) {
            if (*count == MOST_FIELDS)
                return fail_at(r, r->line, 1, "more than 64 columns");
            convoy_status status = take_field(r, &fields[(*count)++], &more);
            if (status)
                return status;
        }
        if (*count == 1 && !*fields[0].text)
            *count = 0;
    }
    return CONVOY_OK;
}

/* ---- Columns ---- */

enum { PICTURE, CLASS, SPLIT, COLUMNS, NAMES = 9 };

/* What a header calls them, in upper or lower case. */
static const char *const headers[COLUMNS][NAMES] = {
    {"path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name"},
    {"label", "class", "target", "category", "class_name", "label_name", "y"},
    {"split", "set", "subset", "partition"}};

/* places[c]: where column c stands, or `count`. False: this is no header. */
static bool read_header(const field *fields, size_t count, size_t places[COLUMNS]) {
    for (int c = 0; c < COLUMNS; c++) {
        places[c] = count;
        for (size_t n = 0; n < NAMES && headers[c][n]; n++)
            for (size_t i = 0; i < count && places[c] == count; i++)
                if (strcasecmp(fields[i].text, headers[c][n]) == 0)
                    places[c] = i;
    }
    return places[PICTURE] < count && places[CLASS] < count;
}

static convoy_status add_row(const reader *r, const field *fields, size_t count, const size_t places[COLUMNS],
                             cvy_split split, cvy_rows *rows) {
    const field *picture = &fields[places[PICTURE]], *class = &fields[places[CLASS]];
    if (places[PICTURE] >= count || places[CLASS] >= count || !*picture->text)
        return fail_at(r, fields[0].line, fields[0].column, "a picture and its class are expected");
    if (!*class->text)
        return fail_at(r, class->line, class->column, "the class is missing");
    if (places[SPLIT] < count) {
        split = cvy_split_of(fields[places[SPLIT]].text);
        if (split == CVY_NO_SPLIT)
            return cvy_fail(CONVOY_INVALID, "%s:%zu:%zu: split `%s`: expected train, val or test", r->path,
                            fields[places[SPLIT]].line, fields[places[SPLIT]].column,
                            fields[places[SPLIT]].text);
    }
    if (rows->count == rows->capacity) {
        const size_t capacity = rows->capacity ? 2 * rows->capacity : 256;
        cvy_row *larger = realloc(rows->rows, capacity * sizeof *larger);
        if (!larger)
            return cvy_fail_memory("a list of images", capacity * sizeof *larger);
        rows->rows = larger;
        rows->capacity = capacity;
    }
    rows->rows[rows->count++] =
        (cvy_row){r->path, class->line, class->column, picture->text, class->text, split};
    return CONVOY_OK;
}

/* The first line is a header, or names a picture. */
static convoy_status read_records(reader *r, cvy_split split, cvy_rows *rows) {
    field fields[MOST_FIELDS];
    size_t count, wanted = 0, places[COLUMNS] = {0, 1, MOST_FIELDS};
    convoy_status status = next_record(r, fields, &count);
    if (!status && !count)
        return cvy_fail(CONVOY_INVALID, "%s: this list is empty", r->path);
    if (!status && read_header(fields, count, places)) {
        wanted = count;
        status = next_record(r, fields, &count);
    } else if (!status && !cvy_is_image_name(fields[0].text)) {
        return fail_at(r, fields[0].line, fields[0].column,
                       "a picture and its class are expected, or a header with a column for each: path (or "
                       "file, image, ...) and label (or class, ...)");
    } else if (!status) {
        places[PICTURE] = 0;
        places[CLASS] = 1;
        places[SPLIT] = MOST_FIELDS;
    }
    while (!status && count) {
        if (wanted && count != wanted)
            return cvy_fail(CONVOY_INVALID, "%s:%zu: %zu columns, where the header has %zu", r->path,
                            fields[0].line, count, wanted);
        status = add_row(r, fields, count, places, split, rows);
        if (!status)
            status = next_record(r, fields, &count);
    }
    return status;
}

/* By the file's ending, else by what its first line has in it. */
static char delimiter_of(const char *path, const char *text) {
    const char *dot = strrchr(path, '.');
    const size_t length = strcspn(text, "\n");
    if (dot && strcasecmp(dot, ".csv") == 0)
        return memchr(text, ';', length) && !memchr(text, ',', length) ? ';' : ',';
    if ((dot && strcasecmp(dot, ".tsv") == 0) || memchr(text, '\t', length))
        return '\t';
    return memchr(text, ',', length) ? ',' : ' ';
}

convoy_status cvy_rows_read(const char *path, cvy_split split, cvy_arena *arena, cvy_rows *rows) {
    char *data = NULL;
    size_t size = 0;
    convoy_status status = cvy_file_read_regular(path, LARGEST_LIST, &data, &size);
    if (status)
        return status;
    if (memchr(data, '\0', size)) {
        free(data);
        return cvy_fail(CONVOY_INVALID, "%s: neither a folder nor a list of pictures: it is no text", path);
    }
    const char *text = strncmp(data, "\xef\xbb\xbf", 3) == 0 ? data + 3 : data;
    char *copy = cvy_arena_strdup(arena, text);
    reader r = {cvy_arena_strdup(arena, path), copy, copy, 1, delimiter_of(path, text)};
    free(data);
    return read_records(&r, split, rows);
}
