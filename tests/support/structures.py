# SPDX-License-Identifier: Apache-2.0
"""Networks built as public code builds them: nested lists, gates, momentum copies. Each takes 6 examples, see `FORWARDS`."""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

WIDTH, TOKENS, EXAMPLES = 4, 5, 6


class Branch(nn.Module):
    """A module whose forward runs its children in turn; subclasses name the parts public code has."""

    def forward(self, x: Tensor, *_: object) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


class Attention(nn.Module):
    """Self-attention with projections of its own; gives its pattern, too."""

    def __init__(self) -> None:
        super().__init__()
        self.to_q, self.to_v, self.softmax = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Softmax(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pattern = self.softmax(self.to_q(x) @ x.mT)
        return pattern @ self.to_v(x), pattern


class AttentionHeads(nn.Module):
    """Heads in a list inside one attention."""

    def __init__(self) -> None:
        super().__init__()
        self.attn_heads = nn.ModuleList(Attention() for _ in range(2))
        self.out = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        heads = [head(x) for head in self.attn_heads]
        return self.out(torch.cat([head[0] for head in heads], -1)), [head[1] for head in heads]


class MultiHeadAttention(AttentionHeads):
    pass


class FeedForward(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.ff = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Dropout(), nn.Linear(WIDTH, WIDTH))


class Residual(nn.Module):
    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return x + residual


class ListsOfLists(nn.Module):
    """Attention and MLP in turn, each in a list with its norms and its residual connection."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        layers = [part() for _ in range(depth) for part in (Attention, FeedForward)]
        self.layers = nn.ModuleList(
            nn.ModuleList([nn.ModuleList([nn.LayerNorm(WIDTH), None]), layer, Residual()]) for layer in layers
        )
        self.final_norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        for (norm, _), layer, residual in self.layers:
            out = layer(norm(x))
            x = residual(out[0] if isinstance(out, tuple) else out, x)
        return self.final_norm(x)


class TokenEmbedding(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(7, WIDTH)


class NestedLists(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.token_emb = TokenEmbedding()
        self.pos_emb = nn.Embedding(TOKENS, WIDTH)
        self.emb_dropout = nn.Dropout()
        self.attn_layers = ListsOfLists(depth)
        self.to_logits = nn.Linear(WIDTH, 7, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.token_emb(x) + self.pos_emb(torch.arange(TOKENS))
        return self.to_logits(self.attn_layers(self.emb_dropout(stream)))


class SharedEmbedding(NestedLists):
    """Holds the weights of its embedding a second time, in a module that is never called; has a second, smaller output."""

    def __init__(self) -> None:
        super().__init__(1)
        parts = dict(self.named_children())
        for name in parts:
            delattr(self, name)
        self.shared = nn.Embedding(7, WIDTH)
        for name, part in parts.items():
            self.add_module(name, part)
        self.token_emb.emb.weight = self.shared.weight
        self.length_predictor = nn.Sequential(nn.Linear(WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        self.length_predictor(self.token_emb(x))
        return super().forward(x)


class OwnLinear(nn.Linear):
    pass


class DecoderBlock(nn.Module):
    """A block that gives lists of patterns beside its stream."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention()
        self.self_attn_norm = nn.LayerNorm(WIDTH)
        self.ffn = FeedForward()
        self.ffn_drop = nn.Dropout()

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        moved, patterns = self.self_attn(x)
        x = self.self_attn_norm(x + moved)
        return x + self.ffn_drop(self.ffn(x)), patterns


class Decoder(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock() for _ in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        patterns = []
        for block in self.blocks:
            x, found = block(x)
            patterns.append(found)
        return x, patterns


class OwnDecoder(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.embedding = nn.Embedding(7, WIDTH)
        self.transformer.decoder = Decoder(depth)
        self.transformer.linear = OwnLinear(WIDTH, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.transformer.linear(self.transformer.decoder(self.transformer.embedding(x))[0])


class TokensFirstBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(WIDTH), nn.MultiheadAttention(WIDTH, 2)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x), x, x, need_weights=False)[0]
        return x + self.mlp(x)


class TokensFirst(nn.Module):
    """A decoder whose tensors are [token, example, unit], its parts in a dictionary."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(7, WIDTH),
                "wpe": nn.Embedding(TOKENS, WIDTH),
                "drop": nn.Dropout(),
                "h": nn.ModuleList(TokensFirstBlock() for _ in range(depth)),
            }
        )
        self.lm_head = nn.Linear(WIDTH, 7)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.transformer["wte"](x.T) + self.transformer["wpe"](torch.arange(TOKENS))[:, None]
        for block in self.transformer["h"]:
            stream = block(stream)
        return self.lm_head(stream)[-1]


class BertSelfAttention(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)


class BertAttention(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.self, self.output = BertSelfAttention(), nn.Linear(WIDTH, WIDTH)


class BertIntermediate(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.intermediate_act_fn = nn.Linear(WIDTH, WIDTH), nn.GELU()


class BertLayer(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.intermediate, self.output = BertAttention(), BertIntermediate(), nn.Linear(WIDTH, WIDTH)


class BertEncoder(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer() for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class BertEmbeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(7, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(self.word_embeddings(x) + self.position_embeddings(torch.arange(TOKENS)))


class BertPooler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.activation = nn.Linear(WIDTH, WIDTH), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.dense(x[:, 0]))


class BertModel(Branch):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.embeddings, self.encoder, self.pooler = BertEmbeddings(), BertEncoder(depth), BertPooler()


class Classifier(Branch):
    """Backbone, dropout, classifier; with an accuracy and a loss that has weights of its own."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.bert, self.dropout, self.classifier = BertModel(depth), nn.Dropout(), nn.Linear(WIDTH, 2)
        self.val_metrics = nn.ModuleList([MeanMetric()])
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, x: Tensor, *_: object) -> Tensor:
        return self.classifier(self.dropout(self.bert(x)))


class BasicBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.relu(self.bn1(self.conv1(x))) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.ReLU()
        for stage in range(1, 5):
            setattr(self, f"layer{stage}", nn.Sequential(*(BasicBlock() for _ in range(blocks))))
        self.avgpool, self.flatten, self.fc = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.flatten(self.avgpool(x)))


