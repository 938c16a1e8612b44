"""Choosing a host for a VM. Pure: rooms in, choice or reasons out."""

from __future__ import annotations

from dataclasses import dataclass, field

from zctl.units import format_size

GLOBAL_RESERVED_MEMORY = 512 * 2**20


@dataclass(frozen=True)
class Room:
    """What a host has and what is given out; CPUs and memory already multiplied by the overcommit ratios."""

    host: str
    name: str
    cpus: float
    cpus_used: int
    memory: int
    memory_used: int
    disk: int | None = None
    disk_used: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Demand:
    """What a VM needs: CPUs, bytes of memory, bytes of virtual disk on the storage that the rooms were taken for."""

    cpus: int
    memory: int
    disk: int = 0


@dataclass(frozen=True)
class Choice:
    """The chosen host's id, or None with one sentence for each host that could not take the VM."""

    host: str | None
    reasons: list[str] = field(default_factory=list)


def reserved_memory(*settings: int | None) -> int:
    """The first setting that is given, from the most to the least specific: host, cluster, zone."""
    return next((value for value in settings if value is not None), GLOBAL_RESERVED_MEMORY)


def shortages(room: Room, demand: Demand) -> list[str]:
    """What the host lacks for the demand; empty when it fits."""
    lacks = list(room.problems)
    if demand.cpus > room.cpus - room.cpus_used:
        lacks.append(
            f"needs {demand.cpus} CPUs, {max(0, int(room.cpus - room.cpus_used))} of {int(room.cpus)} are free"
        )
    if demand.memory > room.memory - room.memory_used:
        free = max(0, room.memory - room.memory_used)
        lacks.append(
            f"needs {format_size(demand.memory)} memory,"
            f" {format_size(free) or 0} of {format_size(room.memory)} are free"
        )
    if demand.disk:
        if room.disk is None:
            lacks.append("the storage's size on it is not known yet (zctl converge)")
        elif demand.disk > room.disk - room.disk_used:
            free = max(0, room.disk - room.disk_used)
            lacks.append(
                f"needs {format_size(demand.disk)} disk, {format_size(free)} of {format_size(room.disk)} are free"
            )
    return lacks


def place(rooms: list[Room], demand: Demand) -> Choice:
    """The host that keeps the largest share of its memory free; ties by share of CPUs, then by name."""
    fitting = []
    reasons = []
    for room in rooms:
        lacks = shortages(room, demand)
        if lacks:
            reasons.append(f"{room.name}: {'; '.join(lacks)}")
        else:
            fitting.append(room)
    if not fitting:
        return Choice(None, reasons)

    def rank(room: Room) -> tuple[float, float, str]:
        memory = (room.memory_used + demand.memory) / room.memory
        return (memory, (room.cpus_used + demand.cpus) / room.cpus, room.name)

    return Choice(min(fitting, key=rank).host, reasons)
