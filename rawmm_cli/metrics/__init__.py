"""(images, reference) -> numbers.

pixels.py     MSE, PSNR, SSIM, exact pixels, sharpness, fine structure
seams.py      whether patches agree at their borders
neighbours.py precision, recall, density, coverage; how different drawings of one prompt are
copies.py     distances of drawings to the nearest training picture
diversity.py  bits that a prompt leaves open
codes.py      entropy and use of codes
text.py       how much text survives; rank correlation
statistics.py intervals of shares
features.py   KID, distance of features
mobilenet.py  the network that gives the features
"""
