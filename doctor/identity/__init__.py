"""What a model file really is, told from its content: its header, its size, its digest."""
