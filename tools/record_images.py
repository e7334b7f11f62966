#!/usr/bin/env python3
"""Small images of every format, and what Pillow reads of them: tests/fuzz/corpus/image/ and
tests/data/image_reference.h. Needs Pillow; tests/data/test_image.c compares.

    python3 tools/record_images.py"""
import io
import os
import struct

from PIL import Image, ImageOps

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
CORPUS = os.path.join(ROOT, "tests/fuzz/corpus/image")
HEIGHT, WIDTH = 5, 7


def pixel(y, x):
    return (20 + 30 * y, 250 - 33 * x, (17 * y + 40 * x) % 256)


def picture(mode="RGB", smooth=False):
    image = Image.new("RGB", (WIDTH, HEIGHT))
    image.putdata([(40 + 9 * y, 60 + 8 * x, 200 - 5 * y - 6 * x) if smooth else pixel(y, x)
                   for y in range(HEIGHT) for x in range(WIDTH)])
    if mode == "P":
        return image.quantize(13)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((WIDTH, HEIGHT)))
        return image
    return image.convert(mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# What Pillow does not write is put together here: a BMP of any header, compression and row order.
PALETTE = [(0, 0, 0), (255, 10, 30), (20, 200, 40), (50, 60, 250), (90, 90, 90)]


def bmp(bits, rows, compression=0, height=HEIGHT, masks=b"", os2=False, palette=()):
    table = b"".join(bytes((b, g, r)) + (b"" if os2 else b"\0") for r, g, b in palette)
    if os2:
        header = struct.pack("<IHHHH", 12, WIDTH, height, 1, bits)
        table += b"\0" * (3 * (1 << bits) - len(table))
    else:
        header = struct.pack("<IiiHHIIiiII", 40, WIDTH, height, 1, bits, compression, len(rows), 0, 0,
                             len(palette), 0)
    begin = 14 + len(header) + len(masks) + len(table)
    return struct.pack("<2sIHHI", b"BM", begin + len(rows), 0, 0, begin) + header + masks + table + rows


def padded(rows):
    return b"".join(row + b"\0" * (-len(row) % 4) for row in rows)


def rows_of(code):
    return padded([b"".join(code(*pixel(y, x)) for x in range(WIDTH)) for y in range(HEIGHT)])


def in_565(r, g, b):
    return struct.pack("<H", r >> 3 << 11 | g >> 2 << 5 | b >> 3)


def in_555(r, g, b):
    return struct.pack("<H", r >> 3 << 10 | g >> 3 << 5 | b >> 3)


RUNS_8 = bytes((7, 1, 0, 0, 3, 2, 0, 4, 1, 2, 3, 4, 0, 0, 0, 3, 4, 3, 2, 0, 4, 1, 0, 0, 0, 2, 2, 1, 5, 3, 0, 1))
RUNS_4 = bytes((7, 0x12, 0, 0, 0, 7, 0x12, 0x34, 0x12, 0x30, 0, 0, 7, 0x34, 0, 0, 3, 0x11, 4, 0x22, 0, 0,
                7, 0x43, 0, 1))


def pnm(kind, brightest, between=b"\n"):
    """Of 8 bits, or 16 where `brightest` has them; 2 and 3 are plain, 2 and 5 grey."""
    values = [v * brightest // 255 for y in range(HEIGHT) for x in range(WIDTH)
              for v in (pixel(y, x) if kind in (3, 6) else pixel(y, x)[2:])]
    data = (" ".join(map(str, values)).encode() + b"\n" if kind < 4 else
            struct.pack(f">{len(values)}{'B' if brightest < 256 else 'H'}", *values))
    return b"P%d%b%d %d\n%d\n" % (kind, between, WIDTH, HEIGHT, brightest) + data


def tile():
    """A TIFF image of one tile of 16 x 16, which Pillow does not write."""
    rows = b"".join(bytes(pixel(y, x)) if y < HEIGHT and x < WIDTH else b"\0\0\0" for y in range(16) for x in range(16))
    tags = [(256, WIDTH), (257, HEIGHT), (259, 1), (262, 2), (277, 3), (322, 16), (323, 16), (324, 0), (325, len(rows))]
    begin = 8 + 2 + 12 * (len(tags) + 1) + 4 + 6
    entries = sorted([struct.pack("<HHII", 258, 3, 3, begin - 6)] +
                     [struct.pack("<HHII", tag, 4, 1, begin if tag == 324 else value) for tag, value in tags],
                     key=lambda entry: struct.unpack_from("<H", entry))
    return (struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(entries) + struct.pack("<I3H", 0, 8, 8, 8) + rows)


def files():
    first, second = picture("P"), picture("P").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    yield "p1.bmp", saved(picture("1"), "BMP")
    yield "p8.bmp", saved(picture("P"), "BMP")
    yield "rgb.bmp", saved(picture(), "BMP")
    yield "rgba.bmp", saved(picture("RGBA"), "BMP")
    yield "os2.bmp", bmp(4, padded([bytes((0x12, 0x34, 0x01, 0x20))] * HEIGHT), os2=True, palette=PALETTE)
    yield "top_down.bmp", bmp(24, rows_of(lambda r, g, b: bytes((b, g, r))), height=-HEIGHT)
    yield "in_555.bmp", bmp(16, rows_of(in_555))
    yield "in_565.bmp", bmp(16, rows_of(in_565), 3, masks=struct.pack("<III", 0xf800, 0x7e0, 0x1f))
    yield "runs_8.bmp", bmp(8, RUNS_8, 1, palette=PALETTE)
    yield "runs_4.bmp", bmp(4, RUNS_4, 2, palette=PALETTE)
    yield "lossless.webp", saved(picture(), "WEBP", lossless=True)
    yield "lossy.webp", saved(picture(smooth=True), "WEBP", quality=95)
    yield "rgba.webp", saved(picture("RGBA"), "WEBP", lossless=True, exact=True)
    yield "turned.webp", saved(picture(), "WEBP", lossless=True, exif=exif(8))
    yield "frames.webp", saved(picture(), "WEBP", lossless=True, save_all=True,
                               append_images=[picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield f"{compression}.tif", saved(picture(), "TIFF", compression=compression)
    yield "jpeg.tif", saved(picture(smooth=True), "TIFF", compression="jpeg", quality=95)
    yield "p1.tif", saved(picture("1"), "TIFF", compression="group4")
    yield "p8.tif", saved(picture("P"), "TIFF")
    yield "grey.tif", saved(picture("L"), "TIFF")
    yield "rgba.tif", saved(picture("RGBA"), "TIFF")
    yield "strips.tif", saved(picture(), "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 2})
    yield "tile.tif", tile()
    yield "turned.tif", saved(picture(), "TIFF", exif=exif(6))
    yield "plain.gif", saved(first, "GIF", interlace=0)
    yield "interlaced.gif", saved(first, "GIF", interlace=1)
    yield "clear.gif", saved(first, "GIF", transparency=3)
    inner = bytearray(saved(first.crop((0, 0, 5, 3)), "GIF"))  # on a canvas that it does not cover
    inner[6:10] = struct.pack("<HH", WIDTH, HEIGHT)
    at = inner.index(struct.pack("<BHHHH", 0x2c, 0, 0, 5, 3))
    inner[at:at + 5] = struct.pack("<BHH", 0x2c, 1, 2)
    yield "inner.gif", bytes(inner)
    yield "frames.gif", saved(first, "GIF", save_all=True, append_images=[second], duration=50)
    yield "plain.pgm", pnm(2, 255, b"\n# 8 bits\n")
    yield "plain16.ppm", pnm(3, 1000)
    yield "raw.pgm", pnm(5, 255, b" ")
    yield "raw16.pgm", pnm(5, 65535)
    yield "raw.ppm", pnm(6, 255, b"\n# a comment of 1 line\n")
    yield "raw100.ppm", pnm(6, 100)
    yield "raw16.ppm", pnm(6, 65535)
    for orientation in range(2, 9):
        yield f"turned_{orientation}.png", saved(picture(), "PNG", exif=exif(orientation))
    yield "turned_6.jpg", saved(picture(smooth=True), "JPEG", quality=95, subsampling=0, exif=exif(6))


def main():
    rows = []
    for name, data in files():
        with open(os.path.join(CORPUS, name), "wb") as out:
            out.write(data)
        image = Image.open(io.BytesIO(data))
        if image.mode == "I":  # 16 bits of grey, which convert would clip
            image = Image.frombytes("L", image.size, bytes(round(v / 257) for (v,) in struct.iter_unpack("i", image.tobytes())))
        shown = ImageOps.exif_transpose(image).convert("RGB")
        values = shown.tobytes()
        rows.append(f'    {{"{name}", {shown.height}, {shown.width}, {{' + ", ".join(map(str, values)) + "}},\n")
    with open(os.path.join(ROOT, "tests/data/image_reference.h"), "w") as out:
        out.write("/* Written by tools/record_images.py: what Pillow reads of tests/fuzz/corpus/image/, rows of RGB. */\n"
                  f"static const struct {{\n    const char *name;\n    int height, width;\n"
                  f"    uint8_t rgb[{HEIGHT * WIDTH * 3}];\n}} references[] = {{\n" + "".join(rows) + "};\n")


main()
