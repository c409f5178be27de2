"""Settings: presets, the precedence of defaults, preset and key=value, and every error word for word."""

import subprocess
import sys

import pytest

from rawmm_cli.config import presets
from rawmm_cli.config.explain import every_key
from rawmm_cli.config.model import GAU, Config, Transformer
from rawmm_cli.config.yaml_text import parse_yaml
from rawmm_cli.system.errors import ConfigError

TOP = "data, text_tokenizer, codec, head, backbone, baseline, loss, train, sample"
KEYS = "kind, width, depth, key, expansion"
HEAD = "kind, prediction, loss, time_mean, time_spread, noise_scale, clamp, bottleneck, time, convolution"
SAMPLE = (
    "steps, solver, grid, guidance, interval, rescale, order, order_temperature, rising, "
    "code_temperature, code_top_k, code_top_p, top_p, precision, max_text, context"
)
TAG = "could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system'"


def reloaded(settings):
    return presets.resolve(parse_yaml(presets.dump(settings), "a dump"))


def error(*overrides, preset="tiny"):
    with pytest.raises(ConfigError) as caught:
        presets.load(preset, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_loads_and_its_dump_is_the_same_settings(name):
    settings = presets.load(name)
    assert reloaded(settings) == settings


def test_presets_begin_with_a_description():
    assert {"digits", "patch64", "patch128", "tiny"} <= set(presets.names())
    for name in presets.names():
        assert len(presets.about(name)) > 20 and presets.text(name).startswith("# ")


@pytest.mark.parametrize(
    "word",
    [
        "train.learning_rate=1e-5",
        "train.ema.half_life=1e20",
        "train.compile='no'",
        "head.bottleneck=7",
        "backbone.kind=transformer",
        "train.betas=[0, 0.999]",
        "data.set=2024-digits",
        "data.set='1e4'",
        "data.set='1'",
        "data.set='no'",
    ],
)
def test_a_dump_loads_back_whatever_is_set(word):
    settings = presets.resolve({}, [word])
    assert reloaded(settings) == settings


def test_key_value_overrides_preset_overrides_defaults():
    assert presets.resolve({}).train.learning_rate == 2e-3
    assert presets.load("patch64").train.learning_rate == 2e-4
    assert presets.load("patch64", ["train.learning_rate=3e-4"]).train.learning_rate == 3e-4
    assert presets.load("patch64", ["train.batch=3", "train.batch=5"]).train.batch == 5
    assert presets.load("patch64").train.betas == presets.resolve({}).train.betas


def test_a_preset_file_of_the_users_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("# Mine.\ntrain: {batch: 3, learning_rate: 1e-4}\n")
    assert presets.load(str(path)) == presets.resolve({}, ["train.batch=3", "train.learning_rate=1e-4"])
    assert presets.about(str(path)) == "Mine."


def test_a_preset_file_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"data: {set: \xe9}")
    listed = ", ".join(presets.names())
    for name, reason in (
        ("none.yaml", "No such file or directory"),
        ("folder.yaml", "Is a directory"),
        ("latin.yaml", "not UTF-8"),
    ):
        path = tmp_path / name
        assert error(preset=str(path)) == (
            f"preset file {path} cannot be read ({reason}); give a YAML file, or one of: {listed}"
        )


def test_unknown_preset():
    listed = ", ".join(presets.names())
    assert (
        error(preset="tinny")
        == f"unknown preset 'tinny' (did you mean tiny?); allowed: {listed}; see `rawmm presets`"
    )
    assert error(preset="qqq") == f"unknown preset 'qqq'; allowed: {listed}; see `rawmm presets`"


# -------------------------------------------------------------------------------------------------- key=value


@pytest.mark.parametrize(
    "word, value",
    [
        ("train.learning_rate=1e-4", 1e-4),
        ("train.learning_rate=1E-4", 1e-4),
        ("train.learning_rate=+2.5e-3", 2.5e-3),
        ("train.learning_rate=.5", 0.5),
        ("train.learning_rate=3", 3.0),
        ("train.ema.half_life=1e6", 1e6),
        ("head.time_mean=-1e-1", -0.1),
        ("train.batch=7", 7),
        ("train.documents=10_000", 10_000),
        ("train.betas=[0.8, 0.9]", (0.8, 0.9)),
        ("head.bottleneck=null", None),
        ("sample.solver=heun", "heun"),
    ],
)
def test_values_have_the_type_that_they_look_like(word, value):
    actual = presets.resolve({}, [word])
    for part in word.partition("=")[0].split("."):
        actual = getattr(actual, part)
    assert actual == value and type(actual) is type(value)


