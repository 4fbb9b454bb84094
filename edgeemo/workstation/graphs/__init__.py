"""ONNX graphs: the front end, the network, and both in one model file."""
