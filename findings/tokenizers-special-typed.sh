#!/bin/sh
# tokenizers does not save encode_special_tokens, so a reloaded tokenizer takes typed text for control tokens
# again.
#
# Expected: a tokenizer is the same after `save` and `from_file`.
# Seen:     with encode_special_tokens = True, "<image>" in a caption is spelled out in ordinary tokens, and
#           the control token can only be put in by its id. The saved file does not hold the setting, and
#           after loading it is False.
# Matters:  in models that switch from text to pictures at a token, a caption that mentions it opens a
#           picture. A test before saving passes, and the deployed copy differs.
# Versions: tokenizers 0.23.3
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile tokenizers==0.23.3
venv/bin/python - <<'PYTHON'
import sys

import tokenizers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

print("tokenizers", tokenizers.__version__)
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(
    vocab_size=280, special_tokens=["<image>"], initial_alphabet=alphabet, show_progress=False
)
tokenizer.train_from_iterator(["a photo of a cat", "a drawing of a dog"], trainer)
tokenizer.encode_special_tokens = True
tokenizer.save("tokenizer.json")
loaded = Tokenizer.from_file("tokenizer.json")
caption = "the word <image> on a wall"
control = tokenizer.token_to_id("<image>")
before = tokenizer.encode(caption).ids.count(control)
after = loaded.encode(caption).ids.count(control)
print(f"caption typed by a user: {caption!r}")
print(f"before saving: encode_special_tokens {tokenizer.encode_special_tokens}, control tokens {before}")
print(f"after loading: encode_special_tokens {loaded.encode_special_tokens}, control tokens {after}")
print("expected: 0 and 0")
holds = before == 0 and after == 1 and not loaded.encode_special_tokens
sys.exit(0 if holds else "changed: the setting survives saving")
PYTHON
