"""(images, reference) -> numbers.

pixels.py     MSE, PSNR, SSIM, exact pixels, sharpness
codes.py      entropy and use of codes
text.py       what is left of text; rank correlation
features.py   KID, distance of features
mobilenet.py  the network that gives the features
"""
