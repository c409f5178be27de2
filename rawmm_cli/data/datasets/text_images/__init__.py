"""Words in small letters, in the installed fonts: any number of pictures, without a download.

fonts.py    the fonts that can be used, and their measures
writing.py  what is written on picture n: real words, or words of random letters
drawing.py  the pixels of picture n, and the source
"""
