/* What every test needs: cmocka, a device, random data, and the one way to compare floats. */
#ifndef CVY_TESTS_TEST_H
#define CVY_TESTS_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/status.h"
#include "device/device.h"

/* In place of cmocka's: a program with several groups runs all of them, and returns what the last one says.
 */
#undef cmocka_run_group_tests_name
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                            \
    test_group_over(_cmocka_run_group_tests(name, tests, sizeof(tests) / sizeof *(tests), setup, teardown),  \
                    sizeof(tests) / sizeof *(tests))
#undef cmocka_run_group_tests
#define cmocka_run_group_tests(tests, setup, teardown)                                                       \
    cmocka_run_group_tests_name(#tests, tests, setup, teardown)
#undef skip
#define skip() test_skip(__FILE__, __LINE__)
/* Counts a group's tests; the program's exit code so far: 1 where any failed, 77 (which ctest takes for
   skipped) where all were skipped, else 0. */
int test_group_over(int failed, size_t tests);
void test_skip(const char *file, int line);

/* Fails with Convoy's own message. */
#define assert_ok(call)                                                                                      \
    do {                                                                                                     \
        convoy_status status_ = (call);                                                                      \
        if (status_ != CONVOY_OK)                                                                            \
            fail_msg("%s: %s: %s", #call, convoy_status_name(status_), convoy_error_message());              \
    } while (0)
/* The call fails with `expected`, and its message contains `part`. */
#define assert_fails(call, expected, part)                                                                   \
    do {                                                                                                     \
        convoy_status status_ = (call);                                                                      \
        if (status_ != (expected))                                                                           \
            fail_msg("%s: %s instead of %s: %s", #call, convoy_status_name(status_),                         \
                     convoy_status_name(expected), convoy_error_message());                                  \
        if (!strstr(convoy_error_message(), part))                                                           \
            fail_msg("%s: the message lacks \"%s\": %s", #call, part, convoy_error_message());               \
    } while (0)

/* The device under test: $CONVOY_TEST_DEVICE, else "cpu". Opened once per process and closed by
   test_device_close (call it after cmocka_run_group_tests). */
convoy_device *test_device(void);
void test_device_close(void);

/* Whether CONVOY_TEST_QUICK asks for the short run: every kernel still runs, over few shapes. For Oclgrind,
   which is a thousand times slower than a compiled kernel, and for sanitizers. */
bool test_quick(void);
/* Whether it asks for the shortest: "tiny", for devices that take seconds to compile a kernel. */
bool test_shortest(void);
/* For kernels for GPUs where a compiling CPU stands in: from here on they are built without optimization, in
   a quarter of the time. Not under Oclgrind, which interprets them: four times as long. */
void test_build(bool plainly);
int test_build_plainly(void **state); /* a group's setup */
/* How far a loop over shapes goes at once: 1; 3 in the short run. */
size_t test_stride(void);

/* Uniform in [-1, 1), a function of (seed, index). malloc'ed. */
float *test_random(size_t count, uint32_t seed);

/* A device buffer with these contents; and back. */
cvy_buffer *test_buffer(convoy_device *device, const void *data, size_t bytes);
float *test_read(cvy_buffer *buffer, size_t count);

/* Each |actual - expected| <= tolerance * max(1, largest |expected|); names the worst element. NaN never
 * passes. */
void test_close(const char *what, const float *actual, const float *expected, size_t count, double tolerance);
/* The same over [rows][pitch] tensors, columns 0..n-1 only; columns n.. must be exactly 0 when
 * `padding_zero`. */
void test_close_columns(const char *what, const float *actual, const float *expected, size_t rows, int pitch,
                        int n, bool padding_zero, double tolerance);

#endif
