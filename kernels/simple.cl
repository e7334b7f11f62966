/* The simple kernels that nearly every network needs, as one program. A driver takes tens of milliseconds to hand out a
   program even when it is in its cache (PoCL preprocesses it again: 20 to 40 ms), so one program for each would take
   half of a start's time; what few networks need would take the first start's. Each of these files compiles alone,
   too. */
#include "elementwise.cl"
#include "pool2d.cl"
#include "loss.cl"
#include "gather.cl"
#include "optimizer.cl"
#include "gemm/sum.cl"
#include "conv2d/add_partials.cl"
#include "sum_rows.cl"
#include "selfcheck.cl"
