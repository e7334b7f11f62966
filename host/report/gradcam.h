/* Where a network looks for a class: Grad-CAM (Selvaraju et al., 2017). */
#ifndef CVY_REPORT_GRADCAM_H
#define CVY_REPORT_GRADCAM_H

#include "data/loader.h"
#include "network/network.h"

typedef struct cvy_gradcam {
    size_t layer; /* of convoy_model_layer */
    int class_index;
    int channels, height, width; /* of what the layer gives */
    size_t pitch;
    float *input;      /* [channels][height][width][pitch]: the image as the network sees it */
    float *activation; /* [channels * height * width][pitch] */
    double
        *map; /* [height][width]: the sum of the maps, each times its gradient's mean, where that is over 0 */
    double *probabilities; /* [classes] */
} cvy_gradcam;

/* The last layer that gives maps and neither pools nor drops; SIZE_MAX: there is none. */
size_t cvy_gradcam_layer(const convoy_model *model);
/* `name`, as in the state dict. CONVOY_INVALID: there is none of that name, or it gives no maps. */
convoy_status cvy_gradcam_find_layer(const convoy_model *model, const char *name, size_t *layer);

/* Of the first image of the set. The model keeps its layers apart; class_index -1: its answer. `found` is
   freed by the caller, also after a failure. */
convoy_status cvy_gradcam_find(convoy_model *model, convoy_device *device, const convoy_dataset *set,
                               size_t layer, int class_index, cvy_gradcam *found);
void cvy_gradcam_free(cvy_gradcam *found); /* {0} is allowed */

#endif
