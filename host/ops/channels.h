/* Channels in another order, torch.nn.ChannelShuffle, and a part of them, as torch.chunk cuts it out. */
#ifndef CVY_OPS_CHANNELS_H
#define CVY_OPS_CHANNELS_H

#include "ops/vector.h"

typedef struct cvy_channels_shape {
    int pitch;
    size_t channels, pixels;
    size_t groups;       /* shuffle: channel i * channels / groups + k becomes k * groups + i */
    size_t first, count; /* part: channels first..first+count-1 */
} cvy_channels_shape;

void cvy_channel_shuffle_reference(const cvy_channels_shape *shape, const float *x, float *y);
/* gx [channels] is gy [count] in its place, and 0 elsewhere. */
void cvy_channel_part_backward_reference(const cvy_channels_shape *shape, const float *gy, float *gx);

typedef struct cvy_channels {
    cvy_channels_shape shape;
    cvy_kernel *kernel; /* NULL on the host */
    cvy_blocks blocks;
    size_t vectors; /* of a channel */
} cvy_channels;
convoy_status cvy_channel_shuffle_prepare(convoy_device *device, const cvy_channels_shape *shape,
                                          cvy_channels *op);
convoy_status cvy_channel_shuffle_run(const cvy_channels *op, bool backward, cvy_buffer *x, cvy_buffer *y);

/* Forward is a copy, and needs no kernel. */
convoy_status cvy_channel_part_prepare(convoy_device *device, const cvy_channels_shape *shape, bool training,
                                       cvy_channels *op);
convoy_status cvy_channel_part_forward(const cvy_channels *op, cvy_buffer *x, cvy_buffer *y);
convoy_status cvy_channel_part_backward(const cvy_channels *op, cvy_buffer *gy, cvy_buffer *gx);

#endif
