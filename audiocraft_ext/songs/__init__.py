"""Songs of BeepBox: a kind of codes (:mod:`audiocraft_ext.kinds`). What is shared by all kinds knows nothing of
them."""
