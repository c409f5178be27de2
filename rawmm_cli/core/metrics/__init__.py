"""Functions (images, reference) -> float: how near what came back is to what went in."""
