/* The table of quirks: who has which, by the names that drivers give themselves. */
#include "device/quirks.h"

#include "support/test.h"

static void by_name(void **state) {
    (void)state;
    static const struct {
        convoy_device_info info;
        unsigned quirks;
        bool noted;
    } cases[] = {
        {{.platform = "Oclgrind", .name = "Oclgrind Simulator", .vendor = "University of Bristol"},
         CVY_QUIRK_ON_REQUEST | CVY_QUIRK_IS_CPU | CVY_QUIRK_INTERPRETS,
         true},
        {{.platform = "rusticl", .name = "llvmpipe (LLVM 15.0.6, 256 bits)", .vendor = "Mesa/X.org"},
         CVY_QUIRK_ON_REQUEST | CVY_QUIRK_IS_CPU,
         true},
        {{.platform = "Portable Computing Language", .name = "pthread-haswell-AMD EPYC"},
         CVY_QUIRK_OWN_CACHE | CVY_QUIRK_LONG_HEADER,
         false},
        {{.platform = "NVIDIA CUDA", .name = "NVIDIA H200", .vendor = "NVIDIA Corporation"},
         CVY_QUIRK_MMA_NVIDIA,
         false},
        {{.platform = "rusticl", .name = "AMD Radeon RX 6600", .vendor = "AMD"}, 0, false},
        {{.platform = "Convoy", .name = "Host CPU without OpenCL", .vendor = "Convoy"}, 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *note = NULL;
        assert_int_equal(cvy_quirks_of(&cases[i].info, &note), cases[i].quirks);
        assert_int_equal(note != NULL, cases[i].noted);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_name)};
    return cmocka_run_group_tests_name("quirks", tests, NULL, NULL);
}
