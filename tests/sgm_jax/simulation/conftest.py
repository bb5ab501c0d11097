import pytest

from sgm_jax.simulation.argon_data import find_or_write_data, write_argon_data
from sgm_jax.simulation.config import default_simulation_config


@pytest.fixture(scope="session")
def argon_folder(tmp_path_factory):
    pytest.importorskip("xraydb")
    folder = tmp_path_factory.mktemp("argon")
    write_argon_data(folder)
    return folder


@pytest.fixture(scope="session")
def geant4_data(argon_folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEANT4_DATA_DIR", str(argon_folder))
        yield find_or_write_data()


@pytest.fixture(scope="module")
def data_folder(geant4_data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEANT4_DATA_DIR", str(geant4_data.folder))
        yield


@pytest.fixture
def config():
    return default_simulation_config()
