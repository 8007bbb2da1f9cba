"""Two interpreters with a GIL each take pieces of work from one channel and answer on another, each at its own pace.

The function that they run stands in this very file, and is imported there: so nothing at the top level of the file may start the program.

Needs: python>=3.12

Prints::

    40 pieces, done by 2 interpreters
    longest Collatz chain below 40000: 35655, 324 numbers
"""

from selvedge.interpreters import Channel, InterpreterCache, interpreter_id

PIECE = 1000


def chain_length(start: int) -> int:
    length = 1
    while start != 1:
        start = start // 2 if start % 2 == 0 else 3 * start + 1
        length += 1
    return length


def serve(pieces: Channel, answers: Channel) -> int:
    """Runs in an interpreter of its own, until there are no more pieces."""
    answers.send(interpreter_id())
    for first in pieces:
        best = max(range(first, first + PIECE), key=chain_length)
        answers.send((chain_length(best), best))
    return interpreter_id()


def main() -> None:
    pieces, answers = Channel(), Channel()
    with InterpreterCache(name="collatz", max_workers=2) as cache:
        jobs = [cache.submit(serve, pieces, answers) for _ in range(2)]
        present = {answers.recv(), answers.recv()}  # both are there before there is work
        firsts = range(1, 40_000, PIECE)
        for first in firsts:
            pieces.send(first)
        pieces.close()  # what is in it is still received
        found = [answers.recv() for _ in firsts]
        served = {job.result() for job in jobs}
    print(len(found), "pieces, done by", len(present & served), "interpreters")
    length, start = max(found)
    print(f"longest Collatz chain below 40000: {start}, {length} numbers")


if __name__ == "__main__":
    main()
