"""The chart, rendered by helm itself: against expected manifests, Kubernetes' schemas, and what the
chart promises in words."""

import json

import kubernetes_validate
import pytest
import yaml
from conftest import EXAMPLES, EXPECTED, is_expected

CHART = str(EXAMPLES / "helm/berth")
KUBERNETES = "1.34"
ROLE = "arn:aws:iam::{}:role/PortOceanReadRole"

# The values of the command that people have in their notes, unchanged.
SEED = {
    "port.clientId": "client-id",
    "port.clientSecret": "client-secret",
    "port.baseUrl": "https://api.getport.io",
    "initializePortResources": "true",
    "scheduledResyncInterval": "1440",
    "integration.identifier": "my-ocean-aws-v3-integration",
    "integration.type": "aws-v3",
    "integration.eventListener.type": "POLLING",
    "integration.secrets.awsAccessKeyId": "AKIAIOSFODNN7EXAMPLE",
    "integration.secrets.awsSecretAccessKey": "secret-key",
    "integration.config.accountRoleArns": (
        "{" + ",".join(ROLE.format(account) for account in ["111111111111", "222222222222"]) + "}"
    ),
    "integration.config.externalId": "external-id",
}
CRON = SEED | {
    "workload.kind": "CronJob",
    "scheduledResyncInterval": "0 */2 * * *",
    "integration.eventListener.type": "ONCE",
}
IRSA = {
    "secret.create": "false",
    "secret.useExistingSecret": "true",
    "secret.name": "{port-credentials,berth-external-ids}",
    "podServiceAccount.create": "true",
    "podServiceAccount.annotations.eks\\.amazonaws\\.com/role-arn": "arn:aws:iam::999999999999:role/berth",
    "integration.identifier": "aws",
    "integration.config.accountRoleArn": ROLE.format("111111111111"),
    "integration.config.sessionDurationSeconds": "3600",
}
FULL = SEED | {
    "image.digest": "sha256:" + "0" * 64,
    "integration.eventListener.type": "WEBHOOK",
    "integration.eventListener.appHost": "https://berth.example.com",
    "integration.config.externalIds.111111111111": "external-id-1",
    "integration.config.liveEventsApiKey": "live-events-key",
    "ingress.enabled": "true",
    "ingress.host": "berth.example.com",
    "settings.narrow_sessions": "true",
    "pathPrefix": "/berth/",
    "plugins.volumes[0].name": "ours",
    "plugins.volumes[0].persistentVolumeClaim.claimName": "our-plugins",
    "plugins.volumes[1].name": "theirs",
    "plugins.volumes[1].configMap.name": "their-plugin",
    "state.volume.persistentVolumeClaim.claimName": "berth-state",
    "selfSignedCertificate.enabled": "true",
    "selfSignedCertificate.certificate": "-----BEGIN CERTIFICATE-----",
    "networkPolicy.allowMetadata": "true",
    "networkPolicy.ingressFrom[0].namespaceSelector.matchLabels.team": "platform",
    "podAnnotations.prometheus\\.io/scrape": "yes",
    "extraEnv[0].name": "HTTPS_PROXY",
    "extraEnv[0].value": "http://proxy.example.com:3128",
}
CASES = {"seed": SEED, "cronjob": CRON, "irsa": IRSA, "full": FULL}


@pytest.fixture(scope="session")
def render(helm):
    def run(values: dict[str, str], *more: str) -> str:
        options = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        return helm("template", "my-aws", CHART, "--namespace", "port", *options, *more)

    return run


def objects(manifests: str) -> dict[str, dict]:
    return {found["kind"]: found for found in yaml.safe_load_all(manifests) if found}


def pod(found: dict[str, dict]) -> dict:
    if "Deployment" in found:
        return found["Deployment"]["spec"]["template"]["spec"]
    return found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def variables(found: dict[str, dict]) -> dict[str, str]:
    container = pod(found)["containers"][0]
    return {one["name"]: one["value"] for one in container["env"]}


@pytest.mark.parametrize("case", CASES)
def test_manifests_are_the_expected_ones(render, case):
    is_expected(EXPECTED / f"{case}.yaml", render(CASES[case]))


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_the_manifests(render, case):
    found = [one for one in yaml.safe_load_all(render(CASES[case])) if one]
    assert len(found) >= 3
    for one in found:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_helm_has_nothing_to_say(helm, case):
    options = [part for name, value in CASES[case].items() for part in ("--set", f"{name}={value}")]
    helm("lint", "--strict", CHART, *options)


