"""The test suite; a package so that another `tests` in site-packages does not get in its way."""
