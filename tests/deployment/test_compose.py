"""docker-compose.yml describes what the product's settings and servers take, and gives away no secret."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recollect.adapters.registry import backends
from recollect.service import Settings
from tests.adapters.qdrant import server_process

SERVERS = ("qdrant", "qdrant-1", "qdrant-2", "qdrant-3")
NODES = SERVERS[1:]


@pytest.mark.requirement("F7")
def test_the_profiles_are_an_embedded_store_one_server_and_three(services: dict[str, Any]) -> None:
    profiles = {name: service.get("profiles", []) for name, service in services.items()}

    assert profiles == {"recollect": [], "qdrant": ["qdrant"], **{name: ["cluster"] for name in NODES}}


def test_the_store_is_embedded_unless_another_is_named(services: dict[str, Any]) -> None:
    storage = services["recollect"]["environment"]["RECOLLECT_STORAGE"]

    assert storage == "${RECOLLECT_STORAGE:-edge:/data/store}"
    assert "edge" in backends()


def test_every_variable_is_a_setting_of_the_product(services: dict[str, Any]) -> None:
    names = {f"RECOLLECT_{name.upper()}" for name in Settings.model_fields}

    assert set(services["recollect"]["environment"]) <= names


def test_the_service_answers_its_own_health_check_and_its_neighbours(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOLLECT_ALLOWED_HOSTS", services["recollect"]["environment"]["RECOLLECT_ALLOWED_HOSTS"])

    assert {"127.0.0.1", "localhost", "recollect"} <= set(Settings().allowed_hosts)


def test_nothing_holds_a_secret_and_servers_do_not_start_without_one(root: Path, services: dict[str, Any]) -> None:
    text = (root / "docker-compose.yml").read_text()

    assert not re.search(r"(?i)(api_key|password|token|secret)\w*[\"']?\s*[:=]\s*\S", text)
    assert all(services[name]["env_file"] == [{"path": "qdrant.env", "required": True}] for name in SERVERS)
    assert services["recollect"]["env_file"] == [{"path": "qdrant.env", "required": False}]
    assert "qdrant.env" in (root / ".gitignore").read_text().splitlines()


def test_only_this_machine_reaches_the_service_and_only_the_service_reaches_a_server(
    compose: dict[str, Any], services: dict[str, Any]
) -> None:
    assert all(port.startswith("127.0.0.1:") for port in services["recollect"]["ports"])
    for name in SERVERS:
        assert "ports" not in services[name]
        assert services[name]["networks"] == ["storage"]
    assert compose["networks"]["storage"]["internal"]


@pytest.mark.parametrize("name", ["recollect", *SERVERS])
def test_each_service_is_bounded_restarts_and_keeps_its_data(
    compose: dict[str, Any], services: dict[str, Any], name: str
) -> None:
    service = services[name]

    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == "unless-stopped"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    [volume] = service["volumes"]
    assert volume.split(":")[0] in compose["volumes"]
    assert len({volume for other in services.values() for volume in other["volumes"]}) == len(services)


def test_a_stop_is_given_as_long_as_it_may_take(services: dict[str, Any]) -> None:
    grace_s = int(services["recollect"]["stop_grace_period"].removesuffix("s"))

    assert grace_s > Settings.model_fields["shutdown_s"].default


@pytest.mark.parametrize("name", SERVERS)
def test_images_are_pinned_and_servers_report_to_nobody(services: dict[str, Any], name: str) -> None:
    assert re.fullmatch(r"qdrant/qdrant:v\d+\.\d+\.\d+", services[name]["image"])
    assert services[name]["environment"]["QDRANT__TELEMETRY_DISABLED"] == "true"


@pytest.mark.parametrize("name", SERVERS)
def test_the_service_waits_for_the_servers_that_are_there(services: dict[str, Any], name: str) -> None:
    assert services["recollect"]["depends_on"][name] == {"condition": "service_healthy", "required": False}
    assert services[name]["healthcheck"]["test"][:3] == ["CMD", "bash", "-c"]
    assert "GET /readyz" in services[name]["healthcheck"]["test"][3]


def test_all_nodes_join_the_first(services: dict[str, Any]) -> None:
    for name in NODES:
        join = [] if name == NODES[0] else ["--bootstrap", f"http://{NODES[0]}:6335"]
        assert services[name]["command"] == ["./qdrant", "--uri", f"http://{name}:6335", *join]
        assert set(services[name].get("depends_on", {})) == ({NODES[0]} if join else set())


def test_nodes_are_started_as_the_tests_start_a_cluster(
    services: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: started.append((command, more["env"])))
    monkeypatch.setattr(server_process, "executable", lambda: "./qdrant")
    server_process.ProcessServer(tmp_path, cluster_port=6335).launch()
    server_process.ProcessServer(tmp_path, cluster_port=6335, bootstrap_port=6335).launch()

    for (command, environment), name in zip(started, NODES[:2], strict=True):
        assert without_hosts(command) == without_hosts(services[name]["command"])
        expected = {key: value for key, value in services[name]["environment"].items() if key in environment}
        assert {key: environment[key] for key in expected} == expected
        assert {"QDRANT__CLUSTER__ENABLED", "QDRANT__TELEMETRY_DISABLED"} <= set(expected)
    assert services["qdrant"]["image"] == server_process.IMAGE


def without_hosts(command: list[str]) -> list[str]:
    return [re.sub(r"//[^:]+:", "//:", word) for word in command]
