"""Which way of re-using a pretrained VGG16 gives the best accuracy for the compute on your images."""

__version__ = "0.1.0"
