from .decode import (
    MAX_MEGAPIXELS as MAX_MEGAPIXELS,
    Picture as Picture,
    decode_exact as decode_exact,
    decode_fit as decode_fit,
)
