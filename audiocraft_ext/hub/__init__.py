"""A bundle goes to the Hugging Face Hub and comes from there: :func:`push`, :func:`pull`, and
``python -m audiocraft_ext.hub``. docs/HUB.md says what lies there and how it is checked.

Level 1; the library huggingface_hub is imported when the Hub is asked for something.
"""

from audiocraft_ext.hub.download import Pulled, pull
from audiocraft_ext.hub.upload import Pushed, contents, push

__all__ = ["Pulled", "Pushed", "contents", "pull", "push"]
