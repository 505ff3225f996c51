"""LeNet-5 as plain Flax: the version to read.

`fedmi.models.fast.lenet_features` and `lenet_logits` compute the same many times faster on a CPU.
The tests hold them together.
"""

from flax import linen as nn
from jax import Array

FEATURES = 84
CLASSES = 10


class LeNet(nn.Module):
    """LeNet-5 of LeCun et al. (1998) with rectified linear units and max pooling.

    6 maps of 5x5 (padded by 2), 2x2 pooling, 16 maps of 5x5, 2x2 pooling, 120, 84 and 10 units:
    61,706 parameters.
    """

    def setup(self) -> None:
        self.conv1 = nn.Conv(6, (5, 5), padding="SAME")
        self.conv2 = nn.Conv(16, (5, 5), padding="VALID")
        self.dense1 = nn.Dense(120)
        self.dense2 = nn.Dense(FEATURES)
        self.head = nn.Dense(CLASSES)

    def __call__(self, images: Array) -> Array:
        """Logits of shape (n, 10) for images of shape (n, 28, 28) with values in [0, 1]."""
        return self.head(self.features(images))

    def features(self, images: Array) -> Array:
        """The activations of the last layer but one, of shape (n, 84)."""
        x = images[..., None]
        x = nn.max_pool(nn.relu(self.conv1(x)), (2, 2), strides=(2, 2))
        x = nn.max_pool(nn.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        x = x.reshape(*x.shape[:-3], -1)
        return nn.relu(self.dense2(nn.relu(self.dense1(x))))
