"""The workstation: corpora, training, export.

Keras runs on TensorFlow here, whatever its user's settings say (`edgeemo.workstation.backend` may choose another
library for a training). It reads them when it is imported, so that this comes first.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_NNX_ENABLED"] = "false"  # of its JAX backend: the import fails where Flax is missing
