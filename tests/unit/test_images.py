"""Pixels to bytes and back, and every way in which an image file can be wrong."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from storage.errors import ImageSizeRefused, ImageUnreadable
from storage.images import Image, decode, describe, encode

ORIENTATION = 274


def part(height: int = 60, width: int = 80) -> Image:
    """A smooth image in which no edge looks like another."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], axis=2).astype(np.uint8)


def noise(height: int = 120, width: int = 160) -> Image:
    return np.random.default_rng(7).integers(0, 255, (height, width, 3), dtype=np.uint8)


def written(image: Pillow.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_png_gives_back_the_same_pixels() -> None:
    assert (decode(encode(part(), "png")) == part()).all()


def test_sixteen_bit_is_stored_as_png_whatever_is_asked_for() -> None:
    pixels = (part().astype(np.uint16) * 257)[:, :, 0]
    data = encode(pixels, "jpeg")
    assert describe(data).media_type == "image/png" and describe(data).suffix == ".png"
    assert decode(data).dtype == np.uint16 and (decode(data) == pixels).all()


def test_pixels_that_are_no_whole_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        encode(part().astype(np.float32), "png")  # type: ignore[arg-type]  # the wrong type is the test


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", [8, 16])
def test_lossless_formats_keep_depth_and_channels(extension: str, channels: int, depth: int) -> None:
    pixels = part() if channels == 3 else part()[:, :, 0]
    pixels = pixels if depth == 8 else pixels.astype(np.uint16) * 257
    data = cv2.imencode(extension, pixels)[1].tobytes()
    facts = describe(data)
    assert (facts.width, facts.height, facts.channels, facts.bit_depth) == (80, 60, channels, depth)
    assert (decode(data) == pixels).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_bmp_keeps_grey_grey_and_colour_colour(channels: int) -> None:
    pixels = part() if channels == 3 else part()[:, :, 0]
    data = cv2.imencode(".bmp", pixels)[1].tobytes()
    assert describe(data).channels == channels and describe(data).suffix == ".bmp"
    assert (decode(data) == pixels).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_and_the_colour_beneath_it_kept(mode: str) -> None:
    image = Pillow.fromarray(part()[:, :, ::-1].copy()).convert(mode[:-1])
    opaque = np.asarray(image)
    image.putalpha(0)
    assert (decode(written(image, "PNG")) == (opaque[:, :, ::-1] if mode == "RGBA" else opaque)).all()


def test_what_is_transparent_in_a_tiff_is_black() -> None:
    image = Pillow.fromarray(part())
    image.putalpha(0)
    assert not decode(written(image, "TIFF")).any()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_a_palette_becomes_colour(format: str) -> None:
    image = Pillow.fromarray(part()[:, :, ::-1].copy()).quantize(16)
    data = written(image, format)
    assert describe(data).channels == 3
    assert (decode(data) == np.asarray(image.convert("RGB"))[:, :, ::-1]).all()


def test_cmyk_becomes_colour() -> None:
    data = written(Pillow.fromarray(part()).convert("CMYK"), "JPEG")
    assert describe(data).channels == 3 and decode(data).shape == (60, 80, 3)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
def test_exif_orientation_is_applied_in_every_format(format: str, orientation: int, channels: int) -> None:
    image = Pillow.fromarray(part()[:, :, ::-1].copy() if channels == 3 else part()[:, :, 0].copy())
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    data = written(image, format, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))))
    expected = upright[:, :, ::-1] if channels == 3 else upright
    pixels = decode(data)
    assert pixels.shape == expected.shape == (describe(data).height, describe(data).width, 3)[: expected.ndim]
    assert np.abs(pixels.astype(int) - expected.astype(int)).max() < 16


@pytest.mark.parametrize(("minimum_side", "size"), [(None, (96, 160)), (96, (96, 160)), (48, (48, 80)), (13, (24, 40))])
def test_a_jpeg_is_reduced_as_far_as_the_shorter_side_allows(minimum_side: int | None, size: tuple[int, int]) -> None:
    data = encode(part(96, 160), "jpeg")
    assert decode(data, minimum_side=minimum_side).shape[:2] == size
    assert decode(encode(part(96, 160)[:, :, 0], "jpeg"), minimum_side=minimum_side).shape == size


