"""Seeds that found something, and what it was. They are run with every test run."""

from __future__ import annotations

SEEDS: dict[int, str] = {
    10: "a login service that is away answered in Graph's form, and the refusal could not be named",
    21: "a full read kept the old times of a series that was moved: the ids of its days still exist",
    17: "a subscription that vanished without a word was missed only when it was time to renew it, days later",
    311: "the same, where the full read came so soon after the lost change that it did not count as drift",
    144: "two reads of everything in one run, both of an empty calendar, took away what somebody had changed",
}
