"""The verified test generation: kernels proven, pictures made on either route, judged, recorded."""
