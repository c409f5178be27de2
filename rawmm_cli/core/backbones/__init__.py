"""(B, L, D) -> (B, L, D) under a mask; one backbone a file, none knows another.

gau.py          gated attention units
transformer.py  multi-head attention and SwiGLU
"""
