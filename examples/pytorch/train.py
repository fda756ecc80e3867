"""A PyTorch trainer that keeps the file contract (docs/file-contract.md), with checkpoints, and without perennial_runtime.

A small network over one matrix: numbers as they are, texts by embeddings. `front` puts what torch.onnx cannot export before it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import torch
from front import MATRIX, Column, Number, Text, in_front, matrix
from torch import nn

BASE = Path(os.environ.get("PERENNIAL_ROOT", "/")) / "perennial"  # PERENNIAL_ROOT: only where perennial_runtime.check runs it
MOST_TEXTS = 200
WIDTH, EMBEDDED, BATCH = 32, 4, 256


class Network(nn.Module):
    """[N, features] -> [N], the probability of class 1."""

    def __init__(self, columns: list[Column]) -> None:
        super().__init__()
        self.numbers = [place for place, column in enumerate(columns) if isinstance(column, Number)]
        self.texts = [place for place, column in enumerate(columns) if isinstance(column, Text)]
        known = [len(column.known) + 1 for column in columns if isinstance(column, Text)]
        self.embeddings = nn.ModuleList(nn.Embedding(count, EMBEDDED) for count in known)
        wide = len(self.numbers) + EMBEDDED * len(self.texts)
        self.layers = nn.Sequential(nn.Linear(wide, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        parts = [rows[:, self.numbers]]
        parts += [embed(rows[:, place].long()) for embed, place in zip(self.embeddings, self.texts, strict=True)]
        return torch.sigmoid(self.layers(torch.cat(parts, dim=1))).squeeze(1)


def described(frame: pl.DataFrame, features: list[dict[str, str]]) -> list[Column]:
    """What the training rows say of each feature."""
    columns: list[Column] = []
    for feature in features:
        values = frame[feature["name"]].drop_nulls()
        if feature["kind"] == "numeric":
            columns.append(Number(feature["name"], values.mean() or 0.0, values.std() or 1.0))
        else:
            known = values.value_counts(sort=True)[feature["name"]].head(MOST_TEXTS).to_list()
            columns.append(Text(feature["name"], tuple(sorted(known))))
    return columns


def fit(network: Network, rows: torch.Tensor, labels: torch.Tensor, epochs: int, out: Path) -> None:
    """Each epoch leaves a line of progress and a checkpoint; an attempt after an eviction goes on from it."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    checkpoint, begin = out / "checkpoint" / "state.pt", 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        begin = state["epoch"]
    checkpoint.parent.mkdir(exist_ok=True)
    for epoch in range(begin, epochs):
        total = 0.0
        for batch in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            loss = nn.functional.binary_cross_entropy(network(rows[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        with (out / "progress.jsonl").open("a") as lines:
            lines.write(json.dumps({"step": epoch + 1, "of": epochs, "loss": total / len(labels)}) + "\n")
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        torch.save(state, out / "state.part")
        (out / "state.part").rename(checkpoint)  # a process that is killed while it writes leaves no half of one


def export(network: Network, columns: list[Column], out: Path) -> None:
    """model.onnx: the network, exported for any number of rows, with `front` before it."""
    network.eval().cpu()
    part = out / "body.part"
    example = torch.zeros(2, len(columns))
    torch.onnx.export(
        network,
        (example,),
        part,
        input_names=[MATRIX],
        output_names=["score"],
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        external_data=False,
        verbose=False,
    )
    model = in_front(columns, onnx.load(part))
    part.unlink()
    onnx.checker.check_model(model)
    (out / "model.onnx").write_bytes(model.SerializeToString())


def main() -> None:
    """Read, fit, export, and write the scores that the export is compared with."""
    params = json.loads((BASE / "params.json").read_text())
    frame = pl.read_parquet(BASE / "data" / "train.parquet")
    out, device = BASE / "out", "cuda" if os.environ.get("PERENNIAL_DEVICE") == "gpu" else "cpu"
    torch.manual_seed(params["seed"])
    columns = described(frame, params["features"])
    rows = matrix(columns, {column.name: frame[column.name].to_list() for column in columns})
    labels = frame[params["label"]].to_numpy().astype(np.float32)

    network = Network(columns).to(device)
    epochs = int(params["hyperparameters"].get("epochs", 20))
    fit(network, torch.from_numpy(rows).to(device), torch.from_numpy(labels).to(device), epochs, out)
    export(network, columns, out)
    sample = torch.from_numpy(rows[: params["parity"]["rows"]])
    with torch.no_grad():
        scores = network(sample).numpy().astype(np.float64)
    pl.DataFrame({"row": np.arange(len(scores)), "score": scores}).write_parquet(out / "parity.parquet")


if __name__ == "__main__":
    main()
