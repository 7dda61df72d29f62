"""Hyperparameters of the two-tower model, and how long it is trained."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TwoTowerParameters:
    """Hyperparameters of the two-tower model and its training.

    Attributes:
        hidden: Size of the hidden layer of the user tower.
        profile_dropout: Dropout of the profile's embedding.
        history_shrinkage: Shrinks the mean of a short history: sqrt(n + 1) / (n + shrinkage) scales the sum of n items.
        initial_deviation: Standard deviation of the embeddings of fields before training.
        initial_id_deviation: Standard deviation of the embeddings of item ids before training.
        full_softmax_items: Catalogues up to this size are trained against all items, larger ones against this many
            sampled candidates.
        batch_users: Users of a gradient step.
        targets: Next items of a user that are predicted at once.
        cold_share: Share of the rows without a history, from which the profile learns to predict alone.
        dropped_id_share: Share of the items whose id is hidden, from which the fields learn to describe an item alone.
        unknown_factors_share: Items without actions get this part of the factors of their fields, because fields say
            less about a user's taste for an item than about the item's popularity.
        dropped_field_share: Share of the profile fields that are hidden, because users leave fields out.
        averaged_share: Last part of the steps whose parameters are averaged.
        learning_rate: Peak for a new model. It falls to a tenth along a cosine.
        continued_learning_rate: Peak for a model that is trained further.
        weight_decay: Of AdamW.
        small_steps: Gradient steps of a new model on a catalogue that allows the full softmax.
        large_steps: Gradient steps of a new model on a larger catalogue.
        continued_divisor: A model that is trained further takes this part of the steps.
    """

    hidden: int = 64
    profile_dropout: float = 0.7
    history_shrinkage: float = 2.0
    initial_deviation: float = 0.05
    initial_id_deviation: float = 0.01
    full_softmax_items: int = 4096
    batch_users: int = 512
    targets: int = 24
    cold_share: float = 0.25
    dropped_id_share: float = 0.1
    unknown_factors_share: float = 0.25
    dropped_field_share: float = 0.5
    averaged_share: float = 0.5
    learning_rate: float = 6e-3
    continued_learning_rate: float = 2e-3
    weight_decay: float = 0.3
    small_steps: int = 150
    large_steps: int = 80
    continued_divisor: int = 4


PARAMETERS = TwoTowerParameters()


@dataclass(frozen=True)
class Effort:
    """How long to train.

    Attributes:
        steps: Gradient steps.
        rate: The peak learning rate.
    """

    steps: int
    rate: float = PARAMETERS.learning_rate


def full_effort(items: int, parameters: TwoTowerParameters = PARAMETERS) -> Effort:
    """Return how long to train a new model on a catalogue of so many items."""
    small = items <= parameters.full_softmax_items
    return Effort(parameters.small_steps if small else parameters.large_steps, parameters.learning_rate)
