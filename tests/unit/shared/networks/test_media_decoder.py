import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import psutil
import pytest
from PIL import Image

from shared.networks.media import NOT_AN_IMAGE
from shared.networks.media_decoder import BEYOND_LIMITS, Decoded, EncodedMedia, MediaDecoder, decode_all
from shared.networks.preprocessing import RefusedValueError


def picture(width: int, height: int, mode: str = "RGB") -> EncodedMedia:
    out = BytesIO()
    Image.new(mode, (width, height)).save(out, "PNG")
    return EncodedMedia("image", out.getvalue())


SMALL, LARGE, DAMAGED = picture(8, 8), picture(4000, 3900), EncodedMedia("image", b"\x89PNG and no more")
SLOW = picture(4000, 3900, "I;16")


@pytest.fixture
def decoder() -> Iterator[MediaDecoder]:
    with MediaDecoder() as decode:
        decode.warm_up()
        yield decode


def told(decoded: list[Decoded]) -> list[str]:
    return [one.reason if isinstance(one, RefusedValueError) else "decoded" for one in decoded]


def child() -> int:
    (process,) = multiprocessing.active_children()
    assert process.pid is not None
    return process.pid


def test_decodes_in_a_child_what_it_decodes_here(decoder: MediaDecoder) -> None:
    assert told(decoder([SMALL, DAMAGED, SMALL])) == ["decoded", NOT_AN_IMAGE, "decoded"]
    np.testing.assert_array_equal(np.asarray(decoder([SMALL])[0]), np.asarray(decode_all([SMALL])[0]))
    assert decoder([]) == []


def test_what_takes_too_much_memory_is_refused_alone() -> None:
    with MediaDecoder(memory_bytes=40 * 2**20) as decode:
        assert told(decode([SMALL, LARGE, SMALL])) == ["decoded", BEYOND_LIMITS, "decoded"]
        assert told(decode([SMALL])) == ["decoded"]


def test_what_takes_too_long_is_refused() -> None:
    with MediaDecoder(seconds=0.05) as decode:
        decode.warm_up()
        assert told(decode([SLOW])) == [BEYOND_LIMITS]


def test_replaces_a_child_that_does_not_answer() -> None:
    with MediaDecoder(wait_seconds=5.0) as decode:
        decode.warm_up()
        os.kill(child(), signal.SIGSTOP)
        assert told(decode([SMALL])) == ["decoded"]


def test_gives_a_child_that_is_starting_the_time_that_takes() -> None:
    with MediaDecoder(wait_seconds=0.001) as decode:
        decode.warm_up()
        # The first child is taken for stuck, and the one in its place is asked before it runs.
        assert told(decode([SMALL])) == ["decoded"]


def test_goes_on_when_the_child_dies_between_batches(decoder: MediaDecoder) -> None:
    os.kill(child(), signal.SIGKILL)
    assert told(decoder([SMALL, SMALL])) == ["decoded", "decoded"]


def test_decodes_again_what_a_dying_child_was_at(decoder: MediaDecoder) -> None:
    decoder.warm_up()
    killer = threading.Timer(0.15, os.kill, (child(), signal.SIGKILL))
    killer.start()
    assert told(decoder([LARGE, LARGE, SMALL])) == ["decoded", "decoded", "decoded"]
    killer.join()


def test_the_child_ends_with_its_parent() -> None:
    code = (
        "import multiprocessing, os, signal\n"
        "from shared.networks.media_decoder import MediaDecoder\n"
        "if __name__ == '__main__':\n"
        "    decode = MediaDecoder()\n"
        "    decode.warm_up()\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert parent.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(parent.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
