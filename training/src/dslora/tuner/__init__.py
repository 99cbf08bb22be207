"""DS-LoRA as a PEFT tuner: gated low-rank adapters beside frozen linear layers.

Importing this package registers the peft type ``DS_LORA`` with PEFT, so that ``get_peft_model``,
``save_pretrained`` and ``PeftModel.from_pretrained`` work. Without the import PEFT refuses such an
adapter by its type, rather than load A and B and drop the gates.

Source: Dynamic Sparse LoRA, Symmetry 2025, 17(7), 1076.
"""

from dslora.tuner.config import PEFT_TYPE, DsLoraConfig
from dslora.tuner.context import capture_gates
from dslora.tuner.gate import Gate
from dslora.tuner.layer import GatedLinear
from dslora.tuner.model import DsLoraModel
from dslora.tuner.registration import register

register()

__all__ = ["PEFT_TYPE", "DsLoraConfig", "DsLoraModel", "Gate", "GatedLinear", "capture_gates"]
