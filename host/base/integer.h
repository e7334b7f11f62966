/* Whole numbers: what C leaves out. Arguments are not negative, divisors positive. */
#ifndef CVY_BASE_INTEGER_H
#define CVY_BASE_INTEGER_H

#include <stddef.h>
#include <stdint.h>

static inline int min_int(int a, int b) {
    return a < b ? a : b;
}
static inline int max_int(int a, int b) {
    return a > b ? a : b;
}
/* a / b, rounded up. */
static inline int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}
static inline int gcd(int a, int b) {
    return b ? gcd(b, a % b) : a;
}

static inline size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}
static inline size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}
static inline size_t ceil_div_size(size_t a, size_t b) {
    return a / b + (a % b != 0);
}

/* Sums and products of sizes that come from outside: SIZE_MAX, which no limit allows and no memory has, where
   a size_t cannot say them. */
static inline size_t add_size(size_t a, size_t b) {
    size_t sum;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}
static inline size_t mul_size(size_t a, size_t b) {
    size_t product;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

static inline size_t round_up(size_t value, size_t multiple) {
    return mul_size(ceil_div_size(value, multiple), multiple);
}

#endif
