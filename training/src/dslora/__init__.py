"""Train, evaluate and export Dynamic Sparse LoRA (DS-LoRA) text classifiers."""

import logging

# PEFT imports bitsandbytes, which says on import which optional kernels it did not find.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
