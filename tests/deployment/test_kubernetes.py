"""Helm's values, the manifests, and the jobs that Dagster makes of them: by Kubernetes' schemas."""

from __future__ import annotations

from functools import cache
from typing import Any

import dagster as dg
import kubernetes.client
import kubernetes_validate
import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from cio_dagster import Warehouse
from tests.deployment.files import DEPLOY, VALUES
from tests.docs.pages import DOCS, blocks

KUBERNETES = "1.34"
MANIFESTS = [each for path in sorted(DEPLOY.glob("kubernetes/*.yaml")) for each in yaml.safe_load_all(path.read_text())]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
[DEPLOYMENT] = VALUES["dagster-user-deployments"]["deployments"]


@cache
def chart() -> Draft202012Validator:
    """What a values file for the chart may hold."""
    definitions = schema_contents(f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict/_definitions.json", KUBERNETES)
    schema = yaml.safe_load((DEPLOY.parent / "tests" / "deployment" / "chart.schema.yaml").read_text())
    return Draft202012Validator(schema, registry=Resource.from_contents(definitions) @ Registry())


def test_the_values_are_by_the_schema() -> None:
    assert [f"{error.json_path}: {error.message}" for error in chart().iter_errors(VALUES)] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"dagster-user-deployments": {"deployments": [DEPLOYMENT | {"replicas": 2}]}},
        {"dagster-user-deployments": {"deployments": [DEPLOYMENT | {"resources": {"limit": {"memory": "1Gi"}}}]}},
        {"dagsterDaemon": {"runMonitoring": {"maxRuntime": 60}}},
        {"concurrency": {"pools": {"granularity": "step"}}},
    ],
    ids=["setting", "kubernetes", "monitoring", "pools"],
)
def test_the_schema_finds_what_is_wrong(wrong: dict[str, Any]) -> None:
    assert not chart().is_valid(wrong)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["metadata"]["name"])
def test_the_manifests_are_by_the_schema(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_secrets_are_those_of_the_manifests() -> None:
    there = {each["metadata"]["name"]: each.get("stringData", {}) for each in MANIFESTS if each["kind"] == "Secret"}
    assert {each["name"] for each in DEPLOYMENT["envSecrets"]} | {VALUES["global"]["postgresqlSecretName"]} == set(there)
    assert "postgresql-password" in there[VALUES["global"]["postgresqlSecretName"]]


def run_context() -> K8sContainerContext:
    """What a run's pod gets, as Dagster adds it up: the launcher's, and over it what the chart hands over of the code location."""
    snake = {
        "containerConfig": "container_config",
        "podSpecConfig": "pod_spec_config",
        "podTemplateSpecMetadata": "pod_template_spec_metadata",
        "jobSpecConfig": "job_spec_config",
    }
    launcher = {"run_k8s_config": {snake[name]: value for name, value in LAUNCHER["runK8sConfig"].items()}}
    location = {
        "image_pull_policy": DEPLOYMENT["image"]["pullPolicy"],
        "service_account_name": VALUES["global"]["serviceAccountName"],
        "env": DEPLOYMENT["env"],
        "env_secrets": [each["name"] for each in DEPLOYMENT["envSecrets"]],
        **{each: DEPLOYMENT[each] for each in ("resources", "labels") if each in DEPLOYMENT},
    }
    contexts = [K8sContainerContext.create_from_config({"k8s": each}) for each in (launcher, location)]
    return contexts[0].merge(contexts[1])


def job_of(context: K8sContainerContext, component: str) -> dict[str, Any]:
    """The job that Dagster hands to Kubernetes."""
    config = DagsterK8sJobConfig(
        job_image=f"{DEPLOYMENT['image']['repository']}:{DEPLOYMENT['image']['tag']}",
        dagster_home="/opt/dagster/dagster_home",
        instance_config_map="dagster-instance",
        postgres_password_secret=VALUES["global"]["postgresqlSecretName"],
    )
    arguments = ["dagster", "api", "execute_run"]
    made = construct_dagster_k8s_job(config, arguments, "dagster-run-1", context.run_k8s_config, component=component)
    job = kubernetes.client.ApiClient().sanitize_for_serialization(made)
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    assert isinstance(job, dict)
    return job


def test_the_job_of_a_run_is_by_the_schema() -> None:
    job = job_of(run_context(), "run_worker")
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"] == LAUNCHER["runK8sConfig"]["containerConfig"]["resources"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["serviceAccountName"] == "dagster"
    assert "customerio" in [each.get("secretRef", {}).get("name") for each in container["envFrom"]]
    assert {"name": "CIO_REGION", "value": "us"} in container["env"]
    [policy] = [each for each in MANIFESTS if each["kind"] == "NetworkPolicy"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_the_launcher_takes_its_settings() -> None:
    config = {
        "service_account_name": VALUES["global"]["serviceAccountName"],
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster/dagster_home",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "image_pull_policy": LAUNCHER["imagePullPolicy"],
        "fail_pod_on_run_failure": LAUNCHER["failPodOnRunFailure"],
    }
    found = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), config)
    assert found.success, found.errors


def test_a_pod_for_each_step_takes_its_settings() -> None:
    """The documentation's example."""
    names: dict[str, Any] = {}
    [text] = [each.text for each in blocks(DOCS / "deployment.md") if "k8s_job_executor" in each.text]
    exec(text, names)
    managers = {"warehouse": Warehouse(url="duckdb://"), "customerio": dg.InMemoryIOManager()}
    defs = dg.Definitions([names["accounts"], names["people"]], jobs=[names["sync_all"]], resources=managers)
    config = defs.resolve_job_def("sync_all").executor_def.config_schema.resolve_config({}).value["config"]
    for step in ("accounts", "people"):
        raw = [config["step_k8s_config"], config["per_step_k8s_config"].get(step, {})]
        context = run_context()
        for each in raw:
            context = context.merge(K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(each)))
        [container] = job_of(context, "step_worker")["spec"]["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["memory"] == {"accounts": "2Gi", "people": "8Gi"}[step]
