"""The codec of songs."""
