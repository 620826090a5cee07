"""The usual pipeline: PyTorch Geometric's convolutions over per-graph objects."""

from __future__ import annotations

import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import ResGatedGraphConv, global_mean_pool


class PyGResGatedGCN(nn.Module):
    def __init__(self, operations, hidden, layers):
        super().__init__()
        self.embed = nn.Linear(operations, hidden)
        self.convs = nn.ModuleList(ResGatedGraphConv(hidden, hidden) for _ in range(layers))

    def forward(self, data):
        x0 = x = self.embed(data.x)
        for conv in self.convs:
            x = torch.relu(0.2 * x0 + 0.8 * conv(x, data.edge_index))
        return global_mean_pool(x, data.batch)

    def load_from(self, encoder):
        """Take the weights of archflow's encoder."""
        self.embed.load_state_dict(encoder.embed.state_dict())
        for conv, ours in zip(self.convs, encoder.convs, strict=True):
            key, query, skip, value = ours.weight.chunk(4)
            key_bias, query_bias, skip_bias, value_bias = ours.bias.chunk(4)
            conv.load_state_dict(
                {
                    "lin_key.weight": key,
                    "lin_key.bias": key_bias,
                    "lin_query.weight": query,
                    "lin_query.bias": query_bias,
                    "lin_value.weight": value,
                    "lin_value.bias": value_bias,
                    "lin_skip.weight": skip,
                    "bias": skip_bias,
                }
            )
        return self


def as_data(names, edges, vocabulary):
    """One graph as the usual pipelines store it: one-hot operations, edges in both directions."""
    operations = torch.tensor([vocabulary.index(name) for name in names])
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
    return Data(
        x=nn.functional.one_hot(operations, len(vocabulary)).float(),
        edge_index=torch.cat([edge_index, edge_index.flip(0)], dim=1),
    )
