"""What tests share besides fixtures, which are in the `conftest.py` of each side."""