def test_every_value_reaches_the_binary(render):
    found = objects(render(SEED))
    told = variables(found)
    assert told["OCEAN__PORT__BASE_URL"] == "https://api.getport.io"
    assert told["OCEAN__INITIALIZE_PORT_RESOURCES"] == "true"
    assert told["OCEAN__SCHEDULED_RESYNC_INTERVAL"] == "1440"
    assert json.loads(told["OCEAN__EVENT_LISTENER"]) == {"type": "POLLING"}
    assert told["OCEAN__INTEGRATION__IDENTIFIER"] == "my-ocean-aws-v3-integration"
    assert told["OCEAN__INTEGRATION__TYPE"] == "aws-v3"
    roles = json.loads(told["OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS"])
    assert roles == [ROLE.format("111111111111"), ROLE.format("222222222222")]
    assert set(found["Secret"]["data"]) == {
        "OCEAN__PORT__CLIENT_ID",
        "OCEAN__PORT__CLIENT_SECRET",
        "OCEAN__INTEGRATION__CONFIG__AWS_ACCESS_KEY_ID",
        "OCEAN__INTEGRATION__CONFIG__AWS_SECRET_ACCESS_KEY",
        "OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID",
    }


def test_secrets_stand_in_the_secret_alone(render):
    manifests = render(FULL)
    for secret in ["client-secret", "secret-key", "external-id", "external-id-1", "live-events-key"]:
        assert secret not in manifests.replace("berth-external-ids", "")


def test_roles_may_be_json_in_a_text(render):
    roles = json.dumps([ROLE.format("111111111111"), ROLE.format("222222222222")])
    told = variables(objects(render(SEED | {"integration.config.accountRoleArns": roles.replace(",", "\\,")})))
    assert json.loads(told["OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS"]) == json.loads(roles)


