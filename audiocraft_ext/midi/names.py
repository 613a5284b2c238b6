"""The names of General MIDI's 128 programs and of their 16 families (General MIDI 1, the MIDI Association)."""

from __future__ import annotations

FAMILIES = ("piano", "chromatic", "organ", "guitar", "bass", "strings", "ensemble", "brass", "reed", "pipe", "lead",
            "pad", "effects", "ethnic", "percussive", "sounds")  # eight programs each
INSTRUMENTS = ("drums", *FAMILIES)  # what plays, as one asks for it
PROGRAMS = tuple("""acoustic grand piano, bright acoustic piano, electric grand piano, honky-tonk piano,
electric piano 1, electric piano 2, harpsichord, clavinet, celesta, glockenspiel, music box, vibraphone, marimba,
xylophone, tubular bells, dulcimer, drawbar organ, percussive organ, rock organ, church organ, reed organ, accordion,
harmonica, tango accordion, nylon guitar, steel guitar, jazz guitar, clean guitar, muted guitar, overdriven guitar,
distortion guitar, guitar harmonics, acoustic bass, finger bass, pick bass, fretless bass, slap bass 1, slap bass 2,
synth bass 1, synth bass 2, violin, viola, cello, contrabass, tremolo strings, pizzicato strings, harp, timpani,
string ensemble 1, string ensemble 2, synth strings 1, synth strings 2, choir aahs, voice oohs, synth voice,
orchestra hit, trumpet, trombone, tuba, muted trumpet, french horn, brass section, synth brass 1, synth brass 2,
soprano sax, alto sax, tenor sax, baritone sax, oboe, english horn, bassoon, clarinet, piccolo, flute, recorder,
pan flute, blown bottle, shakuhachi, whistle, ocarina, square lead, sawtooth lead, calliope lead, chiff lead,
charang lead, voice lead, fifths lead, bass and lead, new age pad, warm pad, polysynth pad, choir pad, bowed pad,
metallic pad, halo pad, sweep pad, rain, soundtrack, crystal, atmosphere, brightness, goblins, echoes, sci-fi, sitar,
banjo, shamisen, koto, kalimba, bagpipe, fiddle, shanai, tinkle bell, agogo, steel drums, woodblock, taiko drum,
melodic tom, synth drum, reverse cymbal, guitar fret noise, breath noise, seashore, bird tweet, telephone ring,
helicopter, applause, gunshot""".replace("\n", " ").split(", "))


def program_name(program: int) -> str:
    """Of a program from 0 to 127."""
    return PROGRAMS[program]


def program_named(text: str) -> int:
    """The program that ``text`` says: a number from 0, a name, the beginning of one (with a hyphen for a space), or a
    family (its first program; of basses the finger bass).

    Raises:
        ValueError: it is none.
    """
    text = text.strip().lower()
    if text.isdecimal() and int(text) < len(PROGRAMS):
        return int(text)
    if text in FAMILIES:
        return 33 if text == "bass" else 8 * FAMILIES.index(text)
    plain, names = text.replace("-", " "), [name.replace("-", " ") for name in PROGRAMS]
    found = [i for i, name in enumerate(names) if name == plain] or \
        [i for i, name in enumerate(names) if plain and name.startswith(plain)]
    if not found:
        raise ValueError(f"expected a program from 0 to 127, its name, or one of {', '.join(FAMILIES)}, got {text!r}")
    return found[0]