@pytest.mark.parametrize("value", ["auto", "yes", "no"])
def test_yes_and_no_are_strings_where_strings_are_allowed(value):
    assert presets.resolve({}, [f"train.compile={value}"]).train.compile == value


@pytest.mark.parametrize(
    "text", ["my set #2", "set: new", "a: b: c", "[old]", "2017", "{label}, a photo", "C:\\data", "#1", "yes"]
)
def test_a_path_or_caption_is_taken_as_it_stands(text):
    """YAML would read some of these as another text, as `my set`, or refuse them."""
    config = presets.load("tiny", ["data.stream=true", f"data.stream.path={text}"])
    assert config.data.stream.path == text
    assert presets.load("tiny", [f"data.stream.path='{text}'"]).data.stream.path == text
    assert presets.load("tiny", ["data.stream.path=x", "data.stream.path=null"]).data.stream.path is None


def test_another_kind_drops_keys_that_it_does_not_have():
    gau = presets.load("tiny", ["backbone.key=24"])
    transformer = presets.load("tiny", ["backbone.kind=transformer"])
    assert gau.backbone.key == 24
    assert transformer.backbone == Transformer(width=32, depth=2)
    again = presets.load("tiny", ["backbone.kind=transformer", "backbone.heads=2", "backbone.kind=gau"])
    assert again.backbone == GAU(width=32, depth=2)


def test_another_kind_drops_choices_that_only_the_kind_before_has():
    """head.loss and head.time of the preset are those of a diffusion head."""
    words = ["codec.kind=subpixels", "head.kind=masked", "train.length=256"]
    head = presets.load("digits-uvit", words).head
    assert (head.loss, head.time) == ("maskgit", "none")
    assert presets.load("digits-uvit", [*words, "head.loss=bound", "head.time=added"]).head.time == "added"
    with pytest.raises(ConfigError, match="^head.kind = masked learns integers, and codec.kind = raw gives"):
        presets.load("digits", ["head.kind=masked"])
    with pytest.raises(ConfigError, match="backbone.width = -5 is not allowed"):
        presets.load("tiny", ["backbone.width=-5", "backbone.kind=transformer"])
    with pytest.raises(ConfigError, match="head.loss = velocity; allowed: maskgit, bound"):
        presets.load("digits", ["codec.kind=subpixels", "head.kind=masked", "head.loss=velocity"])


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        presets.resolve({}).train.batch = 3


# ----------------------------------------------------------------------------------------------------- errors


