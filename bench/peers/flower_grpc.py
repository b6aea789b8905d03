"""Flower's long-lived mode: a server and clients that keep one gRPC stream each, deprecated and its
fastest. `flower_rounds.py` starts this file once as each of them.

    flower_grpc.py server PORT CASE ROUNDS REPORT
    flower_grpc.py client PORT CASE NUMBER
"""

import pathlib
import subprocess
import sys

import processes

# What gRPC can carry at most.
MESSAGE_MAX = 2**31 - 1


def measure(case_name, clients, rounds, report, log, deadline):
    """Runs `rounds` with a server and `clients` of their own; the server's peak memory in bytes."""
    port = processes.free_ports(1)[0]

    def start(*given):
        return subprocess.Popen([sys.executable, __file__, *map(str, given)], stdout=log, stderr=log)

    server = start("server", port, case_name, rounds, report)
    memory = processes.MemoryWatch(server.pid)
    processes.until("Flower's server", deadline, lambda: processes.listens(port), [server])
    for number in range(clients):
        start("client", port, case_name, number)
    processes.until("the rounds", deadline, report.exists, [server])
    return memory.end()


def serve(port, case_name, rounds, report):
    import cases
    import stopwatch
    from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
    from flwr.server import ServerConfig, start_server
    from flwr.server.strategy import FedAvg

    case = cases.CASES[case_name]

    class TimedFedAvg(FedAvg):
        """Notes when each round starts, and keeps the last one's model."""

        watch = stopwatch.Stopwatch(case.clients)
        model = None

        def configure_fit(self, server_round, parameters, client_manager):
            self.watch.note()
            return super().configure_fit(server_round, parameters, client_manager)

        def aggregate_fit(self, server_round, results, failures):
            self.watch.count(len(results))
            self.model, metrics = super().aggregate_fit(server_round, results, failures)
            if server_round == int(rounds):
                self.watch.note()
            return self.model, metrics

    strategy = TimedFedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=case.clients,
        min_available_clients=case.clients,
        initial_parameters=ndarrays_to_parameters(case.initial()),
        on_fit_config_fn=lambda number: {"round": number},
    )
    start_server(
        server_address=f"127.0.0.1:{port}",
        config=ServerConfig(num_rounds=int(rounds)),
        strategy=strategy,
        grpc_max_message_length=MESSAGE_MAX,
    )
    strategy.watch.write(pathlib.Path(report), case.accuracy(parameters_to_ndarrays(strategy.model)))


def attend(port, case_name, number):
    import cases
    from flwr.client import NumPyClient, start_client

    case = cases.CASES[case_name]

    class Client(NumPyClient):
        def fit(self, parameters, config):
            return *case.train(parameters, int(number), config["round"]), {}

    start_client(
        server_address=f"127.0.0.1:{port}",
        client=Client().to_client(),
        grpc_max_message_length=MESSAGE_MAX,
        insecure=True,
    )


if __name__ == "__main__":
    {"server": serve, "client": attend}[sys.argv[1]](*sys.argv[2:])
