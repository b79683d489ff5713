# SPDX-License-Identifier: Apache-2.0
"""The one-layer transformer of Nanda et al. 2023 for modular addition, as an ordinary LightningModule."""

from typing import Any

import lightning as L
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_interp.core.shapes import Float, Int, Tensor


class LastTokenAttention(nn.Module):
    """Multi-head attention read at the last position, where it equals full or causal attention of one layer.

    Args:
        d_model: Width of the residual stream.
        n_heads: Number of heads; divides `d_model`.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, stream: Float[Tensor, "example slot width"]) -> Float[Tensor, "example width"]:
        """What the heads move to the last position."""
        query = self._heads(self.query(stream[:, -1:]))
        key = self._heads(self.key(stream))
        value = self._heads(self.value(stream))
        scores = (query * key).sum(dim=-1, keepdim=True) * key.shape[-1] ** -0.5
        pattern = scores.softmax(dim=1)  # over slots; written out because fused attention is slower for three tokens
        moved: Tensor = self.out((pattern * value).sum(dim=1).flatten(1))
        return moved

    def _heads(self, projected: Float[Tensor, "example slot width"]) -> Float[Tensor, "example slot head unit"]:
        return projected.reshape(*projected.shape[:-1], self.n_heads, -1)


class ModularAddition(L.LightningModule):
    """One-layer ReLU transformer without LayerNorm that reads (a, b, "=") and answers a + b mod p.

    Logs ``train_loss``, ``train_accuracy``, ``val_loss`` and ``val_accuracy``; losses are mean cross-entropies in nats,
    computed in float64 because float32 rounds a memorized loss to nothing. The defaults are the paper's recipe.

    Args:
        p: Modulus, also the number of classes.
        d_model: Width of the residual stream; the hidden layer is four times as wide.
        n_heads: Attention heads; divides `d_model`.
        lr: Learning rate of AdamW.
        weight_decay: Decoupled weight decay, per unit of learning rate.
        warmup_steps: Steps over which the learning rate rises linearly.

    References:
        Nanda et al. 2023, https://arxiv.org/abs/2301.05217
    """

    def __init__(
        self,
        p: int = 113,
        *,
        d_model: int = 128,
        n_heads: int = 4,
        lr: float = 1e-3,
        weight_decay: float = 1.0,
        warmup_steps: int = 10,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr, self.weight_decay, self.warmup_steps = lr, weight_decay, warmup_steps
        self.embedding = nn.Embedding(p + 1, d_model)
        self.position = nn.Parameter(torch.empty(3, d_model))
        self.attention = LastTokenAttention(d_model, n_heads)
        self.mlp_in = nn.Linear(d_model, 4 * d_model)
        self.mlp_act = nn.ReLU()
        self.mlp_out = nn.Linear(4 * d_model, d_model)
        self.unembedding = nn.Linear(d_model, p, bias=False)
        self._initialize(d_model)

    def _initialize(self, d_model: int) -> None:
        """Normal weights of variance 1 / d_model and zero biases, as in the paper's code."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=d_model**-0.5)
            else:
                nn.init.zeros_(parameter)

    def forward(self, tokens: Int[Tensor, "example slot"]) -> Float[Tensor, "example class"]:
        """Class scores at the "=" position."""
        stream = self.embedding(tokens) + self.position
        last = stream[:, -1] + self.attention(stream)
        last = last + self.mlp_out(self.mlp_act(self.mlp_in(last)))
        logits: Tensor = self.unembedding(last)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one full batch."""
        loss, accuracy = self._loss_and_accuracy(batch)
        self.log_dict({"train_loss": loss, "train_accuracy": accuracy})
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of the held-out pairs."""
        loss, accuracy = self._loss_and_accuracy(batch)
        self.log_dict({"val_loss": loss, "val_accuracy": accuracy}, prog_bar=True)
        return loss

    def _loss_and_accuracy(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        tokens, answers = batch
        logits = self(tokens)
        return cross_entropy(logits.double(), answers), (logits.argmax(dim=1) == answers).float().mean()

    def configure_optimizers(self) -> Any:
        """AdamW with a linear warm-up, as Lightning's dictionary of optimizer and scheduler."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, betas=(0.9, 0.98), weight_decay=self.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / self.warmup_steps, 1.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
