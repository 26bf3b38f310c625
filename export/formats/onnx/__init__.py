"""ONNX models: export, integers, and activations that the runtime has no integer kernel for."""
