"""The report page and tables for notebooks: DataFrames come in, HTML goes out."""
