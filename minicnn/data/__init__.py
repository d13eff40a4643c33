"""Data: readers, the parts for training, validation and test, and the loader of batches."""

from minicnn.data.arrays import from_arrays
from minicnn.data.dataset import DataError, Dataset, Normalization, Splits, normalization
from minicnn.data.images import read_image
from minicnn.data.loader import Augment, Loader, normalize
from minicnn.data.prepare import DigitError, PreparedDigit, prepare_digit
from minicnn.data.sources import NAMES, available, data_root, divide, load, whole_name

__all__ = [
    "NAMES",
    "Augment",
    "DataError",
    "Dataset",
    "DigitError",
    "Loader",
    "Normalization",
    "PreparedDigit",
    "Splits",
    "available",
    "data_root",
    "divide",
    "from_arrays",
    "load",
    "normalization",
    "normalize",
    "prepare_digit",
    "read_image",
    "whole_name",
]
