"""From files to token stores, one step a module; ``data_prep.audio`` chains them for sound."""

import audiocraft_ext  # noqa: F401  before any library that would tell its maker
