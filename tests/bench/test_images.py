from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2ycbcr

from bench import images
from bench.files import whole
from zoo.errors import InputError

CPU = torch.device("cpu")


def rgb(height: int = 6, width: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(depth: int, colour: int, row: bytes, width: int) -> bytes:
    """A PNG of one row, put together by hand: Pillow writes no 16-bit colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    data = zlib.compress(b"\0" + row)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def test_rgb_is_taken_as_stored(tmp_path: Path) -> None:
    Image.fromarray(rgb()).save(tmp_path / "a.png")
    decoded = images.decode(tmp_path / "a.png")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, rgb())


def test_gray_has_two_dimensions(tmp_path: Path) -> None:
    Image.fromarray(rgb()[..., 0]).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(images.decode(tmp_path / "a.bmp"), rgb()[..., 0])


def test_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png")
    expected = [[[10, 20, 30], [200, 100, 50]], [[200, 100, 50], [10, 20, 30]]]
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), expected)


def palette_with_alpha(path: Path, indices: list[int]) -> None:
    image = Image.fromarray(np.array([indices], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(path, transparency=bytes([255, 0]))


def test_palette_whose_transparent_entry_is_unused_is_looked_up(tmp_path: Path) -> None:
    palette_with_alpha(tmp_path / "a.png", [0, 0])
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), [[[10, 20, 30]] * 2])


def test_palette_with_transparent_pixels_is_refused(tmp_path: Path) -> None:
    palette_with_alpha(tmp_path / "a.png", [0, 1])
    with pytest.raises(InputError, match=r"a\.png is partly transparent; flatten"):
        images.decode(tmp_path / "a.png")


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    image = Image.fromarray(rgb())
    image.putalpha(255)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), rgb())


def test_opaque_gray_with_alpha_is_gray(tmp_path: Path) -> None:
    image = Image.fromarray(rgb()[..., 0])
    image.putalpha(255)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), rgb()[..., 0])


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_one_pixel_not_quite_opaque_is_refused(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(rgb()).convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.putpixel((1, 2), 254)
    image.putalpha(alpha)
    image.save(tmp_path / "a.png")
    with pytest.raises(InputError, match="partly transparent"):
        images.decode(tmp_path / "a.png")


def test_transparent_colour_is_refused(tmp_path: Path) -> None:
    Image.fromarray(rgb()).save(tmp_path / "a.png", transparency=(1, 2, 3))
    with pytest.raises(InputError, match=r"a\.png has a transparent colour; flatten"):
        images.decode(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "1"), ("a.jpg", "CMYK"), ("a.png", "I;16"), ("a.tif", "F")]
)
def test_other_pixels_are_refused_by_their_mode(tmp_path: Path, name: str, mode: str) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} has pixels of mode {mode}; expected 8-bit"):
        images.decode(tmp_path / name)


@pytest.mark.parametrize(("colour", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bit_png_is_refused(tmp_path: Path, colour: int, samples: int) -> None:
    row = b"\xff\xff" * samples * 3  # opaque where there is alpha
    (tmp_path / "a.png").write_bytes(png(16, colour, row, 3))
    with pytest.raises(InputError, match=r"a\.png .*(16|mode)"):
        images.decode(tmp_path / "a.png")


def test_8_bit_png_put_together_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(8, 2, bytes(range(6)), 2))
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), [[[0, 1, 2], [3, 4, 5]]])


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_animation_is_refused_by_its_frames(tmp_path: Path, name: str) -> None:
    first, *rest = (Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 100, 200))
    first.save(tmp_path / name, save_all=True, append_images=rest)
    with pytest.raises(InputError, match=rf"{name} holds 3 frames; give a single image"):
        images.decode(tmp_path / name)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "PPM"])
def test_truncated_image_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    data = encoded(Image.fromarray(rgb(24, 24)), kind)
    (tmp_path / "cut.png").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(InputError, match=r"cut\.png .*(fetch or export it again|is not an image)"):
        images.decode(tmp_path / "cut.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_no_truncation_gives_other_pixels(tmp_path: Path, kind: str) -> None:
    data, path = encoded(Image.fromarray(rgb(9, 7)), kind), tmp_path / "cut"
    path.write_bytes(data)
    whole, refused = images.decode(path), 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            np.testing.assert_array_equal(images.decode(path), whole)
        except InputError:
            refused += 1
    assert refused >= len(data) - 20  # a PNG's last bytes hold no pixels


def test_tiff_whose_directory_is_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.new("RGB", (4, 3)), "TIFF"))
    assert data[8] == 10
    data[8] = 7  # of 10 tags; the image's size is no longer among what Pillow finds
    (tmp_path / "cut.tif").write_bytes(data)
    with pytest.raises(InputError, match=r"cut\.tif cannot be read: .*; fetch or export it again"):
        images.decode(tmp_path / "cut.tif")


def test_text_named_png_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"notes\.png is not an image, whatever its name says"):
        images.decode(tmp_path / "notes.png")


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png cannot be read: .*No such file"):
        images.decode(tmp_path / "gone.png")


def header_of_png(path: Path, width: int, height: int) -> None:
    """A PNG file with a size and without pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("size", [(20_000, 10_000), (100_000, 100_000)])
def test_large_image_is_refused_by_its_header_and_says_how_to_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    path, (width, height) = tmp_path / "a.png", size
    header_of_png(path, width, height)
    allowing = f"SISRBENCH_MAX_PIXELS={width * height}"
    with pytest.raises(
        InputError,
        match=rf"a\.png has {width}x{height} pixels, more than 178956970; to .*, set {allowing}",
    ):
        images.decode(path)
    monkeypatch.setenv("SISRBENCH_MAX_PIXELS", str(width * height - 1))
    with pytest.raises(InputError, match=f"more than {width * height - 1}"):
        images.decode(path)


def test_limit_of_pixels_holds_to_the_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(rgb(4, 7)).save(tmp_path / "a.png")
    monkeypatch.setenv("SISRBENCH_MAX_PIXELS", "28")
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), rgb(4, 7))
    monkeypatch.setenv("SISRBENCH_MAX_PIXELS", "27")
    with pytest.raises(InputError, match="7x4 pixels, more than 27"):
        images.decode(tmp_path / "a.png")
    monkeypatch.setenv("SISRBENCH_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="SISRBENCH_MAX_PIXELS is 'many'; give a number"):
        images.decode(tmp_path / "a.png")


def test_allowed_image_brings_no_warning_and_pillows_limit_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    Image.fromarray(rgb(4, 7)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), rgb(4, 7))
    assert Image.MAX_IMAGE_PIXELS == 10
    assert not recwarn.list


