"""The promises, what one trial of each is, and how many trials the gate asks for."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    name: str
    text: str
    trial: str
    gate: int            # trials, at least
    confirmed: int = 0   # messages confirmed, at least
    option: str = ''     # of deploy/test.sh, when the suite itself does not try it


PROMISES = [
    Promise('R1', 'a confirmed publish survives SIGKILL', 'kills', 100, 100_000),
    Promise('R2', 'a confirmed publish survives a power cut', 'crash points', 1_000),
    Promise('R3', 'a settle that was answered is final', 'settles', 100_000),
    Promise('R4', 'one stored copy per idempotency key, over crashes and resends', 'keys', 20_000),
    Promise('R5', 'a lease is exclusive; a stale settle never wins', 'runs', 2),
    Promise('R6', 'redelivered in time; parked or dead-lettered exactly at the limit', 'histories',
            5_000),
    Promise('R7', 'the rules equal the model, and take the same way twice', 'histories', 5_000),
    Promise('R8', 'refused means not stored; unknown is reported as unknown', 'publishes', 100_000),
    Promise('R9', 'bounds hold; a slow consumer cannot grow memory', 'stuck readers', 200),
    Promise('R10', 'a full disk is refused, not fatal, and recovers by itself', 'rounds', 20),
    Promise('R11', 'an I/O error stops the store, and nothing confirmed is lost', 'failed calls',
            100),
    Promise('R12', 'corruption is detected, never served', 'cases', 300),
    Promise('R13', 'serving again within 5 s with a million messages', 'restarts', 1),
    Promise('R14', 'a crash during recovery is safe', 'kills', 30),
    Promise('R15', 'SIGTERM with 1,000 open streams: exit 0 within 10 s', 'rounds', 10),
    Promise('R16', 'bad networks lose nothing, and clients come back', 'profiles', 8),
    Promise('R17', 'a clock that jumps harms nothing', 'jumps', 4),
    Promise('R18', 'no undefined behaviour, no races', 'sanitized tests', 500,
            option='--sanitize'),
    Promise('R19', 'hostile input cannot end it', 'inputs', 10_000),
    Promise('R20', 'HTTP/2 attacks: bounded damage', 'attacks', 8),
    Promise('R23', 'the gate catches planted bugs', 'mutants', 16, option='--mutants'),
]
