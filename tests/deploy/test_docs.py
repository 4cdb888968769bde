"""The commands in the READMEs name what there is."""

import re

import yaml
from cfnlint.decode import cfn_yaml
from conftest import EXAMPLES, TOP
from test_helm import CHART, SEED


def variables(text: str) -> list[str]:
    return re.findall(r"^\s*(?:-e )?(OCEAN__\w+)=", text, re.MULTILINE)


def test_docker_run_has_the_variables_of_the_command():
    command = (EXAMPLES.parent / "guides/accounts.md").read_text().split("$ docker run")[1]
    held = variables(command.split("```")[0])
    assert len(held) == 10
    assert variables((EXAMPLES / "docker/README.md").read_text()) == held


def test_the_image_has_what_its_readme_says():
    image = (TOP / "Dockerfile").read_text()
    readme = (EXAMPLES / "docker/README.md").read_text()
    for told in ["/usr/bin/berth", "/extra-plugins", "/var/lib/berth", "/etc/berth", "1001:1001", "8000"]:
        assert told in readme and told in image, told


def test_compose_and_chart_name_the_same_image(helm):
    compose = yaml.safe_load((EXAMPLES / "docker/compose.yaml").read_text())["services"]["berth"]
    values = yaml.safe_load(helm("show", "values", CHART))
    version = yaml.safe_load(helm("show", "chart", CHART))["appVersion"]
    assert compose["image"] == f"{values['image']['repository']}:{version}"
    assert f'version = "{version}"' in (TOP / "Cargo.toml").read_text()
    assert [mount.split(":")[1] for mount in compose["volumes"]] == ["/extra-plugins", "/var/lib/berth"]


def test_the_charts_readme_gives_the_command_that_is_tested():
    readme = (EXAMPLES / "helm/berth/README.md").read_text()
    assert re.findall(r"--set ([\w.]+)=", readme) == list(SEED)


def test_templates_parameters_are_reported():
    readme = (EXAMPLES / "cloudformation/README.md").read_text()
    parameters = cfn_yaml.load(str(EXAMPLES / "cloudformation/member-role.yaml"))["Parameters"]
    assert re.findall(r"^\| `(\w+)`", readme, re.MULTILINE) == list(parameters)
