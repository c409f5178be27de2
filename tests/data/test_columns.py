"""Columns: which one has which role, by name, by kind and by option, and the item of a row."""

from dataclasses import replace

import pytest

from rawmm_cli.data.columns import Columns, check_template, class_of, parse, words
from rawmm_cli.data.items import DocumentItem, Item, Piece
from rawmm_cli.data.layout.choosing import choose
from rawmm_cli.system.errors import ConfigError, DataError

KINDS = {"image": "image", "text": "text", "label": "integer", "Smiling": "boolean", "size": "other"}


def item(columns: Columns, **row):
    return columns.item("a", {"image": b"p", **row})


CHOICES = {
    "the usual": (KINDS, None, ("image", "text", "label")),
    "the first name of several": (
        {"png": "image", "jpg": "image", "txt": "text", "caption": "texts"},
        None,
        ("jpg", "caption", None),
    ),
    "an image of any name": ({"photo": "image", "cls": "text"}, None, ("photo", None, "cls")),
    "a name of another kind": (
        {"image": "text", "photo": "image", "text": "integer", "label": "boolean"},
        None,
        ("photo", None, None),
    ),
    "an option": (
        KINDS | {"alt": "texts", "kind": "text", "scan": "image"},
        "image=scan,text=alt,label=kind",
        ("scan", "alt", "kind"),
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_columns_of_the_roles(case):
    kinds, option, expected = CHOICES[case]
    chosen = choose(kinds, option)
    assert (chosen.image, chosen.text, chosen.label) == expected
    assert chosen.flags == tuple(column for column, kind in kinds.items() if kind == "boolean")


@pytest.mark.parametrize(
    "option, message",
    [
        ("size=x", "--columns has 'size=x'; allowed: image=COLUMN, text=COLUMN, label=COLUMN"),
        ("image", "--columns has 'image'; allowed: image=COLUMN"),
        ("text=alt", "the set has no column 'alt'; it has Smiling, image, label, size, text"),
        (
            "image=text",
            "--columns has image=text, but that column of the set holds text; allowed: one with images",
        ),
        (
            "text=label",
            "text=label, but that column of the set holds whole numbers; allowed: one with text or lists of "
            "text",
        ),
        (
            "label=size",
            "label=size, but that column of the set holds other things; allowed: one with whole numbers or "
            "text",
        ),
    ],
)
def test_options_that_do_not_fit(option, message):
    with pytest.raises(ConfigError) as caught:
        choose(KINDS, option, where="the set")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_images_and_no_classes():
    with pytest.raises(
        DataError,
        match="no column of the set holds images; there are n, text; name one with --columns image=",
    ):
        choose({"text": "text", "n": "integer"}, where="the set")
    with pytest.raises(
        ConfigError, match="--caption makes captions of classes and the set has no column of classes"
    ):
        choose({"image": "image"}, template="a {label}", where="the set")


@pytest.mark.parametrize(
    "value, captions",
    [(" a cat \n", ("a cat",)), (["a", " b ", "a", "", None], ("a", "b")), ([], ()), (None, ()), ("  ", ())],
)
def test_captions_of_a_row(value, captions):
    assert item(Columns("image", text="text"), text=value).captions == captions


@pytest.mark.parametrize(
    "value, label, captions",
    [(1, 1, ("one barn owl",)), (0, 0, ("one tabby",)), (2, 2, ()), (-1, -1, ()), (None, -1, ())],
)
def test_a_class_with_names(value, label, captions):
    """-1 means an unknown class in many sets: no caption, rather than "one -1"."""
    columns = Columns("image", label="label", names=("tabby", "barn_owl"), template="one {label}")
    classified = item(columns, label=value)
    assert (classified.label, classified.captions) == (label, captions)


@pytest.mark.parametrize(
    "value, label, captions",
    [
        (7, 7, ("one 7",)),
        (-1, -1, ()),
        (None, -1, ()),
        ("Great_Tit", -1, ("one great tit",)),
        ("", -1, ()),
        (2**63, -1, ()),
    ],
)
def test_a_class_without_names(value, label, captions):
    classified = item(Columns("image", label="label", template="one {label}"), label=value)
    assert (classified.label, classified.captions) == (label, captions)


@pytest.mark.parametrize(
    "value, number",
    [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, -1), (-1, -1), (True, -1), ("1", -1), (1.0, -1), (None, -1)],
)
def test_the_number_of_a_class(value, number):
    assert class_of(value) == number


def test_boolean_columns_are_attributes_and_captions_where_they_are_asked_for():
    row = {"Wavy_Hair": True, "Smiling": False, "Young": True, "text": "t"}
    silent = Columns("image", flags=("Wavy_Hair", "Smiling", "Young"))
    assert item(silent, **row).captions == ()
    assert item(silent, **row).attributes == {"Wavy_Hair": True, "Smiling": False, "Young": True}
    kinds = {"image": "image", "nsfw": "boolean", "Wavy_Hair": "boolean", "Young": "boolean"}
    assert choose(kinds, "attributes=Young,attributes=Wavy_Hair").flags == ("Young", "Wavy_Hair")
    assert choose(kinds, "attributes=*").flags == ("nsfw", "Wavy_Hair", "Young") and not choose(kinds).speak
    bare = Columns("image", flags=silent.flags, speak=True)
    assert item(bare, **row).captions == ("wavy hair, young",)
    assert item(bare, **row).attributes == {"Wavy_Hair": True, "Smiling": False, "Young": True}
    assert item(Columns("image", text="text", flags=bare.flags), **row).captions == ("t",)
    assert item(bare, Wavy_Hair=False, Smiling=False, Young=None).captions == ()


def test_content_is_bytes_or_a_file_under_the_root(tmp_path):
    columns, inside = Columns("image"), str(tmp_path / "set" / "deep" / "a.png")
    (tmp_path / "set" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "deep" / "a.png").touch()

    def content(image, root=tmp_path / "set"):
        return columns.item("a", {"image": image}, root=root).content

    assert content(b"p") == content({"bytes": b"p", "path": "/etc/passwd"}) == b"p"
    assert content(None) == content({"bytes": None, "path": None}) == b""
    assert content({"bytes": None, "path": inside}) == inside
    elsewhere = ["/etc/passwd", str(tmp_path / "set" / ".." / "b.png"), str(tmp_path / "settled" / "b.png")]
    for path, root in ((inside, None), *((path, tmp_path / "set") for path in elsewhere)):
        error = content({"bytes": None, "path": path}, root)
        assert isinstance(error, DataError) and str(error) == (
            f"it has no bytes, only the path '{path}', which is not read; store the bytes of the pictures in "
            "the table"
        )
    (tmp_path / "door").symlink_to(tmp_path / "set")
    assert content({"bytes": None, "path": inside}, tmp_path / "door") == inside
    (tmp_path / "secret.png").touch()
    (tmp_path / "set" / "window.png").symlink_to(tmp_path / "secret.png")
    error = content({"bytes": None, "path": str(tmp_path / "set" / "window.png")})
    assert isinstance(error, DataError) and "is a link that leads out of the folder" in str(error)


INSTEAD = {
    "https://host/cat.jpg": "the address 'https://host/cat.jpg', which is not fetched; fetch the pictures",
    "/home/me/cat.jpg": "the path '/home/me/cat.jpg', which is not read; store the bytes of the pictures",
    "cats/cat.jpg": "the path 'cats/cat.jpg', which is not read; store the bytes of the pictures",
    "data:image/png;base64,iVBORw0KGgoA": "a picture in base64, 'data:image/png;base64,iVBORw0KGgoA'; decode",
    "/9j/" + "A" * 100: f"a picture in base64, '/9j/{'A' * 56}...'; decode it",
}


@pytest.mark.parametrize("value", INSTEAD)
def test_what_stands_in_place_of_a_picture(value):
    """Text is never taken for the path of a file, wherever it stands."""
    columns, expected = Columns("image"), f"it has no bytes, only {INSTEAD[value]}"
    for image in (value, {"bytes": value, "path": None}, {"bytes": None, "path": value}, [value]):
        content = columns.item("a", {"image": image}).content
        assert isinstance(content, DataError) and str(content).startswith(expected)


def test_a_table_without_pictures_says_what_it_has():
    kinds = {"url": "text", "n": "integer"}
    with pytest.raises(
        DataError, match="no column of the set holds images; 'url' has the address 'http://x/a"
    ):
        choose(kinds, where="the set", first={"url": "http://x/a.png"}.get)
    kinds["image"] = "text"
    with pytest.raises(DataError, match="'image' has the path 'a.png', which is not read; store the bytes"):
        choose(kinds, where="the set", first={"url": "http://x/a.png", "image": "a.png"}.get)
    with pytest.raises(
        ConfigError, match="image=url, but that column of the set holds the address 'http://x'"
    ):
        choose(kinds | {"png": "image"}, "image=url", where="the set", first={"url": "http://x"}.get)


def test_lists_of_pictures():
    """One is the picture; where rows have several, every row is a document, and each picture is drawn after
    its caption."""
    columns = Columns("images", text="text")
    assert columns.item("a", {"images": [b"p"], "text": "t"}) == Item("a", b"p", ("t",))
    for nothing in ([], None, [None]):
        assert columns.item("a", {"images": nothing, "text": "t"}).content == b""
    several = replace(columns, documents=True)
    one, other, draws = Piece(text="t"), Piece(text="u"), [Piece(content=c, draw=True) for c in (b"p", b"q")]
    assert several.item("a", {"images": [b"p", b"q"], "text": "t"}, "train") == DocumentItem(
        "a", (one, *draws), "train"
    )
    pairs = several.item("a", {"images": [b"p", {"bytes": b"q"}], "text": ["t", "u"]}).pieces
    assert pairs == (one, draws[0], other, draws[1])
    assert several.item("a", {"images": None, "text": None}).pieces == (Piece(content=b"", draw=True),)


@pytest.mark.parametrize(
    "template, good",
    [
        ("a {label}", True),
        ("{label} and {label}", True),
        ("{{}} {label}", False),
        ("a cat", False),
        ("{name}", False),
        ("{", False),
        ("{label.__class__}", False),
        ("{label!r}", False),
        ("{label:>9}", False),
        ("{label} {0}", False),
    ],
)
def test_templates(template, good):
    if good:
        check_template(template)
        return
    with pytest.raises(ConfigError, match="allowed: text with {label} in it"):
        check_template(template)


def test_words_and_options():
    assert [words(name) for name in ("Wavy_Hair", " a\n\tb ", "Tabby, cat")] == [
        "wavy hair",
        "a b",
        "tabby, cat",
    ]
    assert (
        parse("image=a,text=b=c,", None, "x") == {"image": "a", "text": "b=c"}
        and parse(None, None, "x") == {}
    )
