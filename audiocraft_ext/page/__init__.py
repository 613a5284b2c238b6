"""The page: instruments in a browser, without a server. :mod:`audiocraft_ext.page.build` writes it."""
