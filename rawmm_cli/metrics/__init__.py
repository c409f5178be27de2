"""(images, reference) -> numbers.

pixels.py     MSE, PSNR, SSIM, exact pixels, sharpness
seams.py      whether patches agree at their borders
codes.py      entropy and use of codes
text.py       how much text survives; rank correlation
statistics.py intervals of shares
features.py   KID, distance of features
mobilenet.py  the network that gives the features
"""