ERRORS = {
    # unknown keys
    "tran.batch=3": f"unknown key 'tran' (did you mean train?); allowed here: {TOP}",
    "qqq=3": f"unknown key 'qqq'; allowed here: {TOP}",
    "learning_rate=3": f"unknown key 'learning_rate' (did you mean train.learning_rate?); allowed here: "
    f"{TOP}",
    "half_life=3": f"unknown key 'half_life' (did you mean train.ema.half_life?); allowed here: {TOP}",
    "sample.step=3": f"unknown key 'sample.step' (did you mean sample.steps?); allowed here: {SAMPLE}",
    "train.ema.half_lif=3": "unknown key 'train.ema.half_lif' (did you mean train.ema.half_life?); "
    "allowed here: kind, half_life, ramp, widths, snapshots",
    "codec.pach=3": "unknown key 'codec.pach' (did you mean codec.patch?); allowed here: kind, patch",
    "backbone.widht=3": f"unknown key 'backbone.widht' (did you mean backbone.width?); allowed here: {KEYS}",
    "head.key=3": f"unknown key 'head.key' (did you mean backbone.key?); allowed here: {HEAD}",
    "backbone.heads=2": f"backbone.heads does not belong to backbone.kind = gau; allowed here: {KEYS}",
    # unknown kinds and choices
    "backbone.kind=transformr": "backbone.kind = transformr (did you mean transformer?); allowed: gau, "
    "transformer",
    "backbone.kind=[1]": "backbone.kind = [1]; allowed: gau, transformer",
    "codec.kind=vqq": "codec.kind = vqq (did you mean vq?); allowed: raw, shrunk, subpixels, vq, fsq, lfq, "
    "rvq, query, multiscale, kl",
    "head.kind=gau": "head.kind = gau; allowed: diffusion, autoregressive, masked, scales, reading",
    "train.optimizer=mun": "train.optimizer = mun (did you mean muon?); allowed: adamw, muon",
    # wrong types
    "train.batch=many": "train.batch = 'many' is not allowed: input should be a valid integer, or auto",
    "train.batch=3.0": "train.batch = 3.0 is not allowed: input should be a valid integer, or auto",
    "train.batch=true": "train.batch = True is not allowed: input should be a valid integer, or auto",
    "train.batch=": "train.batch = None is not allowed: input should be a valid integer, or auto",
    "train.learning_rate=true": "train.learning_rate = True is not allowed: input should be a valid number",
    "train.learning_rate='1e-4'": "train.learning_rate = '1e-4' is not allowed: input should be a valid "
    "number",
    "data.set=2024": "data.set = 2024 is not allowed: input should be a valid string",
    "train=5": "train = 5 is not allowed: input should be a valid dictionary or instance of Train",
    # out of range
    "train.learning_rate=.nan": "train.learning_rate = nan is not allowed: input should be a finite number",
    "train.learning_rate=.inf": "train.learning_rate = inf is not allowed: input should be a finite number",
    "train.learning_rate=0": "train.learning_rate = 0 is not allowed: input should be greater than 0",
    "train.batch=0": "train.batch = 0 is not allowed: input should be greater than or equal to 1, or auto",
    "data.read=1.5": "data.read = 1.5 is not allowed: input should be less than or equal to 1, or auto",
    "train.betas=[0.9, -1]": "train.betas.1 = -1 is not allowed: input should be greater than or equal to 0",
    "backbone.key=12": "backbone.key = 12 is not allowed: input should be a multiple of 8",
    "data.set=../x": "data.set = '../x' is not allowed: string should match pattern "
    "'^[A-Za-z0-9][A-Za-z0-9._-]*$'",
    # values that do not fit each other
    "codec.patch=3": "codec.patch = 3 does not divide data.size = 8; allowed: 1, 2, 4, 8",
    "sample.interval=[1, 0]": "sample.interval = [1.0, 0.0] runs backwards; allowed: low <= high",
    "train.length=3": "train.length = 3 is too short for one picture of 8 px in patches of 4: it needs 8 "
    "and the "
    "caption's bytes; set train.length=68",
    # not key=value, not YAML
    "batch": "'batch' is not a setting; allowed: key=value, as in train.learning_rate=1e-3",
    "=5": "'=5' is not a setting; allowed: key=value, as in train.learning_rate=1e-3",
    "train.betas=[1": "the value of train.betas is not valid YAML: expected ',' or ']', but got '<stream "
    "end>'",
    "train={batch: 1, batch: 2}": "the value of train is not valid YAML: key given twice: batch",
    "train.batch=*a": "the value of train.batch is not valid YAML: aliases (*name) are not allowed",
    "train.batch=!!python/object/apply:os.system [exit]": f"the value of train.batch is not valid YAML: "
    f"{TAG}",
}


TOGETHER = {
    "backbone.kind=gau head.time=modulation": "head.time = modulation modulates layers, and those of "
    "backbone.kind = gau cannot be; allowed: backbone.kind=transformer backbone.condition=modulation",
    "backbone.kind=transformer head.time=modulation": "head.time = modulation modulates layers, and "
    "backbone.condition = none; set backbone.condition=modulation",
    "backbone.kind=transformer backbone.condition=modulation": "backbone.condition = modulation needs a head "
    "that gives one; set head.time=modulation, or backbone.condition=none",
    "backbone.kind=transformer backbone.isolated_layers=5": "backbone.isolated_layers = 5 is more than "
    "backbone.depth = 4; allowed: 0 to 4, which isolates pictures in all layers",
    "backbone.kind=transformer backbone.depth=2 backbone.skips=true": "backbone.skips = true joins layers "
    "around a middle one, and backbone.depth = 2; allowed: 3 or more",
    "backbone.kind=gau backbone.isolated_layers=1": "backbone.isolated_layers does not belong to "
    f"backbone.kind = gau; allowed here: {KEYS}",
    "backbone.kind=transformer backbone.isolated_layers=-1": "backbone.isolated_layers = -1 is not allowed: "
    "input should be greater than or equal to 0",
    "head.time=later": "head.time = later; allowed: added, token, modulation, none",
    "head.time=token codec.patch=2 train.length=20": "train.length = 20 is too short for one picture "
    "of 8 px in patches of 2: it needs 21 and the caption's bytes; set train.length=81",
}


