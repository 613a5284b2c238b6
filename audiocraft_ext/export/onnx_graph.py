"""A small builder for ONNX graphs whose weights stay where they are, in a safetensors file.

ONNX lets an initialiser point into another file by offset and length; a safetensors file is a header and raw
tensors. So one set of weights on disk serves the ONNX graphs and everything that reads safetensors.
Used at export only.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from audiocraft_ext.model.weights import SCALE

OPSET = 20  # the first with Gelu
IR_VERSION = 10
_TYPES = {"F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "I8": TensorProto.INT8, "U8": TensorProto.UINT8}


def read_header(path: Path) -> tuple[dict[str, dict], int]:
    """The entries of a safetensors file (``dtype``, ``shape``, ``data_offsets``) and where its data begins."""
    with open(path, "rb") as f:
        size = int.from_bytes(f.read(8), "little")
        entries = json.loads(f.read(size))
    entries.pop("__metadata__", None)
    return entries, 8 + size


class Graph:
    """Nodes in the order they are added; values are known by their names (strings)."""

    def __init__(self, name: str, weights: Path):
        self.name, self.weights = name, weights
        self.entries, self._base = read_header(weights)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._floats: dict[str, str] = {}
        self.metadata: dict[str, str] = {}

    def input(self, name: str, elem_type: int, shape: list) -> str:
        """Declare an input; a string in ``shape`` is a size known at run time only."""
        self._inputs.append(helper.make_tensor_value_info(name, elem_type, shape))
        return name

    def output(self, value: str, name: str, elem_type: int, shape: list) -> None:
        """Declare ``value`` as the output ``name``."""
        if value != name:
            self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, elem_type, shape))

    def op(self, kind: str, *inputs: str, outputs: list[str] | int = 1, domain: str = "", **attributes):
        """Add a node; returns the name of its output, or a list of names when there are several."""
        stem = f"{kind.lower()}_{len(self._nodes)}"
        names = outputs if isinstance(outputs, list) else [f"{stem}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=stem, domain=domain, **attributes))
        return names[0] if len(names) == 1 else names

    def constant(self, value) -> str:
        """A small array kept in the graph itself; equal ones are kept once."""
        array = np.asarray(value)
        tensor = numpy_helper.from_array(array)
        name = f"c_{array.dtype}_{'x'.join(map(str, array.shape))}_{zlib.crc32(array.tobytes()):08x}"
        tensor.name = name
        self._constants[name] = tensor
        return name

    def stored(self, name: str) -> str:
        """A weight as it lies in the file."""
        if name not in self._constants:
            entry = self.entries[name]
            tensor = TensorProto(name=name, data_type=_TYPES[entry["dtype"]], dims=entry["shape"],
                                 data_location=TensorProto.EXTERNAL)
            begin, end = entry["data_offsets"]
            place = {"location": self.weights.name, "offset": self._base + begin, "length": end - begin}
            for key, value in place.items():
                tensor.external_data.add(key=key, value=str(value))
            self._constants[name] = tensor
        return name

    def weight(self, name: str) -> str:
        """A weight as fp32. The Cast of a stored fp16, and what makes an int8 with its scale that, is done once, when
        ONNX Runtime loads the graph."""
        stored = self.stored(name)
        if self.entries[name]["dtype"] == "F32":
            return stored
        if name not in self._floats:
            self._floats[name] = self.op("Cast", stored, to=TensorProto.FLOAT)
            if (scale := name + SCALE) in self.entries:
                column = self.op("Unsqueeze", self.stored(scale), self.constant(np.array([1])))
                self._floats[name] = self.op("Mul", self._floats[name], column)
        return self._floats[name]

    def shape(self, name: str) -> list[int]:
        return self.entries[name]["shape"]

    def save(self, path: Path) -> None:
        """Check the graph and write it beside its weights."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="micro-musicgen")
        helper.set_model_props(model, self.metadata)
        path.write_bytes(model.SerializeToString())
