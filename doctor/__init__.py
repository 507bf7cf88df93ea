"""klein-doctor: from any machine to a verified FLUX.2 [klein] 4B image, or the reason why not."""

__version__ = "0.1.0"
