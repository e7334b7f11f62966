/* A grid of images that were answered, as tutorials end with it. */
#include <stdlib.h>

#include "report/run.h"
#include "report/tiles.h"

enum { MOST = 40, TILE = 128 };

static convoy_status draw(cvy_arena *arena, const cvy_run *run, cvy_canvas **canvas) {
    const convoy_dataset *set = run->set;
    const cvy_answers *a = run->answers;
    const size_t bytes = 4 * (size_t)set->height * (size_t)set->width;
    size_t shown[MOST];
    cvy_tile tiles[MOST];
    const size_t count = cvy_answers_spread(a, MOST, shown);
    uint8_t *rgba = malloc(count * bytes);
    convoy_status status = rgba ? CONVOY_OK : cvy_fail_memory("a grid of images", count * bytes);
    for (size_t i = 0; i < count && !status; i++) {
        const char *given = a->names[a->given[shown[i]]], *truth = a->names[a->truth[shown[i]]];
        const bool wrong = a->given[shown[i]] != a->truth[shown[i]];
        tiles[i] = (cvy_tile){.rgba = rgba + i * bytes,
                              .width = set->width,
                              .height = set->height,
                              .caption = cvy_arena_printf(arena, "answer: %s", given),
                              .below = cvy_arena_printf(arena, "is: %s", truth),
                              .wrong = wrong};
        status = cvy_pixels_of_image(set, shown[i], rgba + i * bytes);
    }
    const cvy_tiles grid = {.title =
                                cvy_arena_printf(arena, "%s: %zu of %zu images of %s, wrong answers framed",
                                                 run->model_name ? run->model_name : run->name, count,
                                                 a->images, convoy_dataset_name(set)),
                            .tiles = tiles,
                            .count = count,
                            .fixed = set->width > TILE || set->height > TILE,
                            .tile = TILE,
                            .width = 1236,
                            .font = 14,
                            .theme = &cvy_light};
    if (!status)
        status = cvy_tiles_create(CVY_PNG, &grid, canvas);
    free(rgba);
    return status;
}

convoy_status cvy_answers_save(const cvy_run *run, const char *path) {
    cvy_canvas *canvas = NULL;
    cvy_arena *arena = cvy_arena_create();
    convoy_status status = arena ? draw(arena, run, &canvas) : cvy_fail_memory("a grid of images", MOST);
    cvy_arena_free(arena);
    return status ? status : cvy_canvas_save(canvas, path);
}
