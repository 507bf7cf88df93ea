"""Tables of data; see klein_doctor.recipe."""
