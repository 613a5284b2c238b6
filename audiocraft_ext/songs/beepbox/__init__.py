"""BeepBox's songs (https://www.beepbox.co, MIT), read and written as its JSON and as its URLs. A :class:`song.Song` is
what all of these say of the notes; instruments are not kept."""
