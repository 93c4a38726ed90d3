"""A short film with sound, drawn and encoded here: nothing to download, nothing to license.

It is a fragmented MP4 (ISO/IEC 14496-12) with a segment index, as streaming players get it: each
second is a fragment that begins with a key frame, so a player can seek with one range request.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 640, 360
FRAMES_PER_S = 25
SAMPLES_PER_S = 48_000

_FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof+global_sidx"
_RADIUS = 36
_BAR = 12  # rows at the bottom that fill up as time passes
_TONE_HZ = 440.0
_BEEP_S = 0.12

Pixels = npt.NDArray[np.uint8]


def make_film(path: Path, seconds: int, progress: Callable[[int], None]) -> None:
    """Write a film of so many seconds; `progress` is told each second that is done.

    Raises OSError when the file cannot be written.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": _FRAGMENTED}) as film:
        picture = film.add_stream("libx264", rate=FRAMES_PER_S, options={"preset": "ultrafast"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        picture.gop_size = FRAMES_PER_S
        sound = film.add_stream("aac", rate=SAMPLES_PER_S, layout="mono")
        for second in range(seconds):
            for frame in range(FRAMES_PER_S):
                pixels = draw((second + frame / FRAMES_PER_S) / seconds)
                film.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            beep = av.AudioFrame.from_ndarray(make_beep(second), format="fltp", layout="mono")
            beep.sample_rate = SAMPLES_PER_S
            beep.time_base = Fraction(1, SAMPLES_PER_S)
            beep.pts = second * SAMPLES_PER_S
            film.mux(sound.encode(beep))
            progress(second + 1)
        film.mux(picture.encode(None))
        film.mux(sound.encode(None))


def draw(part: float) -> Pixels:
    """The picture at a part of the film, 0 to 1: a ball that bounces, a bar that fills up."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 0] = 24 + rows * 40 // HEIGHT
    picture[..., 1] = 32 + columns * 40 // WIDTH
    picture[..., 2] = 72
    bounces = part * 24 % 1
    x = _RADIUS + (WIDTH - 2 * _RADIUS) * abs(2 * (part * 6 % 1) - 1)
    y = _RADIUS + (HEIGHT - _BAR - 2 * _RADIUS) * (2 * bounces - 1) ** 2
    picture[(rows - y) ** 2 + (columns - x) ** 2 < _RADIUS**2] = (255, 196, 64)
    picture[HEIGHT - _BAR :, : round(WIDTH * part)] = (96, 208, 160)
    return picture


def make_beep(second: int) -> npt.NDArray[np.float32]:
    """The samples of one second, one channel: a short tone, an octave up every tenth second."""
    time = np.arange(SAMPLES_PER_S) / SAMPLES_PER_S
    hertz = _TONE_HZ * (1 if second % 10 else 2)
    wave = 0.2 * np.sin(2 * np.pi * hertz * time) * (time < _BEEP_S)
    return wave.astype(np.float32).reshape(1, -1)