@pytest.mark.parametrize("words", TOGETHER)
def test_errors_of_settings_that_do_not_go_together(words):
    assert error(*words.split(), preset="digits") == TOGETHER[words]


@pytest.mark.parametrize("word", ERRORS)
def test_errors_word_for_word(word):
    assert error(word) == ERRORS[word]


def test_heads_divide_the_width():
    assert (
        error("backbone.kind=transformer", "backbone.heads=3") == "width 32 / heads 3 must be a multiple of 8"
    )


PRESETS = {
    "[1": "preset {} is not valid YAML: expected ',' or ']', but got '<stream end>'",
    "train:\n\tbatch: 1": "preset {} is not valid YAML: found character '\\t' that cannot start any token",
    "train: {batch: 1}\ntrain: {batch: 2}": "preset {} is not valid YAML: key given twice: train",
    "a: &x 1\nb: *x": "preset {} is not valid YAML: aliases (*name) are not allowed",
    "a: !!python/object/apply:os.system [exit]": "preset {} is not valid YAML: " + TAG,
    "": "settings must be a mapping of keys, as in `rawmm presets digits`",
    "- 1": "settings must be a mapping of keys, as in `rawmm presets digits`",
    "7: 8": "7 = 7 is not allowed: keys should be strings",
}


@pytest.mark.parametrize("text", PRESETS)
def test_a_broken_preset_file(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert error(preset=str(path)) == PRESETS[text].format(path)


def test_no_code_runs_from_a_preset(tmp_path):
    path, trace = tmp_path / "mine.yaml", tmp_path / "trace"
    path.write_text(f"train: {{batch: !!python/object/apply:os.system ['touch {trace}']}}")
    error(preset=str(path))
    assert not trace.exists()


@pytest.mark.parametrize(
    "value",
    [
        '!!int ""',
        "!!timestamp x",
        "!!bool x",
        "!!float x",
        "!!binary x",
        "2024-99-01",
        "\x00",
        "\udcff",
        "[" * 3000,
        "{[1]: 2}",
    ],
)
def test_errors_of_pyyaml_are_errors_of_the_settings(value):
    """PyYAML raises IndexError, AttributeError, KeyError and others."""
    assert error(f"train.batch={value}").startswith("the value of train.batch is not valid YAML: ")


def test_a_value_has_at_most_a_megabyte():
    assert (
        error("data.set=" + "x" * 1_000_001)
        == "the value of data.set has 1,000,001 characters; allowed: 1,000,000"
    )


@pytest.mark.parametrize(
    "word",
    [
        "train.seed=18446744073709551616",
        "train.threads=1000000",
        "train.betas=[0.9, 1]",
        "train.betas=[1, 0.9]",
    ],
)
def test_values_that_torch_refuses_are_out_of_range(word):
    """In torch seeds have 64 bits, a million threads are a segmentation fault, and betas are below 1."""
    assert " is not allowed: input should be less than " in error(word)


# --------------------------------------------------------------------------------------------------- all keys


def leaves(tree, path=""):
    return [
        key
        for name, value in tree.items()
        for key in (leaves(value, f"{path}{name}.") if isinstance(value, dict) and value else [path + name])
    ]


def test_all_keys_are_the_keys_of_a_dump():
    chosen = ["backbone.kind=gau"], ["backbone.kind=transformer"], ["data.stream.path=shards"]
    chosen += (
        ["codec.kind=kl", "codec.run=x"],
        ["codec.kind=shrunk"],
        ["codec.kind=subpixels", "head.kind=autoregressive", "train.length=256"],
        ["codec.kind=subpixels", "head.kind=masked", "train.length=256"],
        ["head.kind=reading", "data.read=1"],
        *(["data.read=0", f"baseline.kind={kind}"] for kind in ("unet", "flow")),
    )
    dumped = {key for words in chosen for key in leaves(presets.resolve({}, words).model_dump())}
    assert sorted(set(every_key(Config))) == sorted(dumped - {"data.stream", "baseline"})


@pytest.mark.process
def test_settings_do_not_import_torch():
    code = (
        "import sys; from rawmm_cli.config import presets; presets.load('tiny'); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "words, given",
    [
        (("codec.kind=fsq",), "codec.kind = fsq without codec.run trains a codec, which has no "),
        (("codec=runs/fsq-f8",), "codec = runs/fsq-f8; "),
        (
            ("codec.kind=fsq", "data.read=0.5"),
            "codec.kind = fsq without codec.run trains a codec, which has ",
        ),
    ],
)
def test_a_model_and_the_training_of_a_codec_are_not_mixed(words, given):
    line = error(*words)
    assert line.startswith(given) and "unknown key" not in line
    assert line.endswith(
        "; allowed for a model on the codes of a trained codec: its kind and its run, as in codec.kind=fsq "
        "codec.run=NAME; on raw patches: codec.kind=raw"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("codec.kind=kl", "codec.run=mine"),
        ("codec.run=mine", "codec.kind=kl"),
        ("codec.patch=4", "codec.kind=kl", "codec.run=mine"),
    ],
)
def test_a_kind_and_a_run_make_a_model_on_a_trained_codec(words):
    """What the preset says of its own codec counts no more."""
    config = presets.load("digits", words)
    assert isinstance(config, Config)
    assert config.codec.model_dump() == {
        "kind": "kl",
        "run": "mine",
        "hash": "auto",
        "size": "auto",
        "learned": "auto",
        "deviation": "auto",
    }


