/* Folders and image files made by the tests themselves. */
#ifndef CVY_TESTS_IMAGES_H
#define CVY_TESTS_IMAGES_H

#include <stddef.h>
#include <stdint.h>

/* A new empty folder, malloc'ed; and its removal with all that is in it (frees the name too). */
char *test_folder_create(void);
void test_folder_remove(char *folder);

/* Each writes <folder>/<name>, creating the folders on the way. */
void test_write_file(const char *folder, const char *name, const void *data, size_t size);
void test_write_gzip(const char *folder, const char *name, const void *data, size_t size);
/* Unsigned bytes; labels: dimensions 1, images: 3. Gzipped when the name ends in ".gz". */
void test_write_idx(const char *folder, const char *name, int dimensions, const uint32_t *sizes,
                    const uint8_t *data);
/* `colour` is libpng's PNG_COLOR_TYPE_*; rows as PNG stores them (16 bits big-endian). A palette has 256
   entries, entry i being (i, 255 - i, i / 2), and its first two are transparent. */
void test_write_png(const char *folder, const char *name, int height, int width, int colour, int bits,
                    int interlaced, const uint8_t *data);
/* channels 1, 3 (RGB) or 4 (CMYK, inverted as Adobe's programs do); quality 100 without chroma subsampling.
 */
void test_write_jpeg(const char *folder, const char *name, int height, int width, int channels,
                     int progressive, const uint8_t *data);
/* A whole file, malloc'ed. */
uint8_t *test_read_file(const char *folder, const char *name, size_t *size);

#endif
