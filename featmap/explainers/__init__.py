"""Which part of an image made a model answer so: one method a file, each registered in EXPLAINERS."""
