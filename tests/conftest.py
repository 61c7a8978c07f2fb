"""Fixtures and options of every test here; README.md says how to run them."""

import os
import re
import shutil

import pytest
from xdist.scheduler import LoadScopeScheduling

from harness.broker import KINDS, Broker, Corelane
from harness.drivers import CLIENTS, OLD_CLIENTS, Client
from harness.paths import WORK
from harness.toolbox import Toolbox

CORELANE_KINDS = [kind for kind in KINDS if kind.startswith("corelane")]


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="every cycle and combination, not only the default ones")
    parser.addoption("--reference", action="store_true", help="run against Apache Kafka as well")
    parser.addoption("--broker", action="append", choices=KINDS, help="run against these brokers only")


def pytest_configure(config):
    if not config.option.basetemp:
        (WORK / "tmp").mkdir(parents=True, exist_ok=True)
        config.option.basetemp = str(WORK / "tmp" / str(os.getpid()))


def pytest_sessionfinish(session, exitstatus):
    # Data of a failed run stays for inspection; that of earlier runs with the same process id is overwritten.
    if exitstatus == 0:
        shutil.rmtree(session.config.option.basetemp, ignore_errors=True)


def broker_kinds(config) -> list[str]:
    if config.option.broker:
        return config.option.broker
    return CORELANE_KINDS + (["kafka"] if config.option.reference else [])


def pytest_generate_tests(metafunc):
    if "broker_kind" in metafunc.fixturenames:
        kinds = broker_kinds(metafunc.config)
        # Tests of what Kafka 4 dropped name an older release as their reference.
        reference = getattr(metafunc.module, "REFERENCE", "kafka")
        kinds = [reference if kind == "kafka" else kind for kind in kinds]
        # Whole stories of clients are told on core-direct listeners as well.
        if getattr(metafunc.module, "CORE_DIRECT", False) and metafunc.config.option.full:
            kinds = [*kinds, "direct-2"]
        metafunc.parametrize("broker_kind", kinds, scope="session")
    if "client" in metafunc.fixturenames:
        metafunc.parametrize("client", CLIENTS, indirect=True, scope="session")
    if "admin" in metafunc.fixturenames:
        admins = [name for name, kind in CLIENTS.items() if hasattr(kind, "create_topic")]
        metafunc.parametrize("admin", admins, indirect=True, scope="session")


class ByBroker(LoadScopeScheduling):
    """With several workers, the tests of a file on one kind of broker go to the same one: they share the broker."""

    def _split_scope(self, nodeid: str) -> str:
        file, _, test = nodeid.partition("::")
        kind = re.search(rf"\[({'|'.join(sorted(KINDS, reverse=True))})", test)
        # What Kafka prints is played once for all.
        return file if kind is None or file.endswith("test_kafka_tools_diff.py") else f"{file} {kind[1]}"


def pytest_xdist_make_scheduler(config, log):
    return ByBroker(config, log)


@pytest.fixture(scope="session")
def full(request) -> bool:
    return request.config.option.full


class Brokers:
    """Starts brokers for one module or test and ends them with it."""

    def __init__(self, base):
        self.base = base
        self.started: list[Broker] = []
        self.shared: dict[str, Broker] = {}

    def share(self, kind: str, **settings) -> Broker:
        """The one broker of a kind that a module's tests share, in whatever order pytest asks for its kinds."""
        if kind not in self.shared:
            self.shared[kind] = self.create(kind, **settings).start()
        return self.shared[kind]

    def create(self, kind: str, **settings) -> Broker:
        """A broker on a new folder, not yet started."""
        broker = KINDS[kind](self.base / f"broker-{len(self.started)}" / "data", settings)
        if isinstance(broker, Corelane):
            assert broker.binary.exists(), f"{broker.binary} is missing: cargo build --release -p corelane-tools"
        self.started.append(broker)
        return broker

    def end(self) -> None:
        problems = []
        for broker in self.started:
            try:
                broker.end()
            except AssertionError as problem:
                problems.append(str(problem))
        assert not problems, "\n".join(problems)


def pytest_runtest_logreport(report):
    """What failed is said at once, as well as at the end: a whole run takes an hour."""
    if report.failed:
        print(f"\n{report.nodeid} failed:\n{report.longreprtext[-4_000:]}", flush=True)


@pytest.fixture(scope="module")
def module_brokers(tmp_path_factory, request):
    brokers = Brokers(tmp_path_factory.mktemp(request.module.__name__))
    yield brokers
    brokers.end()


@pytest.fixture
def brokers(tmp_path):
    """For tests that start, stop and kill brokers themselves."""
    brokers = Brokers(tmp_path)
    yield brokers
    brokers.end()


@pytest.fixture(scope="module")
def broker_of_module(module_brokers, broker_kind):
    return module_brokers.share(broker_kind)


@pytest.fixture
def broker(broker_of_module):
    """A running broker, shared by the tests of a module; a test that ends it fails, and the next finds it running."""
    if not broker_of_module.is_alive():
        broker_of_module.process = None
        broker_of_module.start()
    yield broker_of_module
    assert broker_of_module.is_alive(), f"the broker died:\n{broker_of_module.output_tail()}"


class Clients:
    """Each client program is started once, when the first test asks for it, and again after one that it did not survive."""

    def __init__(self):
        self.running: dict[str, Client] = {}

    def __getitem__(self, name: str) -> Client:
        if name not in self.running or not self.running[name].is_alive():
            self.running[name] = (CLIENTS | OLD_CLIENTS)[name]()
        return self.running[name]


@pytest.fixture(scope="session")
def clients():
    clients = Clients()
    yield clients
    for client in clients.running.values():
        client.close()


@pytest.fixture(scope="session")
def toolbox():
    """Kafka's tools in one Java VM."""
    toolbox = Toolbox()
    yield toolbox
    toolbox.close()


@pytest.fixture(scope="session")
def client(clients, request) -> Client:
    return clients[request.param]


@pytest.fixture(scope="session")
def admin(clients, request) -> Client:
    return clients[request.param]


@pytest.fixture
def topic(request) -> str:
    """A topic name of this test's own."""
    safe = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"{safe[:200]}-{os.urandom(4).hex()}"
