"""How much a whole set of texts varies: how well it compresses, and how many directions its embeddings take."""

import gzip
import unicodedata
from collections.abc import Sequence

import numpy as np

from decodebench.stats import Array

GZIP_LEVEL = 6
# gzip finds only what was said within the last 32 KiB, so the order of the texts matters, and smaller sets than a few
# times this compress worse for being small.


def compression_ratio(texts: Sequence[str]) -> float | None:
    """UTF-8 bytes of the texts / their bytes after gzip; low is diverse, below 1 for very short sets.

    Shaib et al. 2024 ("Standardizing the measurement of text diversity"; they join by spaces). The texts are in Unicode
    form NFC, joined by newlines in the order given, and compressed at level 6 without a time stamp, so that equal texts
    give equal bytes with one build of zlib. None where there is no character.
    """
    data = unicodedata.normalize("NFC", "\n".join(texts)).encode("utf-8", "surrogatepass")
    if not data.strip(b"\n"):
        return None
    return len(data) / len(gzip.compress(data, GZIP_LEVEL, mtime=0))


def vendi_score(embeddings_ND: Array) -> float | None:
    """How many different texts the embeddings (N texts, D dimensions) come to, 1 to min(N, D); high is diverse.

    Friedman & Dieng 2023: exp of the entropy of the eigenvalues of K / N, where K are the cosines of all pairs. None
    for no text, and where an embedding has no direction (norm zero) or is not finite.
    """
    embeddings_ND = np.asarray(embeddings_ND, dtype=np.float64)
    norms_N = np.linalg.norm(embeddings_ND, axis=-1)
    if not len(norms_N) or not (np.isfinite(norms_N) & (norms_N > 0)).all():
        return None
    unit_ND = embeddings_ND / norms_N[:, None]
    texts, dimensions = unit_ND.shape
    # The products X X' and X' X have the same eigenvalues except zeros: take the smaller.
    product = unit_ND @ unit_ND.T if texts <= dimensions else unit_ND.T @ unit_ND
    eigenvalues = np.linalg.eigvalsh(product / texts)
    kept = eigenvalues[eigenvalues > 0]  # zeros add nothing to the entropy; rounding makes some of them negative
    # Rounding must not leave the range, which says that one text is one text.
    return float(np.clip(np.exp(-(kept * np.log(kept)).sum()), 1, min(texts, dimensions)))
