"""The driver of `make bench-peers`, without the peer: equal documents, equal sizes."""

import numpy as np
import pytest

from benchmarks.peers import documents, peer_side, rawmm_side, run, settings

# --------------------------------------------------------------------------------------------- same documents


@pytest.fixture(scope="module")
def few():
    rng = np.random.default_rng(0)
    return documents.enlarge(rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)), rng.integers(0, 10, 40)


def test_a_pixel_becomes_a_block_of_nine_in_a_black_frame():
    digit = np.arange(1, 65, dtype=np.uint8).reshape(1, 8, 8)
    picture = documents.enlarge(digit)[0]
    assert picture.shape == (settings.SIZE, settings.SIZE, settings.CHANNELS)
    for row in range(28):
        for column in range(28):
            inside = 2 <= row < 26 and 2 <= column < 26
            expected = digit[0, (row - 2) // 3, (column - 2) // 3] if inside else 0
            assert (picture[row, column] == expected).all()


def test_the_pictures_are_the_digits_of_scikit_learn():
    from sklearn.datasets import load_digits

    pictures, labels = documents.make()
    data = load_digits()
    assert len(pictures) == len(labels) == 1797 and (labels == data.target).all()
    assert np.abs(pictures[:, 3:26:3, 3:26:3, 0] - data.images * 255 / 16).max() <= 0.5


def test_both_sides_feed_the_same_documents(few, tmp_path):
    """The documents, those that rawmm reads from its set, and those of the peer's DataLoader have one
    fingerprint."""
    pictures, labels = few
    documents.save(tmp_path / "documents.npz", pictures, labels)
    expected = documents.fingerprint(zip(pictures, labels))
    theirs = peer_side.tensors(*documents.load(tmp_path / "documents.npz"))
    assert peer_side.fingerprint(theirs) == expected
    assert rawmm_side.write_set(tmp_path / "data", pictures, labels) == expected
    assert all(
        label.shape == (1,) and picture.shape == (3, 28, 28) and 0 <= picture.min() and picture.max() <= 1
        for label, picture in theirs
    )


def test_the_fingerprint_depends_on_every_pixel_every_label_and_the_order(few):
    pictures, labels = few
    original = documents.fingerprint(zip(pictures, labels))
    other_pictures, other_labels = pictures.copy(), labels.copy()
    other_pictures[7, 5, 5, 1] ^= 1
    other_labels[3] = (other_labels[3] + 1) % 10
    changed = {
        documents.fingerprint(zip(*pair))
        for pair in (
            (other_pictures, labels),
            (pictures, other_labels),
            (pictures[::-1], labels[::-1]),
        )
    }
    assert len(changed) == 3 and original not in changed


def test_other_documents_at_the_peer_are_an_error():
    run.check_same("abc", {"fingerprint": "abc", "patches": 196})
    for measured in ({"fingerprint": "abd", "patches": 196}, {"fingerprint": "abc", "patches": 49}):
        with pytest.raises(ValueError, match="other documents"):
            run.check_same("abc", measured)


# -------------------------------------------------------------------------------------------------- same size


def peer_parameters(width, depth):
    """Parameters of the peer's Transformer, counted by hand from its description."""
    inner, hidden, time = settings.HEADS * settings.HEAD_WIDTH, int(width * 8 / 3), 4 * width
    attention = (
        4 * width * inner + width * settings.HEADS + 2 * settings.HEAD_WIDTH
    )  # q, k, v, out; gates; two norms
    mlp = width * 2 * hidden + 2 * hidden + hidden * width + width
    adaptive = time * 2 * width + 2 * width + time * width + width + 2 * width  # scale, shift, gate; for text
    skips = depth // 2 * 2 * width * width
    return (width + 1) * time + time + depth * (attention + mlp + 2 * adaptive + 2 * width) + skips + width


def test_the_count_by_hand_is_that_of_transfusion_pytorch():
    """826k is the figure of its MNIST example; both were counted with version 0.20.0."""
    assert peer_parameters(**settings.SETTINGS["small"]["peer"]) == 826_256
    assert peer_parameters(**settings.SETTINGS["large"]["peer"]) == 8_204_608


@pytest.mark.parametrize("setting", settings.SETTINGS)
@pytest.mark.parametrize("backbone", settings.OURS)
def test_our_backbones_have_as_many_parameters_as_its_transformer(setting, backbone):
    from rawmm_cli.config import build, presets
    from rawmm_cli.core.model import count_parameters

    model = build.model(presets.resolve(settings.preset(setting, backbone, 201, 1)), "meta")
    ours = count_parameters(model)["backbone"]
    assert settings.check_parameters(
        ours, peer_parameters(**settings.SETTINGS[setting]["peer"])
    ) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("ours, fits", [(1000, True), (1019, True), (981, True), (1021, False), (979, False)])
def test_two_per_cent_are_allowed(ours, fits):
    if fits:
        assert settings.check_parameters(ours, 1000) == ours / 1000
    else:
        with pytest.raises(ValueError, match="allowed: 2%"):
            settings.check_parameters(ours, 1000)


def test_rawmm_reads_the_written_preset(tmp_path):
    from rawmm_cli.config import presets

    parameters = rawmm_side.prepare("small", "gau", tmp_path, 1)
    read = presets.load(str(tmp_path / "small-gau.yaml"))
    assert parameters == 821_376  # 8 (6 D^2 + D K + D + 4 K) + D with D = 128, K = 32
    assert read.train.batch == 16 and (read.data.size // read.codec.patch) ** 2 == settings.PATCHES == 196
    assert read.train.precision == read.train.compile == "auto" and read.train.optimizer == "adamw"


@pytest.mark.process
def test_the_command_is_timed_and_counts_its_positions(few, tmp_path, one_thread, monkeypatch):
    """`rawmm train` on a narrow model: one document a row, no padding, 196 patches and 5 tokens."""
    real = rawmm_side.preset

    def narrow(*sizes):
        preset = real(*sizes)
        return preset | {
            "backbone": {"kind": "gau", "width": 8, "depth": 1, "key": 8},
            "train": preset["train"] | {"compile": "no", "precision": "fp32"},
        }

    monkeypatch.setattr(rawmm_side, "preset", narrow)
    rawmm_side.write_set(tmp_path / "data", *few)
    rawmm_side.prepare("small", "gau", tmp_path, 1)
    measured = rawmm_side.timed("small", "gau", tmp_path, 0.5)
    assert (
        measured["positions"] == pytest.approx(201)
        and measured["documents"] % (settings.WARM * settings.BATCH) == 0
    )
    assert measured["seconds"] >= 0.5 and measured["documents"] > 0 and measured["warm_up_seconds"] > 0
