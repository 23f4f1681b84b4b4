"""Small named pieces of NumPy that definitions are written with."""
