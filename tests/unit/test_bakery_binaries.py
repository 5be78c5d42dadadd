import struct

import pytest

from fleetwide.bakery.binaries import check_program, is_program
from fleetwide.errors import ArtifactRejected, WrongArchitecture


def elf(machine: int, *, bits: int = 2, order: int = 1, kind: int = 3) -> bytes:
    head = b"\x7fELF" + bytes([bits, order, 1]) + bytes(9)
    return head + struct.pack(f"{'<' if order == 1 else '>'}HH", kind, machine)


@pytest.mark.parametrize("head", [elf(62), elf(62, kind=2), b"#!/bin/sh\n", b"#! /usr/bin/env x\n"])
def test_programs_for_the_base_pass(head: bytes) -> None:
    check_program(head, "run", "amd64")


@pytest.mark.parametrize(
    ("head", "built_for"),
    [
        (elf(183), "arm64"),
        (elf(3, bits=1), "i386"),
        (elf(22, order=2), "s390x"),
        (elf(62, bits=1), "another ABI of amd64"),
        (elf(9999), "machine 9999"),
    ],
)
def test_a_program_for_other_machines_is_refused(head: bytes, built_for: str) -> None:
    with pytest.raises(WrongArchitecture, match=f"^run is built for {built_for}, .* amd64"):
        check_program(head, "run", "amd64")


@pytest.mark.parametrize(
    "head", [b"", b"hello", b"#!", b"#!sh\n", b"\x7fELF", elf(62)[:19], elf(62, kind=1)]
)
def test_what_no_kernel_starts_is_refused(head: bytes) -> None:
    with pytest.raises(ArtifactRejected, match=r"^run"):
        check_program(head, "run", "amd64")


def test_a_program_is_known_by_its_start() -> None:
    assert is_program(elf(183))
    assert not is_program(b"PK\x03\x04")
