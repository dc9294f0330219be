"""Every key that crewq keeps in Redis, its type, and how long it lives: the one page that says so.

All keys begin with `{namespace}:`. The braces make one hash slot of an installation, so that a script may change any of
its keys in one atomic step, also on a Redis Cluster.

| key                      | type   | holds                                              | lives                          |
|--------------------------|--------|----------------------------------------------------|--------------------------------|
| spec:<digest>            | string | a crew, as JSON; shared by all its runs            | `unfinished`, renewed by use   |
| run:<id>                 | hash   | a run: state, crew, inputs, usage, times           | see below                      |
| run:<id>:task:<index>    | hash   | a task of it: state, attempt, owner, output, error | with its run                   |
| run:<id>:journal         | hash   | every model and tool call, by digest and ordinal   | with its run                   |
| run:<id>:events          | stream | what happened, one terminal event                  | with its run                   |
| run:<id>:blobs           | set    | the digests of its long texts                      | with its run                   |
| blob:<digest>            | hash   | a text over 32 kB, compressed, and how many runs have it | with the last of them    |
| run:<id>:reserved        | hash   | what its calls under way may cost, under a budget  | with its run                   |
| batch:<id>               | hash   | counters of a batch, its budget, what it has used  | renewed as its runs end        |
| batch:<id>:runs          | list   | its runs in the order of the inputs                | with its batch                 |
| batch:<id>:held          | list   | those not yet released to the workers              | with its batch                 |
| batch:<id>:ended         | stream | its runs as they end                               | with its batch                 |
| batch:<id>:reserved      | hash   | what calls under way of its runs may cost          | with its batch                 |
| line:<queue>, passes:<queue> | zset, hash | tenants whose batches wait, by who is next; who was | while any waits |
| turns:<tenant>:<queue>   | zset   | its batches there that wait, by whose turn it is   | likewise                       |
| lines                    | set    | the queues in which any wait                       | likewise                       |
| slots, weights           | string, hash | what all workers work on at once; tenants' weights | a minute; `unfinished` |
| costs:<day>:<tenant>     | hash   | calls, tokens and dollars by crew and model        | 400 days                       |
| costs                    | zset   | which of these there are                           | likewise                       |
| reserved:<day>:<tenant>  | hash   | what calls under way may cost, of a day's budget   | two days                       |
| memory:<tenant>:<crew>   | zset   | the tasks of a crew that completed last            | an entry goes with its run     |
| metrics                  | hash   | totals and histograms: runs, tasks, calls, money   | `unfinished`, renewed by use   |
| renewals                 | zset   | runs paused over a day's budget, by the next day   | an entry: while it is paused   |
| kickoff:<key>            | string | the run or batch that an idempotency key names     | with it; at most `unfinished`  |
| schedule:<name>          | hash   | a schedule: crew, inputs, times, its last run       | `unfinished` past its next one |
| schedules                | zset   | their names by when to look at them next           | as the longest of them         |
| ids                      | zset   | every id, sorted by its letters: prefixes are found | an entry goes with its run    |
| runs, batches            | zset   | ids by time of creation                            | likewise                       |
| runs:<state>             | zset   | those of the runs in one state                     | likewise                       |
| expires                  | zset   | ended runs by the time they are dropped            | likewise                       |
| ready:<lane>             | zset   | queued tasks by the time their message was sent    | an entry: until it is claimed  |
| lanes                    | set    | the lanes in use: <queue>/<priority>               | `unfinished`, renewed by use   |
| watermark                | hash   | per lane, how far the workers have come            | likewise                       |
| probe:<lane>, probed     | string, hash | a probe is on its way through that lane; how many | seconds; `unfinished`   |
| due                      | zset   | queued tasks that wait for a time                  | an entry: until then           |
| leases                   | zset   | running tasks by the time their lease ends         | an entry: while it runs        |
| limit:<scope>:calls, :tokens | zset, hash | the calls let go within the last minute, and their tokens | two minutes |
| limit:<scope>:slots      | zset   | the calls of a limited model that are under way    | an entry: its task's lease     |
| taken                    | zset   | scopes with slots taken, by when to look at them   | an entry: while there are any  |
| limit:<scope>:line, :awaited | zset | who waits for a turn, and until when he is waited for | an hour                   |
| limit:<scope>:parked, parked | set, hash | tasks set aside until a slot is free; of which scopes | an hour                |
| limit:<scope>:pause, slowed | string | until when a model is left alone; any of them       | until then                     |
| limit:<scope>:refused    | hash   | how often a provider refused a call                | an hour                        |
| unsaid                   | zset   | ended runs whose Celery result is not written yet  | an entry: seconds              |
| ended                    | stream | the ends and pauses of all runs; wakes who waits   | the last 100,000               |
| audit                    | stream | who did what by hand                               | the last 10,000; `unfinished`  |
| workers, workers:about   | zset, hash | workers by their last sign of life             | an entry: a minute             |
| swept, silence           | string | when sweepers last came by; nobody had got through for a while | `unfinished`; seconds |
| boot, healing            | string | which start of Redis this is; it has just come back | `unfinished`; seconds         |

A run that has not ended lives `unfinished` seconds (90 days) after it was accepted; after its end, as its retention says.
"""

from __future__ import annotations

UNFINISHED = 90 * 86_400  # seconds that a run may wait for a worker or a person before it is forgotten
EVENTS_KEPT = 10_000  # events of one run; tokens are the first to go
ACTIONS_KEPT = 10_000  # entries of what people did
COSTS_KEPT = 400 * 86_400  # seconds that the costs of a day are kept: so a year can be compared with the one before
REMEMBERED = 200  # tasks of a crew and a tenant that completed last, which its later runs look through
ENDS_KEPT = 100_000  # ends in the feed that wakes waiting handles; who falls behind reads the states instead


class Keys:
    """The names of the keys under one namespace."""

    def __init__(self, namespace: str) -> None:
        self.prefix = f"{{{namespace}}}:"

    def spec(self, digest: str) -> str:
        return f"{self.prefix}spec:{digest}"

    def run(self, run: str) -> str:
        return f"{self.prefix}run:{run}"

    def task(self, run: str, index: int) -> str:
        return f"{self.prefix}run:{run}:task:{index}"

    def journal(self, run: str) -> str:
        return f"{self.prefix}run:{run}:journal"

    def blob(self, digest: str) -> str:
        return f"{self.prefix}blob:{digest}"

    def events(self, run: str) -> str:
        return f"{self.prefix}run:{run}:events"

    def batch(self, batch: str) -> str:
        return f"{self.prefix}batch:{batch}"

    def batch_runs(self, batch: str) -> str:
        return f"{self.prefix}batch:{batch}:runs"

    def batch_held(self, batch: str) -> str:
        return f"{self.prefix}batch:{batch}:held"

    def batch_ended(self, batch: str) -> str:
        return f"{self.prefix}batch:{batch}:ended"

    def costs(self, day: int, tenant: str) -> str:
        """The costs of a day, which is counted from 1970 on."""
        return f"{self.prefix}costs:{day}:{tenant}"

    def memory(self, tenant: str, crew: str) -> str:
        return f"{self.prefix}memory:{tenant}:{crew}"

    def schedule(self, name: str) -> str:
        return f"{self.prefix}schedule:{name}"

    def named(self, name: str) -> str:
        """One of the keys of which there is only one."""
        return f"{self.prefix}{name}"


__all__ = ["ACTIONS_KEPT", "COSTS_KEPT", "ENDS_KEPT", "EVENTS_KEPT", "REMEMBERED", "UNFINISHED", "Keys"]
