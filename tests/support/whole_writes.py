"""Writes as a disk sees them: whole sectors, of which only a few words may be others than before.

Imports the plan only for its steps: what they say is told by reading their words over some bytes.
"""

from dataclasses import replace

from qcow2_dump.plan.model import Plan, Resize, Step, Write

__all__ = ["carried_out", "in_full"]


def in_full(plan: Plan, content: bytes | bytearray) -> Plan:
    """The same plan for some content, with all bytes of each write; in the same spool."""
    held, steps = bytearray(content), list[Step]()
    for step in plan.steps:
        if isinstance(step, Write):
            held.extend(bytes(max(0, step.end - len(held))))
            there = bytes(held[step.offset : step.end])
            old, new = bytes(step.old.over(there)), bytes(step.new.over(there))
            steps.append(replace(step, old=plan.spool.put(old), new=plan.spool.put(new)))
            held[step.offset : step.end] = new
        else:
            steps.append(step)
            if isinstance(step, Resize):
                del held[step.new :]
                held.extend(bytes(step.new - len(held)))
    return Plan(plan.title, plan.size, steps, plan.spool)


def carried_out(plan: Plan, content: bytes | bytearray) -> bytes:
    """What a plan makes of some content, each step held to what it expects."""
    held = bytearray(content)
    for step in plan.steps:
        if isinstance(step, Resize):
            assert len(held) == step.old
            held = held[: step.new].ljust(step.new, b"\0")
        elif isinstance(step, Write):
            there = bytes(held[step.offset : step.end])
            assert len(there) == step.length == step.old.length
            assert step.old.over(there) == there
            assert step.old.checksum is None or step.old.is_held(there)
            new = bytes(step.new.over(there))
            assert step.new.checksum is None or step.new.is_held(new)
            held[step.offset : step.end] = new
    return bytes(held)