class ProjectionHead(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3))


class Momentum(nn.Module):
    """A backbone and its heads, and copies of them that follow slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(*list(ResNet(1).children())[:-1])
        self.projection_head, self.prediction_head = ProjectionHead(), ProjectionHead()
        self.backbone_momentum = copy.deepcopy(self.backbone).requires_grad_(False)
        self.projection_head_momentum = copy.deepcopy(self.projection_head).requires_grad_(False)
        self.criterion = nn.CosineSimilarity()

    def forward(self, x: Tensor) -> Tensor:
        return self.prediction_head(self.projection_head(self.backbone(x)))


class GraphConvolution(nn.Module):
    """Takes several arguments; its linear map is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.aggr_module, self.lin = nn.Identity(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, neighbours: Tensor, weights: Tensor | None = None) -> Tensor:
        return self.aggr_module(self.lin(x) + neighbours)


class GraphNorm(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.module = nn.BatchNorm1d(WIDTH)


class GraphNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GraphConvolution() for _ in range(3))
        self.batch_norms = nn.ModuleList(GraphNorm() for _ in range(3))
        self.lin = nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.batch_norms, strict=True):
            x = norm(conv(x, x.roll(1, 0))).relu()
        return self.lin(x)


class TwoConvolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = GraphConvolution(), GraphConvolution()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x, x).relu(), x)


class GatedLinearUnit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.fc = nn.Dropout(), nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.glu(self.fc(self.dropout(x)))


class AddNorm(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)


