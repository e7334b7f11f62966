/* The picture of an explanation: the image, where the network looked, its answers, and the maps of a layer.
 */
#ifndef CVY_REPORT_EXPLAIN_H
#define CVY_REPORT_EXPLAIN_H

#include "report/gradcam.h"
#include "report/tiles.h"

/* `names` [classes]. */
convoy_status cvy_explain_draw(const convoy_model *model, const cvy_gradcam *found, const char *const *names,
                               cvy_canvas **canvas);

#endif
