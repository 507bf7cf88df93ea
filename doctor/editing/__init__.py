"""Files edited as a person would: one place changed, every other byte as it was. All pure."""
