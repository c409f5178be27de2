"""One source a file; none imports another.

digits.py       the digits inside scikit-learn
portraits/      drawn portraits with exact attributes: any number
photos.py       crops of real photographs inside two packages
emoji.py        the installed emoji font, with names
text_images/    words in small letters: real ones in the installed fonts, or of random letters
pairs.py        pairs of digits or portraits, with questions whose answer no picture has alone
sums.py         sums of digits in pictures and words
folder.py       a folder of images and captions
parquet.py      Parquet files
webdataset.py   tar archives of samples
hub.py          sets of the hub, and local copies of them
documents.py    interleaved documents in JSON Lines
text.py         plain text files
"""
