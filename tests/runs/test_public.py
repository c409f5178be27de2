"""Published tokenizers: the table, licences, the cache, no network. Weights are tiny and random, in a cache
of the hub's layout."""

import json
import weakref
from dataclasses import replace

import pytest
import torch

from rawmm_cli.runs import public
from rawmm_cli.runs.codec import open_codec
from rawmm_cli.system.errors import CheckpointError, ConfigError

pytest.importorskip("huggingface_hub")
diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TINY = {"block_out_channels": (32, 32), "latent_channels": 4, "down_block_types": ("DownEncoderBlock2D",) * 2}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that puts a tokenizer of the table into an empty cache: hub(name, save, **changes of its
    row)."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(public, "_reachable", lambda: False)
    real, rows = public.table(), {}
    monkeypatch.setattr(public, "table", lambda: tuple(rows.get(row.name, row) for row in real))

    def put(name, save, **changes):
        row = rows[name] = replace(public.find(name), **changes)
        folder = tmp_path / "cache" / f"models--{row.repo.replace('/', '--')}"
        commit = "0123456789abcdef" if row.revision == "main" else row.revision
        inside = folder / "snapshots" / commit / row.folder
        inside.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        save(inside)
        return row

    return put


def vae(folder):
    torch.manual_seed(0)
    diffusers.AutoencoderKL(**TINY, up_block_types=("UpDecoderBlock2D",) * 2).save_pretrained(folder)


def llamagen(folder):
    """Weights of a tiny Janus under the names of LlamaGen."""
    torch.manual_seed(0)
    model = transformers.JanusVQVAE(
        transformers.JanusVQVAEConfig(
            embed_dim=4,
            num_embeddings=32,
            latent_channels=32,
            base_channels=32,
            channel_multiplier=[1, 1],
            num_res_blocks=1,
            num_patches=8,
        )
    )
    torch.nn.init.normal_(model.quantize.embedding.weight)
    weights = {}
    for key, value in model.state_dict().items():
        for old, new in (
            ("encoder.down.", "encoder.conv_blocks."),
            ("decoder.up.", "decoder.conv_blocks."),
            (".mid.block_1.", ".mid.0."),
            (".mid.attn_1.", ".mid.1."),
            (".mid.block_2.", ".mid.2."),
            (".block.", ".res."),
        ):
            key = key.replace(old, new)
        weights[key] = value
    torch.save({"model": weights}, folder / "vq_ds16_c2i.pt")


