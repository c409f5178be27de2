"""The audit of a model's input, and the faults that it must catch."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from rawmm_cli.data import pictures
from rawmm_cli.information import audit
from rawmm_cli.runs import models
from rawmm_cli.system.errors import RawmmError

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def portraits():
    return models.load(models.find(None, None, "portraits"), CPU)


@pytest.fixture
def folder(tmp_path):
    """Pictures of every mode, in sizes that the packaged model takes and in one that it does not, and a
    broken file."""
    generator = np.random.default_rng(0)
    for n, mode in enumerate(("RGB", "L", "P", "1", "RGBA", "CMYK", "LA")):
        values = generator.integers(0, 256, (8 + 8 * (n % 2), 16, 3), dtype=np.uint8)
        Image.fromarray(values).convert(mode).save(tmp_path / f"{n}.{'tif' if mode == 'CMYK' else 'png'}")
    Image.fromarray(generator.integers(0, 65536, (8, 8), dtype=np.uint16)).save(tmp_path / "7.png")
    Image.fromarray(generator.integers(0, 256, (24, 8, 3), dtype=np.uint8)).save(
        tmp_path / "8.jpg", quality=90, exif=_rotated()
    )
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(tmp_path / "odd.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    return tmp_path


def _rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_files_that_pillow_does_not_read_alone(portraits, tmp_path):
    """A damaged EXIF, a colour map of 8-bit numbers, planes: 8-bit RGB, and nothing to compare with."""
    generator = np.random.default_rng(0)
    colour = generator.integers(0, 256, (8, 16, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "a.png", exif=b"rubbish")
    table = np.arange(256, dtype=np.uint16)[None].repeat(3, 0)
    options = {"photometric": "palette", "colormap": table, "metadata": None}
    tifffile.imwrite(tmp_path / "b.tif", colour[..., 0], **options)
    planes = np.ascontiguousarray(colour.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "c.tif", planes, photometric="rgb", planarconfig="separate", metadata=None)
    Image.fromarray(colour).save(tmp_path / "d.tif")
    result = audit.audit(portraits, pictures.find([tmp_path], tmp_path))
    assert (result.pictures, result.converted, result.skipped) == (4, [], [])


def test_every_mode_and_size_is_exact(portraits, folder):
    result = audit.audit(portraits, pictures.find([folder], folder))
    assert result.pictures == 9 and result.tests == len(audit.TESTS) * len(audit.SIDES)
    assert sorted(Path(file).name for file in result.converted) == ["4.png", "5.tif", "6.png", "7.png"]
    assert [Path(one.file).name for one in result.not_admitted] == ["odd.png"]
    assert [Path(one.file).name for one in result.skipped] == ["broken.png"]
    assert result.first_layer == audit.FirstLayer(192, 192) and (8, 24) in result.sizes


def test_one_level_of_one_value_is_caught(portraits, folder, monkeypatch):
    decode = type(portraits.model.codec).decode

    def wrong(self, patches, rows):
        back = decode(self, patches, rows)
        back[:, 1, 3, 2] ^= int(back.shape[2:] == (16, 16))
        return back

    monkeypatch.setattr(type(portraits.model.codec), "decode", wrong)
    with pytest.raises(
        RawmmError, match=r"1.png differs first at row 3, column 2, channel 1: \d+ in the picture"
    ) as caught:
        audit.audit(portraits, pictures.find([folder], folder))
    assert caught.value.exit_code == 1


def test_patches_of_another_picture_are_caught(portraits, folder, monkeypatch):
    """All values are present, but two pictures of one size are swapped."""
    encode = type(portraits.model).encode
    monkeypatch.setattr(type(portraits.model), "encode", lambda self, batch: encode(self, batch).flip(0))
    with pytest.raises(RawmmError, match="differs first at"):
        audit.audit(portraits, pictures.find([folder], folder))


def test_a_reader_that_changes_a_level_is_caught(portraits, folder, monkeypatch):
    read = pictures.read_image
    monkeypatch.setattr(pictures, "read_image", lambda path: np.minimum(read(path), 254))
    with pytest.raises(RawmmError, match="as Pillow reads it, 254 as it was read"):
        audit.audit(portraits, pictures.find([folder], folder))


def test_a_first_layer_that_is_too_narrow():
    layer = torch.nn.Sequential(torch.nn.Linear(12, 5, bias=False), torch.nn.Linear(5, 32))
    assert audit.first_layer(layer) == audit.FirstLayer(12, 5)