@pytest.mark.parametrize(
    "words, line",
    [
        (("codec.run=x",), "codec.run does not belong to codec.kind = raw; allowed here: kind, patch"),
        (
            ("codec.kind=fsq", "codec.run=x"),
            "head.kind = diffusion learns vectors, and codec.kind = fsq gives integers; allowed: ",
        ),
        (
            ("codec.kind=subpixels",),
            "head.kind = diffusion learns vectors, and codec.kind = subpixels gives integers; allowed: ",
        ),
        (
            ("codec.kind=kl", "codec.run=x", "codec.rnu=y"),
            "unknown key 'codec.rnu' (did you mean codec.run?)",
        ),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(words, line):
    assert error(*words).startswith(line)


# ------------------------------------------------------------------------------------ what a preset expects


def test_a_run_of_a_preset_is_known_by_its_settings():
    name, figures = presets.expected(presets.load("digits", ["train.seed=2", "train.threads=1"]))
    assert name == "digits" and figures.startswith("1,000 drawings recognised by the judge: 100 %;")
    assert presets.expected(reloaded(presets.load("fsq-f8")))[0] == "fsq-f8"
    name, figures = presets.expected(presets.load("digits-queries"))
    assert figures.endswith("all 64 codes are used, perplexity 43.4.") and "#" not in figures


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("digits", ["train.documents=100"]),
        ("digits", ["train.time=60"]),
        ("digits", ["sample.steps=5"]),
        ("patch64", []),  # not trained yet
        ("tiny", []),  # expects nothing
    ],
)
def test_other_runs_are_expected_to_reach_nothing(preset, words):
    assert presets.expected(presets.load(preset, words)) is None


def test_what_follows_from_the_set_may_differ(monkeypatch):
    run, text = presets.load("digits"), presets.text("digits")
    assert "length: 25," in text
    monkeypatch.setattr(presets, "names", lambda: ["digits"])
    monkeypatch.setattr(presets, "text", lambda name: text.replace("length: 25,", "length: auto,"))
    assert presets.expected(run)[0] == "digits"
    assert presets.expected(presets.changed(run, {"train.batch": 32})) is None


