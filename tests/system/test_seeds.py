"""Keys and random numbers as functions of a path."""

import hashlib

import numpy as np

from rawmm_cli.system.seeds import key, random, uniforms


def test_a_key_is_63_bits_of_blake2b():
    """A run resumes with the same noise only if these numbers never change."""
    digest = hashlib.blake2b(b"0/noise/7", digest_size=8).digest()
    assert key(0, "noise", 7) == int.from_bytes(digest, "little") >> 1 < 2**63
    assert key("a", 1) == int.from_bytes(hashlib.blake2b(b"a/1", digest_size=8).digest(), "little") >> 1
    assert (
        len({key(seed, word, n) for seed in range(10) for word in ("text", "noise") for n in range(500)})
        == 10_000
    )


def test_the_same_path_gives_the_same_numbers_and_another_path_others():
    assert np.array_equal(random(1, "a").random(9), random(1, "a").random(9))
    for other in ((1, "b"), (2, "a"), (1, "a", 0), ("a", 1)):
        assert not np.isclose(random(1, "a").random(9), random(*other).random(9)).any()


def test_uniforms_are_the_53_high_bits_of_each_word():
    digest = hashlib.blake2b(b"3/crop", digest_size=16).digest()
    words = np.frombuffer(digest, dtype="<u8")
    assert uniforms(3, "crop", count=2) == [int(word >> 11) / 2**53 for word in words]
    assert all(0 <= number < 1 for number in uniforms("a", 1)) and len(uniforms("a", 1)) == 8
