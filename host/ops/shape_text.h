/* The numbers of a shape as tables of choices have it: a file from outside, which may say anything. */
#ifndef CVY_OPS_SHAPE_TEXT_H
#define CVY_OPS_SHAPE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* "3,0,16": exactly `count` numbers, each from 0 to `most`. */
bool cvy_shape_read_numbers(const char *text, long long most, long long *numbers, size_t count);

#endif
