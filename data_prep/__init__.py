"""From files to token stores, one step a module; ``data_prep.audio`` chains them for sound."""