def error_of(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        public.prepare(*arguments, notify=lambda line: None, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------------ table


def test_the_table():
    """Names are unique; sizes are those of the catalogue, and follow from the multiple that a codec takes."""
    catalogue = {row["name"]: row for row in public._facts("catalogue")}
    names = [row.name for row in public.table()]
    assert len(names) == len(set(names)) >= 12
    for row in public.table():
        assert (row.vocabulary is None) != (row.values is None) and (row.sides is None) != (row.only is None)
        assert row.read in "VRM" and row.range in ("-1 to 1", "0 to 1") and row.files and row.licence
        if row.catalogue:
            fact = catalogue[row.catalogue]
            assert (row.side, row.length, row.vocabulary) == tuple(
                fact[key] for key in ("side", "length", "vocabulary")
            )
            assert (row.psnr, row.rfid) == (fact.get("psnr"), fact.get("rfid"))
        if row.sides:
            assert row.length % (row.side // row.sides) ** 2 == 0
    assert public.find("llamagen-f16").bits == 3584 and public.find("sd-vae").bits is None
    assert public.facts("public:llamagen-f16")["rfid"] == 2.19 and public.facts("jpeg@3") == {}
    assert public.facts("public:emu3")["source"] is None  # no figure, so no source of one


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_every_kind_has_a_loader():
    for row in public.table():
        with pytest.raises((OSError, ValueError, CheckpointError)):
            public._load(row, public.FACTS / "none", CPU)


def test_an_unknown_name_or_licence():
    assert "unknown tokenizer 'llamagen' (did you mean llamagen-f8?); allowed: sd-vae, " in error_of(
        ConfigError, ["public:llamagen"], []
    )
    assert "unknown licence 'chamelon' (did you mean chameleon?); allowed: " in error_of(
        ConfigError, ["public:sd-vae"], ["chamelon"]
    )


# ------------------------------------------------------------------------------------ cache, licence, network


def test_from_the_cache(hub):
    hub("sd-vae", vae, length=64, side=16)
    hub("llamagen-f16", llamagen, length=64, side=16, vocabulary=32)
    lines = []
    words = ["public:sd-vae", "raw", "public:llamagen-f16"]
    assert public.prepare(words, [], lines.append) == words and not lines
    pictures = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    for word, discrete in (("public:sd-vae", False), ("public:llamagen-f16", True)):
        codec = open_codec(word, CPU)
        assert codec.discrete == discrete
        assert codec.decode(codec.encode(pictures), codec.grid(16, 16)[0]).shape == pictures.shape


def test_sizes_are_compared_with_the_table(hub):
    hub("llamagen-f16", llamagen, length=64, side=16, vocabulary=33)
    with pytest.raises(CheckpointError, match="as llamagen: vocabulary 32 at 16 px, and the table says 33"):
        open_codec("public:llamagen-f16", CPU)


def test_damaged_and_missing_files(hub):
    row = hub("llamagen-f16", lambda folder: (folder / "vq_ds16_c2i.pt").write_bytes(b"nothing"))
    with pytest.raises(CheckpointError, match="public:llamagen-f16 cannot be loaded as llamagen: vq_ds16"):
        open_codec("public:llamagen-f16", CPU)
    with pytest.raises(CheckpointError, match="is not in the cache; fetch it first: hf download stabilityai"):
        open_codec("public:sd-vae", CPU)
    assert public.command([row]) == "hf download FoundationVision/LlamaGen vq_ds16_c2i.pt"
    assert public.command([public.find("ldm-vq-f4"), public.find("emu3")]) == (
        "hf download CompVis/ldm-super-resolution-4x-openimages vqvae/config.json "
        "vqvae/diffusion_pytorch_model.bin && hf download BAAI/Emu3-VisionTokenizer config.json "
        "model.safetensors --revision c81f916ad371289e205310a7539255e8a9396488"
    )


def test_bits_of_its_codes(hub, rawmm, tmp_path):
    from PIL import Image

    Image.effect_noise((32, 32), 60).convert("RGB").save(tmp_path / "a.png")
    hub("llamagen-f16", llamagen, length=64, side=16, vocabulary=32)
    code, out, err = rawmm("entropy-budget", "codec", "public:llamagen-f16", tmp_path / "a.png", "--json")
    assert code == 0, err
    assert json.loads(out)["rows"][0]["tokens"] == 256
    code, out, err = rawmm("entropy-budget", "codec", "public:sd-vae", tmp_path / "a.png")
    assert code == 4 and "public:sd-vae is not in the cache; fetch it first: hf download" in err


def test_one_that_cannot_be_loaded_is_left_out_of_several(hub):
    from rawmm_cli.reconstruction.choices import choices

    hub("sd-vae", vae, length=64, side=16)
    hub("llamagen-f16", lambda folder: (folder / "vq_ds16_c2i.pt").write_bytes(b"nothing"))
    lines, words = [], ["public:llamagen-f16", "public:sd-vae"]
    chosen = choices(words, public.FACTS, CPU, None, [], warn=lines.append)
    assert [choice.word for choice in chosen] == ["public:sd-vae"]
    assert len(lines) == 1 and lines[0].startswith("left out, public:llamagen-f16 cannot be loaded as")
    for alone in (words[:1], [*words, "jpeg@public:llamagen-f16"]):
        with pytest.raises(CheckpointError, match="public:llamagen-f16 cannot be loaded"):
            choices(alone, public.FACTS, CPU, None, [])


def test_several_are_in_memory_one_at_a_time(hub, tmp_path, monkeypatch):
    """And give the same as when all are: also files of as many bits, and a folder with a damaged picture."""
    from PIL import Image

    from rawmm_cli.data import pictures
    from rawmm_cli.reconstruction import choices, in_turn, reconstruct

    hub("sd-vae", vae, length=64, side=16)
    hub("llamagen-f16", llamagen, length=64, side=16, vocabulary=32)
    for n, side in enumerate((16, 16, 32)):
        Image.effect_noise((side, 16), 60).convert("RGB").save(tmp_path / f"{n}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = ["public:sd-vae", "webp@public:llamagen-f16", "public:llamagen-f16", "resize@8"]
    load, alive, most = public._load, weakref.WeakSet(), []

    def counted(*arguments):
        codec = load(*arguments)
        alive.add(codec)
        most.append(len(alive))
        return codec

    monkeypatch.setattr(public, "_load", counted)

    def run(plan=None):
        done = []
        chosen = choices.choices(words, tmp_path, CPU, None, [])
        locations = pictures.find([tmp_path], tmp_path)
        result = reconstruct.run(locations, chosen, plan or reconstruct.Plan(progress=done.append))
        return result, done

    result, done = run()
    assert max(most) == 1 and not alive and done == sorted(done) and done[0] == 0
    assert [
        [choice.word for choice in part]
        for part in reconstruct.passes(choices.choices(words, tmp_path, CPU, None, []))
    ] == [
        ["public:sd-vae"],
        ["public:llamagen-f16"],
        ["webp@public:llamagen-f16", "resize@8"],
    ]
    assert [row.codec for row in result.rows] == words and len(result.skipped) == 1 and len(result.each) == 3
    monkeypatch.setattr(reconstruct, "passes", lambda chosen: [chosen])
    monkeypatch.setattr(in_turn.InTurn, "release", lambda self: None)
    together, _ = run()
    assert max(most) == 2
    for one, other in zip(result.each, together.each):
        for word in words:
            assert replace(one.codecs[word], milliseconds=0) == replace(other.codecs[word], milliseconds=0)


def test_a_picture_comes_back_whole(hub, monkeypatch):
    hub("sd-vae", vae, length=64, side=16)
    load = public._load

    def half(*arguments):
        codec = load(*arguments)
        decode = codec.decode
        codec.decode = lambda tokens, rows: decode(tokens, rows)[..., ::2]
        return codec

    monkeypatch.setattr(public, "_load", half)
    with pytest.raises(
        CheckpointError, match=r"a picture of \(1, 3, 64, 64\) comes back as \(1, 3, 64, 32\)"
    ):
        open_codec("public:sd-vae", CPU)


def test_without_network_the_suite_goes_on_with_the_cache(hub):
    hub("sd-vae", vae)
    lines, words = [], [public.PREFIX + row.name for row in public.table()]
    assert public.prepare([*words, "resize@8"], [], lines.append, suite=True) == ["public:sd-vae", "resize@8"]
    assert len(lines) == 2 and all("\n" not in line for line in lines)
    assert lines[0].startswith("left out, licences that are not accepted: cosmos-di16: NVIDIA-Open-Model")
    assert "chameleon: Chameleon-Research-License (non-commercial)" in lines[0]
    assert lines[1].startswith("left out, cannot be fetched: sdxl-vae, flux-vae, ")
    assert "where there is a network: hf download stabilityai/sdxl-vae config.json " in lines[1]
    assert "cannot be fetched: taesd" in error_of(CheckpointError, ["public:sd-vae", "public:taesd"], [])


def test_nothing_in_the_cache_and_no_network(hub):
    words = [public.PREFIX + row.name for row in public.table()]
    assert error_of(CheckpointError, words, [], suite=True).startswith("cannot be fetched: sd-vae, ")


def test_a_licence_is_accepted_by_its_name_or_the_tokenizers(hub):
    word = ["public:chameleon"]
    assert error_of(ConfigError, word, []) == (
        "licences that are not accepted: chameleon: Chameleon-Research-License (non-commercial); read them "
        "on the hub, then add --accept-licence Chameleon-Research-License"
    )
    for accepted in ("Chameleon-Research-License", "chameleon-research-license", "chameleon"):
        assert "cannot be fetched: chameleon" in error_of(CheckpointError, word, [accepted])


def test_what_is_fetched_is_told_before(hub, monkeypatch):
    fetched, lines = [], []
    monkeypatch.setattr(public, "_reachable", lambda: True)
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda repo, path, revision: fetched.append((repo, path, revision))
    )
    words = ["public:flux-vae", "public:emu3"]
    assert public.prepare(words, [], lines.append) == words
    assert lines == [
        "fetches flux-vae: black-forest-labs/FLUX.1-schnell, Apache-2.0, 168 MB; the hub may ask for a login",
        "fetches emu3: BAAI/Emu3-VisionTokenizer, Apache-2.0, 1,080 MB",
    ]
    assert ("black-forest-labs/FLUX.1-schnell", "vae/config.json", "main") in fetched and len(fetched) == 4
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *rest, **more: 1 / 0)
    assert public.prepare(["raw"], [], lines.append) == ["raw"]
    assert error_of(CheckpointError, ["public:emu3"], []).startswith("cannot be fetched: emu3; where there")


def test_the_command(hub, rawmm, tmp_path, monkeypatch):
    from PIL import Image

    Image.effect_noise((16, 16), 60).convert("RGB").save(tmp_path / "a.png")
    hub("sd-vae", vae, length=64, side=16)
    hub("llamagen-f16", llamagen, length=64, side=16, vocabulary=32)
    monkeypatch.setenv("COLUMNS", "240")
    code, out, err = rawmm("reconstruct", "--suite", "list")
    assert code == 0 and "llamagen-f16" in out and "Chameleon-Research-License (non-commercial) *" in out
    code, out, err = rawmm("reconstruct", "--suite", "list", "--json")
    assert code == 0 and {row["name"] for row in json.loads(out)["tokenizers"]} > {"sd-vae", "titok-l32"}
    options = ("--ocr", "none", "--features", "none")
    code, out, err = rawmm("reconstruct", tmp_path / "a.png", "--suite", "public", *options, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert [row["codec"] for row in result["rows"]] == ["public:sd-vae", "public:llamagen-f16"]
    assert result["published"]["public:llamagen-f16"] == {
        "repo": "FoundationVision/LlamaGen",
        "commit": "0123456789abcdef",
        "licence": "MIT",
        "psnr": None,
        "rfid": 2.19,
        "test": "ImageNet val 256",
        "source": "FoundationVision/LlamaGen README",
    }
    assert "left out, cannot be fetched" in err
    page, word = tmp_path / "page.html", ("--codec", "public:llamagen-f16")
    code, out, err = rawmm("reconstruct", tmp_path / "a.png", *word, *options, "--report", page)
    assert "Reported by others" in page.read_text() and "FoundationVision/LlamaGen README" in page.read_text()
    assert code == 0 and "Reported on other pictures" in out and "2.19  ImageNet val 256" in out
    monkeypatch.setattr(
        public, "open_public", None
    )  # a second time no codec is opened: its commit is its key
    assert rawmm("reconstruct", tmp_path / "a.png", *word, *options, "--report", page)[0] == 0
    assert rawmm("reconstruct", "--suite", "public")[0] == 2
    code, out, err = rawmm("reconstruct", tmp_path / "a.png", "--suite", "privat")
    assert code == 2 and "unknown suite 'privat'; allowed: public, list" in err
    code, out, err = rawmm("reconstruct", tmp_path / "a.png", "--codec", "public:chameleon")
    assert code == 2 and "--accept-licence Chameleon-Research-License" in err
