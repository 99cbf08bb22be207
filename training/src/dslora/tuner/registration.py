"""Makes PEFT know the peft type ``DS_LORA``.

``peft.utils.register_peft_method`` accepts only members of PEFT's own enum, so the three tables that it
fills are filled here. They are looked up by a string enum, whose members equal their strings.
"""

from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING

from dslora.tuner.config import PEFT_TYPE, DsLoraConfig
from dslora.tuner.model import DsLoraModel


def register() -> None:
    PEFT_TYPE_TO_CONFIG_MAPPING[PEFT_TYPE] = DsLoraConfig
    PEFT_TYPE_TO_TUNER_MAPPING[PEFT_TYPE] = DsLoraModel
    PEFT_TYPE_TO_PREFIX_MAPPING[PEFT_TYPE] = "lora_"
