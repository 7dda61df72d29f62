"""From trained models to a release folder: Paddle and ONNX forms, the reference request and the manifest."""
