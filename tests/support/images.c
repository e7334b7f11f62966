/* The helpers of images.h. */
#include "support/images.h"

#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>
#include <zlib.h>

#include "base/file.h"
#include "support/test.h"

char *test_folder_create(void) {
    const char *root = getenv("TMPDIR");
    char *folder = cvy_path_join(root && *root ? root : "/tmp", "convoy-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info, (void)type, (void)place;
    return remove(path);
}

void test_folder_remove(char *folder) {
    assert_int_equal(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(folder);
}

/* The path of a file, its folders created; malloc'ed. */
static char *prepare(const char *folder, const char *name) {
    char *path = cvy_path_join(folder, name), *slash = strrchr(path, '/');
    *slash = '\0';
    assert_ok(cvy_folder_create(path));
    *slash = '/';
    return path;
}

static FILE *create(const char *folder, const char *name) {
    char *path = prepare(folder, name);
    unlink(path); /* truncating makes some file systems write to the disk at once, which is slow */
    FILE *file = fopen(path, "wb");
    free(path);
    assert_non_null(file);
    return file;
}

void test_write_file(const char *folder, const char *name, const void *data, size_t size) {
    FILE *file = create(folder, name);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void test_write_gzip(const char *folder, const char *name, const void *data, size_t size) {
    char *path = prepare(folder, name);
    gzFile file = gzopen(path, "wb");
    free(path);
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

void test_write_idx(const char *folder, const char *name, int dimensions, const uint32_t *sizes,
                    const uint8_t *data) {
    size_t header = 4 + 4 * (size_t)dimensions, bytes = 1;
    for (int i = 0; i < dimensions; i++)
        bytes *= sizes[i];
    uint8_t *file = calloc(1, header + bytes);
    assert_non_null(file);
    file[2] = 8;
    file[3] = (uint8_t)dimensions;
    for (int i = 0; i < dimensions; i++)
        for (int b = 0; b < 4; b++)
            file[4 + 4 * i + b] = (uint8_t)(sizes[i] >> (24 - 8 * b));
    memcpy(file + header, data, bytes);
    size_t length = strlen(name);
    if (length > 3 && strcmp(name + length - 3, ".gz") == 0)
        test_write_gzip(folder, name, file, header + bytes);
    else
        test_write_file(folder, name, file, header + bytes);
    free(file);
}

void test_write_png(const char *folder, const char *name, int height, int width, int colour, int bits,
                    int interlaced, const uint8_t *data) {
    FILE *file = create(folder, name);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    assert_non_null(info);
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, bits, colour,
                 interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_color palette[256];
    for (int i = 0; i < 256; i++)
        palette[i] = (png_color){(png_byte)i, (png_byte)(255 - i), (png_byte)(i / 2)};
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        png_set_PLTE(png, info, palette, 1 << bits);
        png_set_tRNS(png, info, (const png_byte[]){0, 100}, 2, NULL);
    }
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    size_t row = png_get_rowbytes(png, info);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++)
            png_write_row(png, data + (size_t)y * row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    assert_int_equal(fclose(file), 0);
}

void test_write_jpeg(const char *folder, const char *name, int height, int width, int channels,
                     int progressive, const uint8_t *data) {
    FILE *file = create(folder, name);
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_height = (JDIMENSION)height;
    jpeg.image_width = (JDIMENSION)width;
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    jpeg.comp_info[0].h_samp_factor = jpeg.comp_info[0].v_samp_factor = 1;
    if (progressive)
        jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = (JSAMPROW)(data + (size_t)jpeg.next_scanline * (size_t)width * (size_t)channels);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    assert_int_equal(fclose(file), 0);
}

uint8_t *test_read_file(const char *folder, const char *name, size_t *size) {
    char *path = cvy_path_join(folder, name), *data;
    assert_ok(cvy_file_read(path, 1 << 30, &data, size));
    free(path);
    return (uint8_t *)data;
}