SCALES = ("codec.kind=multiscale", "codec.run=x", "head.kind=scales")


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ("codec.kind=multiscale", "codec.run=x", "head.kind=autoregressive"),
            "head.kind = autoregressive learns tokens of one scale, and codec.kind = multiscale gives "
            "tokens of several scales; allowed: head.kind=scales, or codec.kind=",
        ),
        (
            ("codec.kind=vq", "codec.run=x", "head.kind=scales"),
            "head.kind = scales learns tokens of several scales, and codec.kind = vq gives tokens of one "
            "scale; allowed: head.kind=autoregressive or masked, or codec.kind=multiscale",
        ),
        (("head.kind=scales",), "head.kind = scales learns integers, and codec.kind = raw gives vectors"),
        (
            (*SCALES, "sample.code_temperature=[1, -1]"),
            "sample.code_temperature = -1 is not allowed: input should be greater than or equal to 0",
        ),
        ((*SCALES, "sample.code_top_k=[]"), "sample.code_top_k = [] is not allowed: input should be a valid"),
        (
            ("codec.kind=vq", "codec.run=x", "head.kind=masked", "sample.code_top_p=[1, 0.9]"),
            "sample.code_top_p = 1.0, 0.9 has a value for each scale, and head.kind = masked has no scales; "
            "give one number",
        ),
    ],
)
def test_what_does_not_go_with_scales(words, message):
    with pytest.raises(ConfigError) as caught:
        presets.resolve({}, words)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_settings_of_each_scale_load_back():
    settings = presets.resolve({}, [*SCALES, "sample.code_temperature=[1, 0.9]", "sample.code_top_k=5"])
    assert settings.sample.code_temperature == (1.0, 0.9) and settings.sample.code_top_k == 5
    assert reloaded(settings) == settings


@pytest.mark.parametrize("scales", ["[1, 2, 3]", "[2, 1, 8]", "[1, 8, 8]", "[1, 2, 4, 8, 16]"])
def test_scales_that_do_not_fit_are_named_with_those_that_do(scales):
    """64 px in positions of 8: a grid of 8 x 8."""
    with pytest.raises(ConfigError) as caught:
        presets.resolve({}, ["codec.kind=multiscale", f"codec.scales={scales}"])
    assert str(caught.value) == (
        f"codec.scales = {scales} do not fit pictures of 64 px, which have 8 positions of 8 px a side; "
        "allowed: rising sides that end with 8; set codec.scales=[1, 2, 4, 8], or auto"
    )
    settings = presets.resolve({}, ["codec.kind=multiscale", "codec.scales=[1, 3, 8]"])
    assert settings.codec.scales == (1, 3, 8), "VAR's own do not divide either"


def test_scales_follow_from_the_pictures():
    settings = presets.resolve({}, ["codec.kind=multiscale", "data.size=48"])
    assert settings.codec.scales == (1, 2, 3, 6) and reloaded(settings) == settings
    assert settings.codec.tokens(48, 48) == 1 + 4 + 9 + 36


BASELINES = {
    "data.read=0.5": "baseline.kind = unet draws and does not read pictures; set data.read=0",
    "baseline.multipliers=[1,2,2,2]": "baseline.multipliers has 4 levels, and 4 x 4 tokens cannot be halved "
    "3 times; allowed: multiples of 8",
    "baseline.attention=[3]": "baseline.attention = 3 is the side of no level; allowed: 4, 2",
    "baseline.groups=5": "baseline.groups = 5 does not divide baseline.channels = 64; set baseline.groups to "
    "a divisor of it",
    "baseline.kind=unett": "baseline.kind = unett (did you mean unet?); allowed: unet, flow",
    "baseline.depth=2": "baseline.depth does not belong to baseline.kind = unet; allowed here: kind, "
    "channels, multipliers, blocks, attention, groups",
    "codec.kind=subpixels head.kind=autoregressive": "baseline.kind = unet draws vectors, and codec.kind = "
    "subpixels gives integers; allowed: codec.kind=raw, shrunk, kl",
    "baseline.kind=flow train.precision=bf16": "baseline.kind = flow sums log-determinants, which bf16 "
    "cannot; set train.precision=fp32 or auto",
    "baseline.kind=flow baseline.heads=3": "baseline.width 128 must be a multiple of baseline.heads 3; set "
    "another",
    "baseline.kind=flow baseline.guide=c": "baseline.guide = c; allowed: ab, a, b",
}


@pytest.mark.parametrize("words", BASELINES)
def test_baselines_say_what_goes_with_them(words):
    with pytest.raises(ConfigError) as caught:
        presets.resolve({}, ["baseline.kind=unet", "data.read=0", *words.split()])
    assert str(caught.value) == BASELINES[words]


def test_a_baseline_needs_one_position_for_a_picture_and_none_is_the_default():
    config = presets.resolve({}, ["baseline.kind=unet", "data.read=0", "codec.patch=1", "train.length=5"])
    assert config.positions(8, 8) == 1
    assert presets.resolve({}, ["baseline=none"]).baseline is None
