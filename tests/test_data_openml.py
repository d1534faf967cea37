"""Floor 5: the loading of MNIST and its like, against a small reply in OpenML's format, served by this machine to itself."""

import gzip
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch
from sklearn.datasets import _openml

from tinyldm import data
from tinyldm.data import openml
from tinyldm.data.openml import Source

TRAIN, TEST = 20, 10
SMALL = {"mnist": Source(554, (1, 4, 4), TRAIN, TEST), "cifar10": Source(40927, (3, 2, 4), TRAIN, TEST)}


def table(name):
    """Rows of the small data set: random bytes and labels that all occur."""
    rng = np.random.default_rng(len(name))
    pixels = rng.integers(0, 256, (TRAIN + TEST, int(np.prod(SMALL[name].shape))))
    return pixels, rng.permutation(np.arange(TRAIN + TEST) % 10)


def replies(name, pixels, labels):
    """What OpenML answers to the four questions that scikit-learn asks, by path: recorded answers, cut down."""
    number, width = SMALL[name].number, pixels.shape[1]
    flags = {"is_target": "false", "is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
    features = [{"index": str(i), "name": f"pixel{i + 1}", "data_type": "numeric", **flags} for i in range(width)]
    digits = [str(k) for k in range(10)]
    features.append(
        {"index": str(width), "name": "class", "data_type": "nominal", "nominal_values": digits, **flags, "is_target": "true"}
    )
    lines = [
        f"@RELATION {name}",
        *(f"@ATTRIBUTE pixel{i + 1} real" for i in range(width)),
        f"@ATTRIBUTE class {{{','.join(digits)}}}",
        "@DATA",
    ]
    lines += [",".join(map(str, [*row, label])) for row, label in zip(pixels, labels)]
    arff = "\n".join(lines).encode()
    description = {
        "id": str(number), "name": name, "version": "1", "description": "recorded", "format": "ARFF", "status": "active",
        "url": f"https://www.openml.org/data/v1/download/{number}/{name}.arff", "md5_checksum": hashlib.md5(arff).hexdigest(),
    }  # fmt: skip
    return {
        f"/api/v1/json/data/{number}": json.dumps({"data_set_description": description}).encode(),
        f"/api/v1/json/data/features/{number}": json.dumps({"data_features": {"feature": features}}).encode(),
        f"/api/v1/json/data/qualities/{number}": json.dumps(
            {"data_qualities": {"quality": [{"name": "NumberOfInstances", "value": f"{len(pixels)}.0"}]}}
        ).encode(),
        f"/data/v1/download/{number}/{name}.arff": arff,
    }


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine that stands in for OpenML: its pages by path, and the paths that were asked for."""
    pages, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = gzip.compress(pages.get(self.path, b""))
            self.send_response(200 if self.path in pages else 404)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()

    def local(request, *args, **options):
        return urlopen(
            Request(f"http://127.0.0.1:{httpd.server_port}{request.selector}", headers=request.headers), *args, **options
        )

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(_openml, "urlopen", local)
    monkeypatch.setattr(_openml.time, "sleep", lambda seconds: None)  # between tries
    for name in SMALL:
        monkeypatch.setitem(openml.SOURCES, name, SMALL[name])
        pages |= replies(name, *table(name))
    yield pages, asked
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.mark.parametrize("name", SMALL)
def test_pictures_and_labels_are_those_that_were_sent(name, server, tmp_path):
    pixels, labels = table(name)
    images = (pixels / 127.5 - 1).reshape(-1, *SMALL[name].shape)
    for split, rows in (("train", slice(TRAIN)), ("test", slice(TRAIN, None))):
        columns = data.load(name, split, data_home=tmp_path).tensors
        assert (columns["image"].dtype, columns["label"].dtype) == (torch.float32, torch.int64)
        np.testing.assert_allclose(columns["image"], images[rows], atol=1e-6)
        np.testing.assert_array_equal(columns["label"], labels[rows])


def test_it_is_fetched_once_and_then_read_without_a_network(server, tmp_path):
    _, asked = server
    first = data.load("mnist", data_home=tmp_path).tensors
    assert len(asked) == len(set(asked)) == 4
    server[0].clear()
    again = data.load("mnist", data_home=tmp_path).tensors
    assert len(asked) == 4
    assert torch.equal(first["image"], again["image"])
    assert [f.name for f in (tmp_path / "tinyldm").iterdir()] == ["mnist.safetensors"]


def test_the_data_folder_is_scikit_learn_s(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    data.load("mnist")
    assert (tmp_path / "tinyldm" / "mnist.safetensors").exists()


def test_size_and_number_can_be_chosen(server, tmp_path):
    whole = data.load("cifar10", data_home=tmp_path).tensors
    part = data.load("cifar10", size=8, n=5, data_home=tmp_path).tensors
    assert part["image"].shape == (5, 3, 8, 8)
    assert torch.equal(part["label"], whole["label"][:5])
    assert part["image"].abs().max() <= 1
    with pytest.raises(ValueError, match="n: expected a whole number from 1 to 10, got 11"):
        data.load("cifar10", "test", n=11, data_home=tmp_path)


@pytest.mark.filterwarnings("ignore:A network error occurred", "ignore:Invalid cache")
@pytest.mark.parametrize(
    "error", [URLError("no route to host"), TimeoutError("timed out"), ConnectionResetError("reset by peer")]
)
def test_without_a_network_the_message_says_what_to_do_and_nothing_is_left_behind(error, server, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr(_openml, "urlopen", offline)
    with pytest.raises(ConnectionError) as caught:
        data.load("mnist", data_home=tmp_path)
    said = str(caught.value)
    assert said.startswith("mnist: OpenML could not be reached")
    assert "with a network" in said
    assert str(tmp_path) in said
    assert '"digits"' in said
    assert not [f for f in tmp_path.rglob("*") if f.is_file()]


@pytest.mark.filterwarnings("ignore:A network error occurred", "ignore:Invalid cache")
def test_a_server_that_is_broken_is_a_network_that_is_not_there(server, tmp_path):
    server[0].clear()
    with pytest.raises(ConnectionError, match=r"mnist: OpenML could not be reached .*404"):
        data.load("mnist", data_home=tmp_path)


def damage(pages, change):
    pixels, labels = table("mnist")
    pages |= replies("mnist", *change(pixels.copy(), labels.copy()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (x[:-1], y[:-1]), r"mnist: expected one of shape \(30, 16\), got a table of shape \(29, 16\)"),
        (lambda x, y: (x[:, :-1], y), r"mnist: expected one of shape \(30, 16\), got a table of shape \(30, 15\)"),
        (lambda x, y: (x + 1, y), "mnist: expected pixels that are whole numbers from 0 to 255"),
        (lambda x, y: (x - 0.5, y), "mnist: expected pixels that are whole numbers from 0 to 255"),
        (lambda x, y: (x, np.minimum(y, 8)), "mnist: expected the labels 0 to 9, got .*7, 8]"),
    ],
)
def test_another_table_than_the_one_asked_for_is_refused_and_not_kept(change, said, server, tmp_path):
    damage(server[0], change)
    with pytest.raises(ValueError, match=said):
        data.load("mnist", data_home=tmp_path)
    assert not (tmp_path / "tinyldm").exists()


@pytest.mark.filterwarnings("ignore:Invalid cache")
def test_a_file_that_changed_on_the_way_is_refused(server, tmp_path):
    pages, _ = server
    pages["/data/v1/download/554/mnist.arff"] += b"\n"
    with pytest.raises(ValueError, match="md5 checksum"):
        data.load("mnist", data_home=tmp_path)


def test_a_damaged_copy_is_named(server, tmp_path):
    data.load("mnist", data_home=tmp_path)
    kept = tmp_path / "tinyldm" / "mnist.safetensors"
    kept.write_bytes(kept.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"mnist\.safetensors is truncated"):
        data.load("mnist", data_home=tmp_path)
