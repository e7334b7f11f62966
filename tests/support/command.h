/* Runs the built `convoy` command and keeps what it said. */
#ifndef CVY_TESTS_COMMAND_H
#define CVY_TESTS_COMMAND_H

#include <jansson.h>
#include <sys/types.h>

#include "support/run.h"

/* What a finished command left: its exit code (-signal when a signal ended it) and its output. */
typedef struct test_output {
    int code;
    char *out, *err;
    json_t *json; /* of stdout, when `out` is one JSON object and nothing else; else NULL */
} test_output;

/* Runs `convoy <arguments...>` (a NULL-terminated list) with CONVOY_DEVICE set to the device under test
   unless the environment has one. The result is kept until the next call. */
const test_output *test_run(const char *const *arguments);
#define RUN(...) test_run((const char *const[]){__VA_ARGS__, NULL})
void test_run_free(void); /* at the end of the program */

/* Starts it in the background; its stderr goes to the file `err`, stdout is dropped. */
pid_t test_start(const char *err, const char *const *arguments);
/* Waits for its end: exit code, or -signal. */
int test_wait(pid_t process);
/* Waits until the file holds `text`; fails the test after 60 s, or when the process has ended before. */
void test_wait_for(pid_t process, const char *path, const char *text);

/* The object's keys are exactly these, in any order: "a b c". */
void test_keys(const json_t *object, const char *keys);

#endif
