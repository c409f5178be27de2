#!/bin/sh
# torchmetrics' MiFID does not notice a generator that draws copies of some training pictures.
#
# Expected: FID divided by how near generated pictures are to training pictures: for each generated one the
#           nearest training picture, averaged over the generated ones (Bai et al. 2021, section 3). A
#           generator that draws nothing but copies has distance 0 and a huge MiFID.
# Seen:     the average is over the real pictures: for each of them the nearest generated one. Copies of a tenth
#           of the training set leave nine tenths without a near picture, so the mean is above the threshold of
#           0.1, counts as 1, and MiFID is FID, to the last digit. With the two sets given in each other's place
#           (FID is the same both ways) the copies are noticed.
# Matters:  a generator has usually drawn fewer pictures than there are to copy. The metric that is there to
#           catch copying then ranks copies before new pictures, as FID does.
# Versions: torchmetrics 1.9.0, torch 2.13.0
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --no-compile torchmetrics==1.9.0 torch==2.13.0 numpy==2.4.6
venv/bin/python - <<'PYTHON'
import sys

import torch
import torchmetrics
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.mifid import MemorizationInformedFrechetInceptionDistance

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
WIDTH = 64  # pixels of a picture, which are its features


def value(kind, real, generated):
    features = torch.nn.Flatten()
    features.num_features = WIDTH
    metric = kind(feature=features)
    metric.update(real, real=True)
    metric.update(generated, real=False)
    return metric.compute().item()


def distance(generated, training):
    """Mean over generated pictures of the least cosine distance to a training picture; 1 from 0.1 on."""
    one, other = (torch.nn.functional.normalize(images.flatten(1), dim=1) for images in (generated, training))
    mean = (1 - (one @ other.T).abs()).clamp_min(0).min(dim=1).values.mean().item()
    return mean if mean < 0.1 else 1.0


torch.manual_seed(0)
training = torch.randn(5000, 1, 1, WIDTH)
holds = True
for name, generated in (("new", torch.randn(500, 1, 1, WIDTH)), ("copies", training[:500].clone())):
    fid = value(FrechetInceptionDistance, training, generated)
    seen = value(MemorizationInformedFrechetInceptionDistance, training, generated)
    exchanged = value(MemorizationInformedFrechetInceptionDistance, generated, training)
    expected = fid / (distance(generated, training) + 1e-14)
    print(f"500 {name:6}: FID {fid:.3f}, MiFID expected {expected:.3g}, seen {seen:.3f}, exchanged {exchanged:.3g}")
    noticed = [abs(score) > 1e5 * fid for score in (expected, exchanged)]  # rounding may make a distance negative
    holds = holds and abs(seen - fid) < 1e-3 and noticed == [name == "copies"] * 2
sys.exit(0 if holds else "changed: copies of some training pictures count otherwise")
PYTHON
