"""A differential fuzzer (``make fuzz``): what the scanner accepts, five readers read alike."""
