/* libFuzzer's program: FUZZ_TARGET names what it runs. Built by tools/presets/fuzz.cmake; tools/test.sh
 * fuzz. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz/targets.h"

static const fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    target = fuzz_find(getenv("FUZZ_TARGET"));
    if (!target || !fuzz_begin()) {
        fputs("FUZZ_TARGET names no target, or no folder can be made; see tests/fuzz/targets.c\n", stderr);
        exit(2);
    }
    atexit(fuzz_end);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    target->run(data, size);
    return 0;
}
