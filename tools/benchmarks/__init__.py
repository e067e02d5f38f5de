"""What ``tools/benchmark.py`` runs: how to measure, how to report, and a file for each thing that is measured."""