def test_a_reduced_jpeg_of_odd_size_is_upright_and_looks_the_same() -> None:
    image = Pillow.fromarray(part(101, 203)[:, :, ::-1].copy())
    exif = image.getexif()
    exif[ORIENTATION] = 6
    data = written(image, "JPEG", exif=exif, quality=95)
    reduced, full = decode(data, minimum_side=25), decode(data)
    assert reduced.shape == (51, 26, 3)
    resized = cv2.resize(full, (26, 51), interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - resized.astype(int)).mean() < 3


def test_reduction_leaves_lossless_images_alone() -> None:
    assert decode(encode(part(), "png"), minimum_side=8).shape == (60, 80, 3)


def test_a_header_of_more_pixels_than_allowed_is_refused_before_decoding() -> None:
    with pytest.raises(ImageSizeRefused, match="20000x6000 pixels; 100 megapixels"):
        decode(png_claiming(20_000, 6_000))
    with pytest.raises(ImageSizeRefused, match=r"0\.001 megapixels"):
        decode(encode(part(), "jpeg"), maximum_megapixels=0.001)


def test_a_png_without_the_pixels_it_promises_is_unreadable() -> None:
    with pytest.raises(ImageUnreadable):
        decode(png_claiming(100, 100))


FORMATS = {
    "jpeg": encode(noise(), "jpeg"),
    "progressive": written(Pillow.fromarray(noise()), "JPEG", progressive=True),
    "png": encode(noise(), "png"),
    "bmp": cv2.imencode(".bmp", noise())[1].tobytes(),
    "tiff": cv2.imencode(".tif", noise())[1].tobytes(),
    "deflate": written(Pillow.fromarray(noise()), "TIFF", compression="tiff_deflate"),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_image_is_never_half_an_image(kind: str, share: float) -> None:
    data = FORMATS[kind]
    with pytest.raises(ImageUnreadable):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_whole_file_is_readable(kind: str) -> None:
    assert decode(FORMATS[kind]).shape == (120, 160, 3)


JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "grey": {},
    "optimized": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
}


def jpeg(pixels: Image, kind: str, quality: int = 90) -> bytes:
    shown = pixels[:, :, 0].copy() if kind == "grey" else pixels
    return written(Pillow.fromarray(shown), "JPEG", quality=quality, **JPEGS[kind])


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("share", [0.05, 0.33, 0.5, 0.9, 0.99])
def test_a_jpeg_that_ends_early_in_good_order_is_unreadable(kind: str, share: float) -> None:
    data = jpeg(noise(), kind)
    pixels_at = data.index(b"\xff\xda")
    kept = data[: pixels_at + int((len(data) - pixels_at) * share)].rstrip(b"\xff") + b"\xff\xd9"
    with pytest.raises(ImageUnreadable, match=r"corrupt|truncated"):
        decode(kept, from_outside=True)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("filling", [bytes(40_000), noise().tobytes()], ids=["zeros", "noise"])
@pytest.mark.parametrize("pixels", [noise(), cv2.GaussianBlur(noise(), (9, 9), 3)], ids=["noise", "smooth"])
def test_a_jpeg_with_a_third_overwritten_is_unreadable(kind: str, filling: bytes, pixels: Image) -> None:
    data = bytearray(jpeg(pixels, kind))
    size = len(data) // 3
    data[size : 2 * size] = filling[:size]
    with pytest.raises(ImageUnreadable, match=r"corrupt|truncated"):
        decode(bytes(data), from_outside=True)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("quality", [20, 75, 95, 100])
@pytest.mark.parametrize("shape", [(1, 1), (9, 17), (64, 400)])
def test_a_whole_jpeg_raises_no_alarm_whatever_it_shows(kind: str, quality: int, shape: tuple[int, int]) -> None:
    flat = [np.full((*shape, 3), shade, np.uint8) for shade in (0, 128, 255)]
    half = np.concatenate([noise(*shape), flat[1]])
    for pixels in (*flat, noise(*shape), part(*shape), half, half[::-1].copy()):
        decode(jpeg(pixels, kind, quality), from_outside=True)


