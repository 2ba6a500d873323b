"""Files of ``torch.save`` before PyTorch 1.6, made by hand: right ones, damaged ones, ones that would run code."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.backbones.torch_files import in_keras_layout, read_torch
from harness.backbones.weight_tables import Expected
from harness.core.errors import WeightsError

MAGIC = 0x1950A86A20F9469CFC6C


class Global(NamedTuple):
    """A function or class by name."""

    module: str
    name: str


class Call(NamedTuple):
    """What unpickling calls."""

    function: Global
    arguments: tuple[Any, ...]


class Persistent(NamedTuple):
    """What the reader is asked for."""

    name: Any


def pickled(value: Any) -> bytes:
    """Return a whole pickle of protocol 2."""
    return b"\x80\x02" + opcodes(value) + b"."


def opcodes(value: Any) -> bytes:
    match value:
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return opcodes(function) + opcodes(arguments) + b"R"
        case Persistent(name):
            return opcodes(name) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(digits)]) + digits
        case str():
            return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case list():
            return b"](" + b"".join(map(opcodes, value)) + b"e"
        case dict():
            return b"}(" + b"".join(opcodes(key) + opcodes(part) for key, part in value.items()) + b"u"
    raise TypeError(value)


def stored(key: str, size: int, kind: str = "FloatStorage", view: Any = None) -> Persistent:
    return Persistent(("storage", Global("torch", kind), key, "cpu", size, view))


def tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Call:
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (storage, offset, shape, strides, False, hooks))


def torch_file(
    tensors: Any, numbers: dict[str, NDArray[Any]], *, magic: int = MAGIC, little_endian: bool = True
) -> bytes:
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    parts = [magic, 1001, system, tensors, list(numbers)]
    raw = b"".join(len(values).to_bytes(8, "little") + values.tobytes() for values in numbers.values())
    return b"".join(map(pickled, parts)) + raw


def saved(tensors: dict[str, NDArray[Any]]) -> bytes:
    """Return a file of these, each in a storage of its own with its own memory order."""
    kinds = {"f": "FloatStorage", "i": "LongStorage"}
    records, numbers = {}, {}
    for key, (name, values) in enumerate(tensors.items()):
        strides = tuple(step // values.itemsize for step in values.strides)
        records[name] = tensor(stored(str(key), values.size, kinds[values.dtype.kind]), 0, values.shape, strides)
        numbers[str(key)] = values.ravel(order="K")
    return torch_file(records, numbers)


KERNEL = np.arange(2 * 3 * 4 * 5, dtype="<f4").reshape(4, 5, 3, 2).transpose(3, 2, 0, 1)  # as from TensorFlow
WHOLE = {"conv.weight": KERNEL, "conv.bias": np.float32([1, 2]), "bn.num_batches_tracked": np.array(7, "<i8")}
NUMBERS = {"0": np.arange(12, dtype="<f4")}


def test_a_right_file_is_read_with_strides_in_any_order() -> None:
    found = read_torch(saved(WHOLE), "file")
    assert list(found) == list(WHOLE)
    for name, values in WHOLE.items():
        assert found[name].dtype == values.dtype and np.array_equal(found[name], values), name


def test_tensors_may_share_a_storage() -> None:
    content = torch_file(
        {"a": tensor(stored("0", 12), 0, (2, 3), (3, 1)), "b": tensor(stored("0", 12), 6, (3, 2), (1, 3))}, NUMBERS
    )
    found = read_torch(content, "file")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].tolist() == [[6, 9], [7, 10], [8, 11]]


def test_a_file_cut_short_anywhere_is_refused() -> None:
    content = saved(WHOLE)
    for end in range(0, len(content), 3):
        with pytest.raises(WeightsError, match=r"^wheel: file is not a whole file of torch\.save"):
            read_torch(content[:end], "wheel: file")


def test_no_damage_ends_in_another_error() -> None:
    whole, draws = saved(WHOLE), np.random.default_rng(0)
    refused = 0
    for _ in range(1000):
        content = bytearray(whole)
        content[int(draws.integers(len(content)))] ^= int(draws.integers(1, 256))
        try:
            read_torch(bytes(content), "file")
        except WeightsError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    "function",
    [
        ("builtins", "eval"),
        ("os", "mkdir"),
        ("posix", "mkdir"),
        ("collections", "Counter"),
        ("torch", "load"),
        ("torch", "DoubleStorage"),
        ("torch._utils", "_rebuild_tensor"),
    ],
)
@pytest.mark.parametrize("where", range(5))
def test_nothing_but_tensors_is_named(tmp_path: Path, function: tuple[str, str], where: int) -> None:
    parts = [b""] * where + [pickled(Call(Global(*function), (str(tmp_path / "made"),)))]
    right = [MAGIC, 1001, {"little_endian": True}, {}, []]
    content = b"".join(given or pickled(part) for given, part in zip([*parts, *[b""] * 5], right, strict=False))
    with pytest.raises(WeightsError, match=rf"it names {function[0]}\.{function[1]}, which is no tensor"):
        read_torch(content, "file")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (13,), (1,)),
        (1, (12,), (1,)),
        (-1, (2,), (1,)),
        (5, (3,), (-2,)),
        (0, (2, 7), (1, 2)),
        (0, (1000, 1000), (0, 0)),
        (0, (13, 1), (0, 1)),
        (0, (0,), (1,)),
        (0, (-2, -2), (1, 1)),
        (0, (2**62, 2), (2, 1)),
        (12, (), ()),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    content = torch_file({"a": tensor(stored("0", 12), offset, shape, strides)}, NUMBERS)
    with pytest.raises(WeightsError, match="tensor a reaches outside its storage"):
        read_torch(content, "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 as torch.save writes today", "not a whole file of torch.save before PyTorch 1.6"),
        (torch_file({}, {}, magic=MAGIC + 1), "another magic number"),
        (torch_file({}, {}, little_endian=False), "byte order"),
        (torch_file([1, 2], {}), "something else than tensors by name"),
        (torch_file({"epoch": 3}, {}), "something else than tensors by name"),
        (torch_file({"state": {"a": tensor(stored("0", 12), 0, (12,), (1,))}}, NUMBERS), "something else than tensors"),
        (torch_file({"a": tensor(stored("1", 12), 0, (12,), (1,))}, NUMBERS), "storages are not those of its tensors"),
        (torch_file({"a": tensor(stored("0", 11), 0, (11,), (1,))}, NUMBERS), "storage 0 is cut short or of another"),
        (torch_file({"a": tensor(stored("0", -1), 0, (1,), (1,))}, NUMBERS), "storage 0 is cut short or of another"),
        (torch_file({"a": tensor(3, 0, (12,), (1,))}, NUMBERS), "without storage, shape and strides"),
        (torch_file({"a": tensor(stored("0", 12), 0, (12,), (1, 1))}, NUMBERS), "without storage, shape and strides"),
        (torch_file({"a": tensor(stored("0", 12), "x", (12,), (1,))}, NUMBERS), "without storage, shape and strides"),
        (torch_file({"a": tensor(stored("0", 12, view=("x", 0, 3)), 0, (3,), (1,))}, NUMBERS), "no whole storage"),
    ],
)
def test_another_file_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_torch(content, "file")


def expected(*shapes: tuple[int, ...]) -> tuple[Expected, ...]:
    return tuple(Expected("part", shape, "") for shape in shapes)


def test_tensors_are_matched_in_order_with_the_axes_of_keras() -> None:
    draws = np.random.default_rng(0)
    arrays = {
        "conv.weight": draws.normal(size=(8, 3, 5, 5)).astype("f4"),
        "bn.weight": np.float32(range(8)),
        "bn.bias": np.float32(range(10, 18)),
        "bn.running_mean": np.float32(range(20, 28)),
        "bn.running_var": np.float32(range(30, 38)),
        "bn.num_batches_tracked": np.array(0),
        "dw.weight": draws.normal(size=(16, 1, 3, 3)).astype("f4"),
        "fc.weight": draws.normal(size=(2, 16)).astype("f4"),
        "fc.bias": np.float32([1, 2]),
        "top.weight": draws.normal(size=(10, 2)).astype("f4"),
    }
    table = {
        "conv": expected((5, 5, 3, 8)), "bn": expected((8,), (8,), (8,), (8,)), "dw": expected((3, 3, 8, 2)),
        "fc": expected((16, 2), (2,)),
    }  # fmt: skip
    found = in_keras_layout(arrays, table)
    assert {layer: [part.shape for part in parts] for layer, parts in found.items()} == {
        layer: [part.shape for part in parts] for layer, parts in table.items()
    }
    assert found["conv"][0][1, 2, 0, 7] == arrays["conv.weight"][7, 0, 1, 2]
    assert [part[0] for part in found["bn"]] == [0, 10, 20, 30]
    assert found["dw"][0][0, 2, 3, 1] == arrays["dw.weight"][7, 0, 0, 2]  # the second of the two of channel 3
    assert np.array_equal(found["fc"][0], arrays["fc.weight"].T)


def test_a_network_with_more_layers_than_the_file_finds_nothing_for_them() -> None:
    found = in_keras_layout({"a": np.float32([1, 2])}, {"a": expected((2,)), "b": expected((2,), (2,))})
    assert [len(parts) for parts in found.values()] == [1, 0]
