"""decodebench: run a grid of decoding strategies over one resident language model and compare quality with cost."""

__version__ = "0.1.0"
