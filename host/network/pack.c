/* Packing blocks into arenas: the largest first, each at the lowest offset where no block that is alive at
   the same time lies. */
#include <stdlib.h>

#include "base/integer.h"
#include "network/plan.h"

static int compare_sizes(const void *a, const void *b) {
    const cvy_block *x = *(cvy_block *const *)a, *y = *(cvy_block *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->first != y->first ? x->first - y->first : (x > y) - (x < y);
}

static int compare_offsets(const void *a, const void *b) {
    const cvy_block *x = *(cvy_block *const *)a, *y = *(cvy_block *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The lowest offset for `block` among the `count` blocks placed already in `arena`; `neighbours` is scratch.
 */
static size_t lowest_offset(cvy_block *const *placed, size_t count, const cvy_block *block, int arena,
                            size_t alignment, cvy_block **neighbours) {
    size_t found = 0, offset = 0;
    for (size_t i = 0; i < count; i++)
        if (placed[i]->arena == arena && placed[i]->first <= block->last && block->first <= placed[i]->last)
            neighbours[found++] = placed[i];
    qsort(neighbours, found, sizeof *neighbours, compare_offsets);
    for (size_t i = 0; i < found; i++) {
        if (neighbours[i]->offset >= offset + block->bytes)
            break;
        size_t end = round_up(neighbours[i]->offset + neighbours[i]->bytes, alignment);
        offset = end > offset ? end : offset;
    }
    return offset;
}

convoy_status cvy_plan_pack(cvy_plan *plan, size_t max_allocation) {
    size_t count = 0;
    cvy_plan_settle(plan);
    cvy_block **sorted = cvy_arena_alloc(plan->arena, (plan->block_count + 1) * sizeof *sorted);
    cvy_block **neighbours = cvy_arena_alloc(plan->arena, (plan->block_count + 1) * sizeof *neighbours);
    for (size_t i = 0; i < plan->block_count; i++)
        if (plan->blocks[i].first <= plan->blocks[i].last)
            sorted[count++] = &plan->blocks[i];
    qsort(sorted, count, sizeof *sorted, compare_sizes);
    for (size_t i = 0; i < count; i++) {
        cvy_block *block = sorted[i];
        if (block->bytes > max_allocation)
            return cvy_fail(CONVOY_MEMORY,
                            "one tensor needs %.1f MB, but the device allows %.1f MB in one piece",
                            (double)block->bytes / 1e6, (double)max_allocation / 1e6);
        size_t arena = 0;
        for (;; arena++) {
            if (arena == plan->arena_count) {
                plan->arena_bytes =
                    cvy_grow(plan->arena, plan->arena_bytes, arena, sizeof *plan->arena_bytes);
                plan->arena_bytes[plan->arena_count++] = 0;
            }
            block->offset = lowest_offset(sorted, i, block, (int)arena, plan->alignment, neighbours);
            if (block->offset + block->bytes <= max_allocation)
                break;
        }
        block->arena = (int)arena;
        if (block->offset + block->bytes > plan->arena_bytes[arena])
            plan->arena_bytes[arena] = block->offset + block->bytes;
    }
    return CONVOY_OK;
}
