"""A policy with learned effects, as `training policy` leaves it in a registry."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import mlflow
import numpy as np

from features.home import Home
from features.schema import FeatureSchema
from models.decisions.design_matrix import Design, DesignColumn
from models.decisions.effect_model import CHURN_PROBABILITY, LEARNED, LINEAR, PRIOR, ActionEffect, EffectModel, Member
from models.registry.policy_bundle import PolicyBundle
from models.registry.registered_model import RegisteredModel
from models.registry.registry import PolicyRegistry

from .conftest import BUSINESS, SCHEMA


def effects(schema: FeatureSchema = SCHEMA) -> EffectModel:
    """A call helps those with open tickets; what an e-mail does is not learned."""
    used = schema.select(["tickets_open"])
    call = ActionEffect("success_call", LEARNED, 0.2, 900, 0.02, 0.0004, 0.0, 1.0, 0.01, 0.0)
    return EffectModel(
        unit=CHURN_PROBABILITY,
        schema=used.to_json(),
        feature_names=used.names,
        categories={},
        actions=(call, ActionEffect("winback_email", PRIOR, 0.05, 3), ActionEffect("gone", PRIOR, 0.1, 0)),
        design=Design((DesignColumn(0, "number", 0.0, 1.0),)),
        members=(Member(LINEAR, 1.0, np.array([-0.05]), np.array([[0.1]])),),
    )


def policy_of(model: EffectModel, constant: str | None = None) -> PolicyBundle:
    """The policy of these effects."""
    return PolicyBundle(BUSINESS, model, constant, {}, {}, "ab" * 32, datetime.now(UTC))


def promote_policy(home: Home, bundle: PolicyBundle) -> RegisteredModel:
    """Log a policy in a run of its own, register it, and make it the champion, as `training promote --policy` does."""
    uri = home.tracking_uri
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("tests")
    assert experiment is not None
    run_id = str(client.create_run(experiment.experiment_id).info.run_id)
    folder = home.path / "trained" / run_id
    bundle.save(folder)
    client.log_artifacts(run_id, str(folder), "bundle")
    shutil.rmtree(folder)
    registry = PolicyRegistry(uri, BUSINESS)
    registered = registry.register(run_id, bundle_hash=bundle.hash)
    return registry.promote(registered.version, None)
