/* Decoding WebP with libwebp; of an animation the first frame. */
#include "data/image_formats.h"

#ifdef CONVOY_WEBP
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

/* The frame at its place on the canvas, which is black around it. */
static convoy_status decode_frame(const char *path, WebPDemuxer *demuxer, cvy_pixels *pixels) {
    WebPIterator frame;
    const size_t height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT),
                 width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH), row = 3 * width;
    convoy_status status = cvy_pixels_create(path, 3, height, width, pixels);
    if (status)
        return status;
    if (!WebPDemuxGetFrame(demuxer, 1, &frame))
        return cvy_fail(CONVOY_INVALID, "%s: damaged WebP image: it has no frame", path);
    const size_t top = (size_t)frame.y_offset, left = (size_t)frame.x_offset;
    const bool whole = (size_t)frame.height == height && (size_t)frame.width == width;
    const bool inside = top + (size_t)frame.height <= height && left + (size_t)frame.width <= width;
    if (!whole)
        memset(pixels->data, 0, height * row);
    const size_t begin = inside ? top * row + left * 3 : 0;
    if (!inside || !WebPDecodeRGBInto(frame.fragment.bytes, frame.fragment.size, pixels->data + begin,
                                      height * row - begin, (int)row))
        status = cvy_fail(CONVOY_INVALID, "%s: damaged WebP image", path);
    WebPDemuxReleaseIterator(&frame);
    return status;
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
    (void)wanted;
    WebPDemuxer *demuxer = WebPDemux(&(WebPData){file, size});
    if (!demuxer)
        return cvy_fail(CONVOY_INVALID, "%s: damaged WebP image: it is cut short or no WebP inside", path);
    pixels->orientation = orientation_of(demuxer);
    convoy_status status = decode_frame(path, demuxer, pixels);
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
