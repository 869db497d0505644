"""What a ledger adds up to."""


def total_of(ledger):
    return sum(row[-1] for row in ledger.digest())