def test_huge_tiles_of_a_small_tiff_are_refused(tmp_path: Path) -> None:
    tags = {256: 4, 257: 3, 258: 8, 259: 5, 262: 1, 277: 1, 322: 1 << 16, 323: 1 << 16, 324: 8}
    tags[325] = 8
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(
        struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    )
    with pytest.raises(InputError, match=r"a\.tif has 65536x65536 pixels, more than"):
        images.decode(tmp_path / "a.tif")


def test_orientation_tag_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(rgb(4, 7)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), rgb(4, 7))


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
        ((51, 102, 204), 16 + 13.0962 + 51.4212 + 19.9728),
    ],
)
def test_luma_by_hand(colour: tuple[int, int, int], expected: float) -> None:
    pixel = torch.tensor(colour, dtype=torch.float64).reshape(3, 1, 1)
    assert float(images.luma(pixel)) == pytest.approx(expected, abs=1e-12)


CUBE = """
import numpy as np, torch
from bench import images
weights = np.array([[65481, 128553, 24966], [-37797, -74203, 112000], [112000, -93786, -18214]])
rest = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"))
wrong = 0
for red in range(256):
    rgb = np.concatenate([np.full((1, 256, 256), red), rest])
    exact = (np.tensordot(weights, rgb, 1) + 127500) // 255000
    exact += np.array([[[16]], [[128]], [[128]]])
    given = torch.from_numpy(rgb.astype(float))
    wrong += int((images.rgb_to_ycbcr(given, rounded=True).numpy() != exact).sum())
    wrong += int((images.as_luma(given).numpy() != exact[:1]).sum())
print(wrong)
"""