class GateAddNorm(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.glu, self.add_norm = GatedLinearUnit(), AddNorm()


class GatedResidualNetwork(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.elu, self.fc2 = nn.Linear(WIDTH, WIDTH), nn.ELU(), nn.Linear(WIDTH, WIDTH)
        self.gate_norm = GateAddNorm()


class VariableSelection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flattened_grn = GatedResidualNetwork()
        self.single_variable_grns = nn.ModuleDict({name: GatedResidualNetwork() for name in ("price", "volume")})
        self.softmax = nn.Softmax(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shares = self.softmax(self.flattened_grn(x))
        return sum(grn(x) for grn in self.single_variable_grns.values()) * shares, shares


class MultiEmbedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict({name: nn.Embedding(7, WIDTH) for name in ("weekday", "month")})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: embedding(x) for name, embedding in self.embeddings.items()}


class QuantileLoss(MeanMetric):
    """A loss that is a metric."""


class OwnLSTM(nn.LSTM):
    pass


class InterpretableMultiHeadAttention(Attention):
    pass


class FusionTransformer(nn.Module):
    """Gated residual networks, variable selection, LSTMs and one attention, without any list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = QuantileLoss()
        self.logging_metrics = nn.ModuleList([QuantileLoss()])
        self.input_embeddings = MultiEmbedding()
        self.prescalers = nn.ModuleDict({"price": nn.Linear(1, WIDTH)})
        self.encoder_variable_selection, self.decoder_variable_selection = VariableSelection(), VariableSelection()
        self.static_context_enrichment = GatedResidualNetwork()
        self.lstm_encoder, self.lstm_decoder = (
            OwnLSTM(WIDTH, WIDTH, batch_first=True),
            OwnLSTM(WIDTH, WIDTH, batch_first=True),
        )
        self.post_lstm_gate_encoder, self.post_lstm_add_norm_encoder = GatedLinearUnit(), AddNorm()
        self.static_enrichment = GatedResidualNetwork()
        self.multihead_attn = InterpretableMultiHeadAttention()
        self.post_attn_gate_norm = GateAddNorm()
        self.pos_wise_ff = GatedResidualNetwork()
        self.pre_output_gate_norm = GateAddNorm()
        self.output_layer = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        stream = self.encoder_variable_selection(self.input_embeddings(x)["month"])[0]
        stream = self.decoder_variable_selection(stream)[0] + self.static_context_enrichment(stream)
        stream = self.lstm_decoder(self.lstm_encoder(stream)[0])[0]
        stream = self.post_lstm_add_norm_encoder(self.post_lstm_gate_encoder(stream))
        stream = self.post_attn_gate_norm(self.multihead_attn(self.static_enrichment(stream))[0])
        return self.output_layer(self.pre_output_gate_norm(self.pos_wise_ff(stream)))[:, -1]


class VisionTransformer(Branch):
    """Blocks in a `Sequential` that runs them."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.patch_embed = TokenEmbedding()
        self.blocks = nn.Sequential(*(VisionBlock() for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2)


class VisionBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn, self.drop_path = nn.LayerNorm(WIDTH), Attention(), nn.Dropout()
        self.mlp = FeedForward()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x))[0])
        return x + self.mlp(x)


class Seq2Seq(nn.Module):
    """Two recurrent networks with tokens first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Module(), nn.Module()
        self.encoder.embedding, self.encoder.gru = nn.Embedding(7, WIDTH), nn.GRU(WIDTH, WIDTH)
        self.decoder.embedding, self.decoder.gru = nn.Embedding(7, WIDTH), nn.GRU(WIDTH, WIDTH)
        self.decoder.out = nn.Linear(WIDTH, 7)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.encoder.gru(self.encoder.embedding(x.T))
        return self.decoder.out(self.decoder.gru(self.decoder.embedding(x.T), state)[0])


class Generator(Branch):
    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*parts)


class Adversaries(Branch):
    """Two networks of one class."""

    def __init__(self) -> None:
        super().__init__()
        hidden = (nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.LeakyReLU(), nn.Linear(8, WIDTH), nn.Tanh())
        self.generator = Generator(hidden)
        self.discriminator = Generator([nn.Linear(WIDTH, 8), nn.LeakyReLU(), nn.Linear(8, 1), nn.Sigmoid()])


class Autoencoder(Branch):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(WIDTH, 3), nn.ReLU(), nn.Linear(3, 2))
        self.decoder = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, WIDTH))


def tokens() -> Tensor:
    return torch.randint(7, (EXAMPLES, TOKENS), generator=torch.Generator().manual_seed(0))


def vectors() -> Tensor:
    return torch.randn(EXAMPLES, WIDTH, generator=torch.Generator().manual_seed(0))


def images() -> Tensor:
    return torch.randn(EXAMPLES, 3, 8, 8, generator=torch.Generator().manual_seed(0))


FORWARDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "nested lists": (lambda: NestedLists(6), tokens),
    "shared embedding": (SharedEmbedding, tokens),
    "own decoder": (lambda: OwnDecoder(2), tokens),
    "tokens first": (lambda: TokensFirst(12), tokens),
    "classifier": (lambda: Classifier(12), tokens),
    "vision transformer": (lambda: VisionTransformer(12), tokens),
    "fusion transformer": (FusionTransformer, tokens),
    "seq2seq": (Seq2Seq, tokens),
    "residual network": (ResNet, images),
    "momentum": (Momentum, images),
    "graph": (GraphNet, vectors),
    "two convolutions": (TwoConvolutions, vectors),
    "adversaries": (Adversaries, vectors),
    "autoencoder": (Autoencoder, vectors),
}
"""Networks and what they take, by what is particular about them."""
