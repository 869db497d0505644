"""The long form: rounds of every fault, and a table of what came of them. Exits 1 for any flaw."""

import argparse
import itertools
import logging
import sys
import tempfile
from pathlib import Path

from tests.faults.crew import USUAL
from tests.faults.rounds import Spec, run_round
from tests.kafka_server import KafkaServer
from tests.store_server import StoreServer

PAIRS = (*USUAL, "router-2", "notifier-2")
SPECS = (
    Spec("nothing", {}),
    Spec(
        "kill -9 of any part",
        {"worker": 10, "rollups": 6, "router": 10, "sending": 14, "api": 2},
        100, 60,
    ),
    Spec("paused past the session", {"paused": 2}, seconds=40),
    Spec("others join and are killed", {"joined": 4}, seconds=40),
    Spec(
        "clocks put forward and back", {"clock": 12, "sending": 2}, seconds=40,
        processes=PAIRS,
    ),
    Spec("broker killed", {"broker": 2}, seconds=40),
    Spec("store killed", {"store": 5}),
    Spec("store lost, and emptied", {"wiped": 2, "emptied": 2}, seconds=40, may_exit=True),
    Spec("store full", {"full": 3}, seconds=30),
    Spec("disk of the store full", {"store_disk": 3}, seconds=30),
    Spec("power of the store cut", {"torn": 5}, seconds=40),
    Spec("disk full for checkpoints", {"disk_full": 1}, seconds=20),
    Spec("Slack fails in every way", {"slack": 30}, seconds=30),
    Spec("mail busy, drops after DATA", {"notifier": 3}, seconds=30, by_mail=True),
    Spec(
        "lines cut, silent and lossy",
        {"cut_kafka": 4, "cut_store": 4, "cut_slack": 4, "lossy": 4},
        100, 60, processes=PAIRS, may_exit=True, wired=True,
    ),
    Spec(
        "all of it",
        {
            "worker": 8, "rollups": 4, "router": 8, "sending": 12, "api": 2, "slack": 20,
            "wiped": 1, "store": 2, "broker": 1, "paused": 1, "joined": 1, "full": 1,
        },
        100, 90, may_exit=True,
    ),
)  # fmt: skip
# Many kills of one crew while much comes about.
LONG = Spec(
    "killed again and again",
    {"worker": 28, "rollups": 16, "router": 22, "sending": 30, "api": 4},
    3000, processes=PAIRS, ahead=300,
)  # fmt: skip
HEAD = (
    f"{'faults':28} {'seed':>4} {'kills':>5} {'exits':>5} {'told':>5} {'lost':>4} {'twice':>5} "
    f"{'late':>4} {'p50 s':>6} {'p95 s':>6} {'max s':>6} state"
)


def row(outcome):
    seconds, told = outcome.told.seconds, outcome.told
    at = (
        [seconds[int(part * (len(seconds) - 1))] for part in (0.5, 0.95, 1)] if seconds else [0] * 3
    )
    same = outcome.as_found and outcome.as_kept
    return (
        f"{outcome.spec.name:28} {outcome.seed:4} {outcome.kills:5} {len(outcome.ended):5} "
        f"{len(seconds):5} {len(told.lost):4} {len(told.doubled):5} "
        f"{len(outcome.flaws.get('late', [])):4} {at[0]:6.1f} {at[1]:6.1f} {at[2]:6.1f} "
        f"{'as without faults' if same else 'DIFFERENT'}"
    )


def asked_for(asked):
    """Yield rounds: of every fault once, then long ones without end."""
    for spec in SPECS:
        if asked.only in spec.name:
            yield spec, asked.seed
    for seed in itertools.count(asked.seed):
        yield LONG, seed


def run(asked, folder):
    """Run rounds until each fault was there and so many were killed; return whether all is well."""
    kills = told = flawed = 0
    kafka = KafkaServer(folder / "kafka").start()
    store = StoreServer(folder / "store").start()
    print(HEAD, flush=True)
    try:
        for number, (spec, seed) in enumerate(asked_for(asked)):
            if spec is LONG and kills >= asked.kills:
                break
            outcome = run_round(spec, seed, kafka, store, folder / str(number), waits=True)
            kills, told = kills + outcome.kills, told + len(outcome.told.seconds)
            print(row(outcome), flush=True)
            if outcome.flaws:
                print(f"  {outcome.flaws}", flush=True)
                flawed += 1
    finally:
        store.kill()
        kafka.stop()
    print(f"{kills} kills, {told} incidents told, {flawed} rounds with flaws")
    return not flawed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=0, help="go on until so many")
    parser.add_argument("--seed", type=int, default=1, help="of the first rounds")
    parser.add_argument("--only", default="", help="faults in whose name this is")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="spendwatch-faults-") as folder:
        sys.exit(not run(asked, Path(folder)))


if __name__ == "__main__":
    main()
