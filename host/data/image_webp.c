/* Decoding WebP with libwebp; of an animation the first frame. */
#include "data/image_formats.h"
#include "data/image_rows.h"

#ifdef CONVOY_WEBP
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

#include "base/integer.h"

/* To how manieth the picture is made smaller. A lossless one would have to be in memory as a whole. */
static size_t reduction(const WebPIterator *frame, size_t height, size_t width, cvy_wanted wanted,
                        int orientation) {
    enum { LOSSY = 1 };
    WebPBitstreamFeatures features;
    const bool whole = (size_t)frame->height == height && (size_t)frame->width == width;
    return whole &&
                   WebPGetFeatures(frame->fragment.bytes, frame->fragment.size, &features) == VP8_STATUS_OK &&
                   features.format == LOSSY
               ? cvy_reduction(wanted, orientation, height, width)
               : 1;
}

/* The frame at its place on the canvas, or all of it in the size of `pixels`. */
static bool decode_into(const WebPIterator *frame, size_t begin, bool smaller, cvy_pixels *pixels) {
    WebPDecoderConfig config;
    const size_t pitch = 3 * (size_t)pixels->width;
    if (!WebPInitDecoderConfig(&config))
        return false;
    config.options.use_scaling = smaller;
    config.options.scaled_width = pixels->width;
    config.options.scaled_height = pixels->height;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = pixels->data + begin;
    config.output.u.RGBA.stride = (int)pitch;
    config.output.u.RGBA.size = (size_t)pixels->height * pitch - begin;
    const bool decoded = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config) == VP8_STATUS_OK;
    WebPFreeDecBuffer(&config.output);
    return decoded;
}

/* Around the frame the canvas is black. */
static convoy_status decode_frame(const char *path, const WebPIterator *frame, size_t height, size_t width,
                                  cvy_wanted wanted, cvy_pixels *pixels) {
    const size_t by = reduction(frame, height, width, wanted, pixels->orientation), pitch = 3 * width,
                 top = (size_t)frame->y_offset, left = (size_t)frame->x_offset;
    convoy_status status =
        cvy_pixels_create(path, 3, ceil_div_size(height, by), ceil_div_size(width, by), pixels);
    if (status)
        return status;
    if ((size_t)frame->height != height || (size_t)frame->width != width)
        memset(pixels->data, 0, height * pitch);
    if (top + (size_t)frame->height > height || left + (size_t)frame->width > width ||
        !decode_into(frame, top * pitch + left * 3, by > 1, pixels))
        return cvy_fail(CONVOY_INVALID, "%s: damaged WebP image", path);
    return CONVOY_OK;
}

static int orientation_of(WebPDemuxer *demuxer) {
    WebPChunkIterator chunk;
    if (!WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk))
        return 0;
    const int orientation = cvy_exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
    WebPDemuxReleaseChunkIterator(&chunk);
    return orientation;
}

convoy_status cvy_webp_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                              cvy_pixels *pixels) {
    WebPIterator frame;
    WebPDemuxer *demuxer = WebPDemux(&(WebPData){file, size});
    if (!demuxer)
        return cvy_fail(CONVOY_INVALID, "%s: damaged WebP image: it is cut short or no WebP inside", path);
    pixels->orientation = orientation_of(demuxer);
    convoy_status status = CONVOY_OK;
    if (WebPDemuxGetFrame(demuxer, 1, &frame)) {
        status = decode_frame(path, &frame, WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT),
                              WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH), wanted, pixels);
        WebPDemuxReleaseIterator(&frame);
    } else {
        status = cvy_fail(CONVOY_INVALID, "%s: damaged WebP image: it has no frame", path);
    }
    WebPDemuxDelete(demuxer);
    return status;
}

#else

convoy_status cvy_webp_decode(const char *path, const uint8_t *file, size_t size, cvy_wanted wanted,
                              cvy_pixels *pixels) {
    (void)file, (void)size, (void)wanted, (void)pixels;
    return cvy_fail(CONVOY_INVALID, "%s: a WebP image, and this Convoy was built without libwebp", path);
}

#endif