def test_a_jpeg_of_another_encoder_and_with_exif_raises_no_alarm() -> None:
    for data in (encode(part(), "jpeg"), encode(noise(), "jpeg", 100), encode(part()[:, :, 0], "jpeg", 30)):
        assert decode(data, from_outside=True).shape[:2] == (describe(data).height, describe(data).width)
    exif = Pillow.new("RGB", (1, 1)).getexif()
    exif[ORIENTATION] = 6
    data = written(Pillow.fromarray(part()).convert("CMYK"), "JPEG", exif=exif, comment=b"a comment")
    assert decode(data + bytes(1000), from_outside=True).shape == (80, 60, 3)
    few_bytes_too_many = FORMATS["jpeg"][:-2] + bytes(8) + b"\xff\xff\xd9"
    assert (decode(few_bytes_too_many, from_outside=True) == decode(FORMATS["jpeg"])).all()


@pytest.mark.parametrize("kind", ["jpeg", "progressive", "png", "deflate"])
def test_a_damaged_image_is_unreadable(kind: str) -> None:
    data = bytearray(FORMATS[kind])
    middle = len(data) // 2
    data[middle : middle + 64] = bytes.fromhex("ff01") * 32
    with pytest.raises(ImageUnreadable, match=r"corrupt|cannot be decoded"):
        decode(bytes(data))


def tiff_deflated(strip: bytes, **more: int) -> bytes:
    """One strip that claims to be 300x300 grey pixels."""
    tags = {256: 300, 257: 300, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: 300, 279: len(strip)}
    tags |= {int(tag.removeprefix("tag")): value for tag, value in more.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_tiff_that_unpacks_to_more_than_its_size_is_refused_before_it_has() -> None:
    packer = zlib.compressobj(9)
    strip = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(ImageUnreadable, match="bytes where 90000 belong"):
            decode(tiff_deflated(strip))
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert decode(tiff_deflated(zlib.compress(bytes(90_000)))).shape == (300, 300)
    assert decode(tiff_deflated(zlib.compress(bytes(91_000)))).shape == (300, 300)  # a writer that fills up
    with pytest.raises(ImageUnreadable, match="truncated"):
        decode(tiff_deflated(zlib.compress(noise().tobytes())[:10_000]))
    tile = {"tag322": 60_000, "tag323": 60_000, "tag324": 8, "tag325": len(strip)}
    with pytest.raises(ImageUnreadable, match="tiles of 60000x60000 pixels for an image of 300x300"):
        decode(tiff_deflated(strip, **tile))


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGB", "RGBA", "P", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"strip_size": 1}])
def test_every_regular_deflated_tiff_is_within_its_size(mode: str, options: dict[str, Any]) -> None:
    size = (100, 75)
    image = Pillow.new(mode, size, 1) if mode in ("1", "L", "I;16", "P") else Pillow.new(mode, size)
    assert decode(written(image, "TIFF", compression="tiff_deflate", **options)).shape[:2] == (75, 100)


def test_opencv_does_not_write_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(written(Pillow.fromarray(noise()), "TIFF", compression="tiff_lzw"))
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    try:
        decode(bytes(data))
    except ImageUnreadable:
        pass
    assert capfd.readouterr().err == ""


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    assert decode(FORMATS["jpeg"] + bytes(100)).shape == (120, 160, 3)


@pytest.mark.parametrize("data", [b"", b"BM", b"II*\0", b"MM\0*\0\0\0\x08", b"\xff\xd8\xff", b"GIF89a" + bytes(20)])
def test_what_is_no_image_is_unreadable(data: bytes) -> None:
    with pytest.raises(ImageUnreadable):
        decode(data)


def test_a_tiff_of_floating_point_numbers_is_refused() -> None:
    with pytest.raises(ImageUnreadable, match="32 bit"):
        decode(written(Pillow.new("F", (8, 8)), "TIFF"))


@pytest.mark.parametrize("kind", FORMATS)
def test_random_damage_raises_nothing_but_our_own_errors(kind: str) -> None:
    random = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(FORMATS[kind])
        for place in random.integers(0, 400, 4):
            data[place] = random.integers(0, 256)
        try:
            pixels = decode(bytes(data), from_outside=True)
        except (ImageUnreadable, ImageSizeRefused):
            continue
        assert pixels.shape[:2] == (describe(bytes(data)).height, describe(bytes(data)).width)
