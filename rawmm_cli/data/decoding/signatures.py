"""What a file is by its first bytes: words for messages about files that are not read."""

from PIL import features

HEAD = 512  # bytes that are looked at
LFS = b"version https://git-lfs"  # begins a file that Git LFS left in place of another
POINTER = "it is a Git LFS pointer and not the file: fetch that with git lfs pull"

# Format, offset of its signature, signatures
SIGNATURES = (
    ("JPEG", 0, (b"\xff\xd8\xff",)),
    ("PNG", 0, (b"\x89PNG\r\n\x1a\n",)),
    ("GIF", 0, (b"GIF87a", b"GIF89a")),
    ("WEBP", 8, (b"WEBP",)),
    ("BMP", 0, (b"BM",)),
    ("TIFF", 0, (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    ("HEIC", 4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    ("JPEG XL", 0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    ("JPEG 2000", 0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    ("JPEG XR", 0, (b"II\xbc\x01",)),
    ("PFM in colour", 0, (b"PF\n", b"PF\r", b"PF ")),
    ("PAM", 0, (b"P7\n",)),
    ("OpenEXR", 0, (b"v/1\x01",)),
    ("Radiance HDR", 0, (b"#?RADIANCE", b"#?RGBE")),
    ("FITS", 0, (b"SIMPLE  =",)),
    ("Photoshop", 0, (b"8BPS",)),
    ("DDS", 0, (b"DDS ",)),
    ("QOI", 0, (b"qoif",)),
    ("ICO", 0, (b"\0\0\1\0",)),
    ("EPS or PostScript", 0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("PDF", 0, (b"%PDF",)),
    ("a NumPy array", 0, (b"\x93NUMPY",)),
    ("a film", 4, (b"ftypisom", b"ftypmp4", b"ftypqt", b"ftypM4V")),
    ("a film", 0, (b"\x1aE\xdf\xa3",)),
    ("a film", 4, (b"ftyp",)),  # any other
    ("a film", 8, (b"AVI ",)),
    ("a zip archive", 0, (b"PK\3\4",)),
    ("compressed by gzip", 0, (b"\x1f\x8b",)),
)


def format_of(head: bytes) -> str | None:
    """Name of the format that begins with `head`; None where it is not known."""
    if head[4:8] == b"ftyp" and (b"avif" in head[8:64] or b"avis" in head[8:64]):  # its brands
        return "AVIF"
    for name, offset, signatures in SIGNATURES:
        if head[offset:].startswith(signatures):
            return name
    return None


def advice(head: bytes, allowed: tuple[str, ...], reason: str) -> str:
    """Message about a file that cannot be opened, from its first HEAD bytes. allowed: formats that are read.
    reason: Pillow's own, "" for none."""
    name, formats = format_of(head), ", ".join(allowed)
    if name == "AVIF" and not features.check("avif"):
        return (
            "it is AVIF, which the installed Pillow was built without; pip install -U pillow, or convert it"
        )
    if name in allowed:
        why = f" ({reason})" if reason else ""
        return (
            f"it begins as {name} and is damaged, or of a kind that is not read{why}; replace or convert it"
        )
    if name is not None:
        return f"it is {name}, which is not read; allowed: {formats}; convert it"
    if head.startswith(LFS):
        return "it is a Git LFS pointer and not the picture; fetch the picture with git lfs pull"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return f"it is SVG, which is not read; allowed: {formats}; convert it"
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is a web page and not a picture; download it again"
    if text[:1] in (b"{", b"[", b"<") and not set(text) & set(range(9)):
        return "it is text and not a picture; download it again"
    return f"its content is damaged or of another format; allowed: {formats}"
