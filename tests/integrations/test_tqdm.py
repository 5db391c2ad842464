"""tqdm, whose bar wraps the file that is sent."""

from __future__ import annotations

from io import BytesIO, StringIO

from tqdm import tqdm
from tqdm.utils import CallbackIOWrapper


def test_a_file_in_a_bar_is_sent_again_byte_for_byte(session, api, works_with, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)

    def upload():
        with path.open("rb") as file, tqdm(total=256_000, file=StringIO()) as bar:
            wrapped = CallbackIOWrapper(bar.update, file, "read")
            return session.put(f"{api.url}/upload", data=wrapped).json()["length"], bar.n

    # The bar counts what is read, and a replay reads the file twice.
    assert works_with(upload) == (256_000, 512_000)


def test_wrapattr_is_sent_again_byte_for_byte(session, api, works_with):
    def upload():
        with tqdm.wrapattr(BytesIO(b"x" * 50_000), "read", total=50_000, file=StringIO()) as body:
            return session.put(f"{api.url}/upload", data=body)

    assert works_with(upload).json()["length"] == 50_000


def test_a_download_in_a_bar_works(session, api, works_with):
    def download():
        with session.get(f"{api.url}/stream/100000", stream=True) as answer:
            bar = tqdm(answer.iter_content(8192), file=StringIO())
            return sum(len(piece) for piece in bar)

    assert works_with(download) == 100_000
