"""What Flower's server and clients do where it starts them, deployed or simulated.

The surroundings say the case, the rounds, and where the server leaves what it saw.
"""

import os
import pathlib

import cases
import stopwatch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

CASE, ROUNDS, REPORT = "PEERS_CASE", "PEERS_ROUNDS", "PEERS_REPORT"

server_app = ServerApp()
client_app = ClientApp()


class TimedFedAvg(FedAvg):
    """Notes when each round starts, and when the last one's model stands."""

    def __init__(self, clients):
        super().__init__(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
        self.watch = stopwatch.Stopwatch(clients)

    def configure_train(self, server_round, arrays, config, grid):
        self.watch.note()
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        self.watch.count(sum(not reply.has_error() for reply in replies))
        return super().aggregate_train(server_round, replies)


@server_app.main()
def serve(grid, _context):
    case, rounds = cases.CASES[os.environ[CASE]], int(os.environ[ROUNDS])
    report = pathlib.Path(os.environ[REPORT])
    strategy = TimedFedAvg(case.clients)
    try:
        result = strategy.start(grid=grid, initial_arrays=ArrayRecord(case.initial()), num_rounds=rounds)
    except Exception as error:
        # Flower's own processes go on, so nothing else would tell.
        stopwatch.leave(report, {"error": str(error)})
        raise
    strategy.watch.note()
    strategy.watch.write(report, case.accuracy(result.arrays.to_numpy_ndarrays()))


@client_app.train()
def train(message, context):
    case = cases.CASES[os.environ[CASE]]
    arrays, examples = case.train(
        message.content["arrays"].to_numpy_ndarrays(),
        int(context.node_config["partition-id"]),
        int(message.content["config"]["server-round"]),
    )
    content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": examples})})
    return Message(content=content, reply_to=message)
