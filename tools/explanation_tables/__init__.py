"""Images, maps, records and tables of ``tools/evaluate_explanations.py``."""
