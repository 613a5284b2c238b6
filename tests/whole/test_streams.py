"""Who listens makes no difference to what is made: closed streams, pipes whose reader has gone, few letters; and pipes
as what is read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile as sf

from tests.helpers import tiny

ROOT = Path(__file__).parents[2]
GROOVE = ROOT / "tests" / "data" / "groove" / "drummer2-2-2_rock_130_beat_4-4.mid"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="descriptors and pipes as POSIX has them")


def shell(line: str, *words: object, **env: str) -> subprocess.CompletedProcess:
    """``line`` of bash, in which "$@" is ``python *words``."""
    return subprocess.run(["bash", "-o", "pipefail", "-c", line, "bash", sys.executable, *map(str, words)], cwd=ROOT,
                          capture_output=True, text=True, timeout=120, env=os.environ | env)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny.tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny", context=100)


@pytest.mark.parametrize("how", ['"$@" >&-', '"$@" 2>&-', '"$@" <&- >&- 2>&-', '"$@" | true', '"$@" 2>&1 | true'])
def test_the_clip_is_made_whoever_listens(how, bundle, tmp_path):
    done = shell(how, "infer.py", bundle, "-n", 2, "-d", 1, "--seed", 1, "-o", tmp_path)
    assert done.returncode == 0 and "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert len(list(tmp_path.glob("*.wav"))) == len(list(tmp_path.glob("*.json"))) == 2
    assert all(sf.info(path).frames == 32_000 for path in tmp_path.glob("*.wav"))


@pytest.mark.parametrize("how", ['"$@" >&- 2>&-', '"$@" 2>&1 | true'])
def test_a_store_is_made_whoever_listens(how, tmp_path):
    done = shell(how, "-m", "data_prep.midi", GROOVE.parent, tmp_path / "store", "--workers", "2")
    assert done.returncode == 0 and (tmp_path / "store" / "store.json").is_file()


def test_letters_that_a_stream_does_not_know_are_escaped(bundle, tmp_path):
    done = shell('"$@"', "infer.py", bundle, "-d", 1, "--seed", 1, "-o", tmp_path / "日本", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0 and r"\u65e5\u672c" in done.stdout and not done.stderr
    assert len(list((tmp_path / "日本").glob("*.wav"))) == 1


def test_a_full_disk_behind_the_lines_is_one_line(bundle, tmp_path):
    done = shell('"$@" > /dev/full', "infer.py", bundle, "-d", 1, "--seed", 1, "-o", tmp_path)
    assert done.returncode == 2 and done.stderr == "error: No space left on device\n"


def test_sound_on_a_closed_output_is_an_error(bundle):
    done = shell('"$@" >&-', "infer.py", bundle, "-d", 1, "--seed", 1, "--stream", "-")
    assert done.returncode == 2 and "error: cannot write -: Bad file descriptor" in done.stderr


def test_pipes_and_the_standard_input_are_prompts(tmp_path):
    sound = ROOT / "data_prep" / "breaks"
    sound = sorted(sound.rglob("*.flac"))[0]
    words = ("infer.py", "-d", 1.5, "--seed", 1, "--prompt-seconds", 1)
    for name, line, prompt in (("file", '"$@"', sound), ("pipe", 'cat "$IN" | "$@"', "-"),
                               ("stdin", 'cat "$IN" | "$@"', "/dev/stdin"), ("opened", '"$@" < "$IN"', "-"),
                               ("named", '"$@" --prompt <(cat "$IN")', None)):
        done = shell(line, *words, "-o", tmp_path / name, *(["--prompt", prompt] if prompt else []), IN=str(sound))
        assert done.returncode == 0, done.stderr
    made = {path.read_bytes() for path in tmp_path.rglob("*.wav")}
    assert len(list(tmp_path.rglob("*.wav"))) == 5 and len(made) == 1


def test_pipes_of_beats(tmp_path):
    words = ("infer.py", "drums", "--seed", 1, "--bars", 2)
    for name, line, prompt in (("file", '"$@"', GROOVE), ("pipe", 'cat "$IN" | "$@"', "-")):
        done = shell(line, *words, "-o", tmp_path / name, "--humanise", prompt, IN=str(GROOVE))
        assert done.returncode == 0, done.stderr
    assert len({path.read_bytes() for path in tmp_path.rglob("*.mid")}) == 1


@pytest.mark.parametrize("kind, words", [("clip", ("-d", 1)), ("beat", ("drums", "--bars", 2))])
def test_a_json_to_make_again_may_come_through_a_pipe(kind, words, tmp_path):
    made = shell('"$@"', "infer.py", *words, "--seed", 1, "-o", tmp_path / "first")
    assert made.returncode == 0, made.stderr
    [json] = (tmp_path / "first").glob("*.json")
    for name, line in (("pipe", 'cat "$IN" | "$@" --from -'), ("equals", 'cat "$IN" | "$@" --from=-'),
                       ("stdin", 'cat "$IN" | "$@" --from /dev/stdin'),
                       ("opened", '"$@" --from - < "$IN"'), ("named", '"$@" --from <(cat "$IN")')):
        done = shell(line, "infer.py", "-o", tmp_path / name, IN=str(json))
        assert done.returncode == 0 and "not the same" not in done.stderr, done.stderr
    assert len({json.read_bytes() for json in tmp_path.rglob("*.json")}) == 1
    sounds = [path.read_bytes() for path in tmp_path.rglob("*.wav" if kind == "clip" else "*.mid")]
    assert len(sounds) == 6 and len(set(sounds)) == 1


@pytest.mark.parametrize("line, said", [
    ('echo "{}" | "$@" --from -', "-: "), ('"$@" --from /dev/null', "/dev/null: the JSON of --from is a terminal or"),
    ('"$@" --from /tmp', "/tmp: the JSON of --from is a folder; expected the JSON that lies beside a clip"),
    ('"$@" --from nowhere.json', "nowhere.json: ")])
def test_what_is_no_json_to_make_again(line, said, tmp_path):
    done = shell(line, "infer.py", "-o", tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {said}") and len(done.stderr.splitlines()) == 1
    assert "piped" not in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.parametrize("prompt, said", [("/dev/zero", "is a terminal or a device"), ("/tmp", "is a folder"),
                                          ("nowhere.wav", "is not there")])
def test_what_is_no_prompt(prompt, said, bundle):
    done = shell('"$@"', "infer.py", bundle, "--prompt", prompt)
    assert done.returncode == 2 and f"{prompt}: the prompt {said}; expected a sound file" in done.stderr
