"""edgeemo: speech emotion recognition on the edge.

Raw audio in, emotion probabilities out, in one ONNX file. The modules directly in this package are the
*device* side (numpy, onnxruntime, PortAudio); `edgeemo.workstation` trains and exports the models;
`edgeemo.cli` is the command line over both.
"""

__version__ = "0.1.0"
