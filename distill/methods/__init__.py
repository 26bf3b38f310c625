"""Distillation methods: the union `MethodConfig` is the one table, one file per method.

A method is a strict config that says what it needs (`needs`) and whose `build(setting)` gives an `nn.Module`
(`distill.methods.method.Method`) that turns what student and teacher say into named losses. Whatever it trains is its
registered child.
"""

from typing import Annotated, get_args

from pydantic import Field

from distill.methods.attention_transfer import AttentionTransferConfig
from distill.methods.conditional_teacher_student import ConditionalTeacherStudentConfig
from distill.methods.cross_quality_kd import CrossQualityKDConfig
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.decoupled_kd import DecoupledKDConfig
from distill.methods.deep_mutual_learning import DeepMutualLearningConfig
from distill.methods.fitnet import FitNetConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.method import (
    Losses,
    Method,
    Needs,
    Outputs,
    Samples,
    Setting,
    Stage,
    Stepper,
)
from distill.methods.scratch import ScratchConfig
from distill.methods.similarity_preserving import SimilarityPreservingConfig
from distill.methods.spherical_kd import SphericalKDConfig
from distill.methods.weighted_soft_labels import WeightedSoftLabelsConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig

AnyMethod = (
    ScratchConfig
    | HintonKDConfig
    | ConditionalTeacherStudentConfig
    | CurriculumTemperatureConfig
    | CrossQualityKDConfig
    | DeepMutualLearningConfig
    | SphericalKDConfig
    | WeightedSoftLabelsConfig
    | DecoupledKDConfig
    | FitNetConfig
    | AttentionTransferConfig
    | SimilarityPreservingConfig
    | WeightedSumConfig
)

MethodConfig = Annotated[AnyMethod, Field(discriminator="kind")]

# A part of a sum may be any method of this table, the ones that come after it in this file's imports included.
Part.model_rebuild(_types_namespace={"MethodConfig": MethodConfig})
WeightedSumConfig.model_rebuild()

METHODS: dict[str, type[AnyMethod]] = {config.model_fields["kind"].default: config for config in get_args(AnyMethod)}
"""Name -> settings class."""

__all__ = [
    "METHODS",
    "AnyMethod",
    "Losses",
    "Method",
    "MethodConfig",
    "Needs",
    "Outputs",
    "Samples",
    "Setting",
    "Stage",
    "Stepper",
]
