"""Distillation methods: the union `MethodConfig` is the one table, one file per method.

A method is a strict config that says what it needs (`needs`) and whose `build(setting)` gives an `nn.Module`
(`distill.methods.method.Method`) that turns what student and teacher say into named losses. Whatever it trains is its
registered child.
"""

from typing import Annotated, get_args

from pydantic import Field

from distill.methods.activation_boundaries import ActivationBoundariesConfig
from distill.methods.attention_feature_distillation import AttentionFeatureDistillationConfig
from distill.methods.attention_transfer import AttentionTransferConfig
from distill.methods.conditional_teacher_student import ConditionalTeacherStudentConfig
from distill.methods.contrastive_representation import ContrastiveRepresentationConfig
from distill.methods.correlation_congruence import CorrelationCongruenceConfig
from distill.methods.cross_quality_kd import CrossQualityKDConfig
from distill.methods.curriculum_temperature import CurriculumTemperatureConfig
from distill.methods.decoupled_kd import DecoupledKDConfig
from distill.methods.deep_mutual_learning import DeepMutualLearningConfig
from distill.methods.dist import DISTConfig
from distill.methods.distpro import DistProConfig
from distill.methods.distpro_search import DistProSearchConfig
from distill.methods.factor_transfer import FactorTransferConfig
from distill.methods.fitnet import FitNetConfig
from distill.methods.flow_of_solution_procedure import FlowOfSolutionProcedureConfig
from distill.methods.hinton_kd import HintonKDConfig
from distill.methods.intra_class_feature_variation import IntraClassFeatureVariationConfig
from distill.methods.learning_what_and_where import LearningWhatAndWhereConfig
from distill.methods.logit_standardization import LogitStandardizationConfig
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
from distill.methods.neuron_selectivity import NeuronSelectivityConfig
from distill.methods.overhaul_feature_distillation import OverhaulFeatureDistillationConfig
from distill.methods.probabilistic_knowledge_transfer import ProbabilisticKnowledgeTransferConfig
from distill.methods.relational_kd import RelationalKDConfig
from distill.methods.review_kd import ReviewKDConfig
from distill.methods.scratch import ScratchConfig
from distill.methods.similarity_preserving import SimilarityPreservingConfig
from distill.methods.spherical_kd import SphericalKDConfig
from distill.methods.token_distillation import TokenDistillationConfig
from distill.methods.variational_information import VariationalInformationConfig
from distill.methods.weighted_soft_labels import WeightedSoftLabelsConfig
from distill.methods.weighted_sum import Part, WeightedSumConfig

AnyMethod = (
    ScratchConfig
    | HintonKDConfig
    | ConditionalTeacherStudentConfig
    | CurriculumTemperatureConfig
    | CrossQualityKDConfig
    | SphericalKDConfig
    | WeightedSoftLabelsConfig
    | DecoupledKDConfig
    | LogitStandardizationConfig
    | DISTConfig
    | TokenDistillationConfig
    | DeepMutualLearningConfig
    | FitNetConfig
    | AttentionTransferConfig
    | VariationalInformationConfig
    | ActivationBoundariesConfig
    | FactorTransferConfig
    | FlowOfSolutionProcedureConfig
    | NeuronSelectivityConfig
    | AttentionFeatureDistillationConfig
    | OverhaulFeatureDistillationConfig
    | ReviewKDConfig
    | DistProSearchConfig
    | DistProConfig
    | LearningWhatAndWhereConfig
    | IntraClassFeatureVariationConfig
    | SimilarityPreservingConfig
    | CorrelationCongruenceConfig
    | RelationalKDConfig
    | ProbabilisticKnowledgeTransferConfig
    | ContrastiveRepresentationConfig
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
