"""Train, evaluate and export Dynamic Sparse LoRA (DS-LoRA) text classifiers."""
