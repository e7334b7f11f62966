#include "ops/shape_text.h"

#include <string.h>

#include "base/text.h"

bool cvy_shape_read_numbers(const char *text, long long most, long long *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char number[24];
        const size_t length = strcspn(text, ",");
        if (length >= sizeof number || text[length] != (i + 1 < count ? ',' : '\0'))
            return false;
        memcpy(number, text, length);
        number[length] = '\0';
        if (!cvy_text_to_long(number, &numbers[i]) || numbers[i] < 0 || numbers[i] > most)
            return false;
        text += length + 1;
    }
    return true;
}
