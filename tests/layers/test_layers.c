/* The table of layer types: every row is complete. What each promises stands in the test of its file. */
#include "layers/layer.h"
#include "support/test.h"

static void rows_are_complete(void **state) {
    (void)state;
    size_t count = 0;
    for (const cvy_layer_type *const *row = cvy_layer_types; *row; row++, count++) {
        const cvy_layer_type *type = *row;
        assert_ptr_equal(cvy_layer_type_find(type->name), type);
        assert_true(type->help && *type->help && type->params && type->describe);
        assert_true(!type->forward == !type->backward);
        assert_true(!type->state_size == !type->setup);
        assert_true(!type->release || type->setup);
        for (const cvy_param *p = type->params; p->name; p++)
            assert_true(p->help && *p->help && p->offset < type->config_size);
        for (size_t i = 0; i < count; i++)
            assert_string_not_equal(cvy_layer_types[i]->name, type->name);
    }
    assert_true(count >= 17);
    assert_null(cvy_layer_type_find("conv2d"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_are_complete)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