def test_numbers_and_maps_keep_their_digits(render, tmp_path):
    # A values file's numbers are floating-point in helm: an account id would become 1.1e+11.
    values = tmp_path / "values.yaml"
    values.write_text("integration: {config: {externalIds: {'111111111111': x}, someNumber: 123456789012}}")
    told = variables(objects(render(IRSA, "--values", str(values))))
    assert told["OCEAN__INTEGRATION__CONFIG__SOME_NUMBER"] == "123456789012"
    assert json.loads(told["OCEAN__INTEGRATION__CONFIG__EXTERNAL_IDS"]) == {"111111111111": "x"}


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted(render, case):
    """The rules of the Pod Security Standard `restricted`, and nothing to write but the volume."""
    spec = pod(objects(render(CASES[case])))
    container = spec["containers"][0]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    writable = [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["state"]


def test_a_cronjob_runs_one_resync(render):
    found = objects(render(CRON))
    cron = found["CronJob"]["spec"]
    assert cron["schedule"] == "0 */2 * * *"
    assert cron["concurrencyPolicy"] == "Replace"
    job = cron["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, 3600)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert json.loads(variables(found)["OCEAN__EVENT_LISTENER"]) == {"type": "ONCE"}
    assert "OCEAN__SCHEDULED_RESYNC_INTERVAL" not in variables(found)
    assert found["Job"]["spec"] == job
    assert not {"Deployment", "Service"} & set(found)
    upgraded = objects(render(CRON | {"workload.cron.resyncOnUpgrade": "false"}, "--is-upgrade"))
    assert "Job" not in upgraded


def test_the_listener_of_a_cronjob_does_not_matter(render):
    found = objects(render(CRON | {"integration.eventListener.type": "KAFKA"}))
    assert json.loads(variables(found)["OCEAN__EVENT_LISTENER"]) == {"type": "ONCE"}


def test_kafka_needs_a_way_to_its_brokers(render):
    kafka = {"integration.eventListener.type": "KAFKA"}
    found = objects(render(SEED | kafka))
    assert json.loads(variables(found)["OCEAN__EVENT_LISTENER"]) == {"type": "KAFKA"}
    ports = [rule["ports"] for rule in found["NetworkPolicy"]["spec"]["egress"] if "to" in rule]
    assert [port["port"] for port in ports[0]] == [443, 9196]


def test_the_ingress_lets_in_the_webhooks_alone(render):
    def paths(more: dict[str, str]) -> list[tuple[str, str]]:
        rules = objects(render(FULL | more))["Ingress"]["spec"]["rules"]
        return [(one["path"], one["pathType"]) for one in rules[0]["http"]["paths"]]

    events = ("/berth/integration/webhook", "Exact")
    assert paths({}) == [events, ("/resync", "Exact")]
    assert paths({"integration.eventListener.type": "POLLING"}) == [events]
    assert paths({"ingress.path": "/"}) == [("/", "Prefix")]


def test_the_network_policy_is_on_and_opens_what_is_needed(render):
    def policy(values: dict[str, str]) -> tuple[list, bool]:
        spec = objects(render(values))["NetworkPolicy"]["spec"]
        return spec["ingress"], "169.254.170.23/32" in json.dumps(spec["egress"])

    keys = SEED | {"integration.secrets.awsAccessKeyId": "AKIAIOSFODNN7EXAMPLE"}
    assert policy(keys) == ([], False)
    assert policy(IRSA) == ([], False)
    # From the node, or EKS Pod Identity.
    assert policy(SEED | {"integration.secrets.awsAccessKeyId": ""}) == ([], True)
    assert policy(keys | {"networkPolicy.allowMetadata": "true"}) == ([], True)
    open_port = [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert policy(keys | {"ingress.enabled": "true"}) == (open_port, False)
    assert policy(keys | {"service.type": "LoadBalancer"}) == (open_port, False)
    assert policy(FULL)[0][0]["from"] == [{"namespaceSelector": {"matchLabels": {"team": "platform"}}}]
    assert "NetworkPolicy" not in objects(render(SEED | {"networkPolicy.enabled": "false"}))


def test_existing_secrets_and_the_service_account(render):
    found = objects(render(IRSA))
    assert "Secret" not in found
    references = pod(found)["containers"][0]["envFrom"]
    assert [one["secretRef"]["name"] for one in references] == ["port-credentials", "berth-external-ids"]
    account = found["ServiceAccount"]
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::999999999999:role/berth"
    }
    assert pod(found)["serviceAccountName"] == account["metadata"]["name"]


def test_plugins_of_ones_own_come_after_each_other(render):
    found = objects(render(FULL))
    assert variables(found)["BERTH_PLUGINS"] == "/extra-plugins/ours:/extra-plugins/theirs"
    mounts = {one["name"]: one["mountPath"] for one in pod(found)["containers"][0]["volumeMounts"]}
    assert mounts["plugins-ours"] == "/extra-plugins/ours"
    volumes = {one["name"]: one for one in pod(found)["volumes"]}
    assert volumes["plugins-ours"]["persistentVolumeClaim"] == {"claimName": "our-plugins"}


@pytest.mark.parametrize(
    "change, told",
    [
        ({"port.clientSecret": ""}, "port.clientSecret is not set"),
        ({"integration.eventListener.type": "ONCE"}, "use POLLING"),
        ({"integration.eventListener.type": "WEBHOOK"}, "integration.eventListener.appHost is not set"),
        ({"integration.eventListener.type": "SOMETIMES"}, "integration/eventListener/type"),
        ({"scheduledResyncInterval": "0 */2 * * *"}, "is not a number of minutes"),
        ({"workload.kind": "CronJob"}, "is not a schedule"),
        ({"workload.kind": "DaemonSet"}, "workload/kind"),
        ({"secret.useExistingSecret": "true", "secret.name": ""}, "secret.name is not set"),
        ({"podServiceAccount.annotations.a": "b"}, "podServiceAccount.create=true"),
        ({"integration.eventlistener.type": "POLLING"}, "eventlistener"),
        ({"port.baseUrl": "api.getport.io"}, "port/baseUrl"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(render, change, told):
    with pytest.raises(AssertionError) as refused:
        render(SEED | change)
    assert told in str(refused.value)


def test_values_of_the_chart_that_is_replaced_are_tolerated(helm, render):
    theirs = SEED | {"sendRawDataExamples": "true", "liveEvents.worker.enabled": "false"}
    assert objects(render(theirs)) == objects(render(SEED))
    options = [part for name, value in theirs.items() for part in ("--set", f"{name}={value}")]
    notes = helm("install", "my-aws", CHART, "--dry-run=client", *options)
    assert "the value sendRawDataExamples of Port's chart has no effect" in notes