@pytest.mark.parametrize("capability", ["", "default"], ids=["best", "default"])
def test_rounded_ycbcr_of_all_16_million_colours_is_exact(capability: str) -> None:
    """Also on a processor without vector instructions, where sums round in another way."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    if not capability:
        del environment["ATEN_CPU_CAPABILITY"]
    command = [sys.executable, "-c", CUBE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_luma_of_half_a_level_is_rounded_up() -> None:
    ties = [
        (red, green, blue)
        for red in range(256)
        for green in range(0, 256, 5)
        for blue in range(0, 256, 5)
        if (65481 * red + 128553 * green + 24966 * blue) % 255000 == 127500
    ]
    assert ties
    image = torch.tensor(ties, dtype=torch.float64).T[..., None]
    y = images.luma(image)
    assert torch.equal(y, y.floor() + 0.5)
    assert torch.equal(images.as_luma(image), y + 0.5)


def test_ycbcr_matches_skimage() -> None:
    ours = images.rgb_to_ycbcr(images.to_tensor(rgb(16, 17), CPU)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, rgb2ycbcr(rgb(16, 17)), rtol=0, atol=1e-9)


def test_luma_is_the_first_plane_of_ycbcr() -> None:
    image = images.to_tensor(rgb(), CPU)
    assert torch.equal(images.luma(image), images.rgb_to_ycbcr(image)[:1])


def test_ycbcr_and_back_gives_the_same_rgb() -> None:
    image = images.to_tensor(rgb(16, 17), CPU)
    back = images.ycbcr_to_rgb(images.rgb_to_ycbcr(image))
    torch.testing.assert_close(back, image, rtol=0, atol=1e-11)


def test_modcrop_keeps_the_top_left_multiple() -> None:
    image = torch.arange(7 * 8).reshape(1, 7, 8)
    assert torch.equal(images.modcrop(image, 3), image[:, :6, :6])
    assert images.modcrop(image, 4).shape == (1, 4, 8)
    assert images.modcrop(image, 1).shape == (1, 7, 8)


def test_crop_border_cuts_each_side() -> None:
    image = torch.arange(20).reshape(1, 4, 5)
    assert images.crop_border(image, 1).tolist() == [[[6, 7, 8], [11, 12, 13]]]
    assert images.crop_border(image, 0).shape == (1, 4, 5)


@pytest.mark.parametrize("pixels", [rgb(), rgb()[..., 0]], ids=["RGB", "gray"])
def test_pixels_survive_the_way_to_a_tensor_and_back(pixels: NDArray[np.uint8]) -> None:
    tensor = images.to_tensor(pixels, CPU)
    assert (tensor.ndim, tensor.dtype) == (3, torch.float64)
    np.testing.assert_array_equal(images.to_pixels(tensor), pixels)


def test_tensor_planes_are_red_green_blue() -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    assert images.to_tensor(pixels, CPU).tolist() == [[[1, 4]], [[2, 5]], [[3, 6]]]


@pytest.mark.parametrize("pixels", [rgb(), rgb()[..., 0]], ids=["RGB", "gray"])
def test_encoded_png_decodes_to_the_same_pixels(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    (tmp_path / "a.png").write_bytes(images.encode_png(pixels))
    np.testing.assert_array_equal(images.decode(tmp_path / "a.png"), pixels)


def test_sha256_of_abc_is_the_standards_own(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert whole.sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
