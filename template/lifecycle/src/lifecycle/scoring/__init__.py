"""Batch prediction: from a population or a file to Parquet, in bounded memory."""
