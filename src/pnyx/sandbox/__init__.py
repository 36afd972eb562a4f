"""Confinement of a child process, for good: no files, no network, no new process, bounded means.

A child that computes on an owner's data, under instructions that came from elsewhere, first loads
all it needs and then calls `confine`. From there on it can compute, allocate a bounded amount of
memory, and talk over one channel. Nothing gives back what it gave up.

    kernel      the Linux calls that Python lacks, and their numbers on two architectures
    filters     a profile compiled to a program that the kernel runs before every system call
    profiles    which system calls training needs, and which a query engine
    landlock    the kernel's denial of files, network and signals, independent of that program
    limits      memory, processor time and the rest
    confinement the order in which a child lets go, and the record of what took effect

Linux on x86_64 and aarch64 gives all of it; elsewhere the record says what is missing.
"""

from pnyx.sandbox.confinement import Confinement, close_descriptors, confine
from pnyx.sandbox.filters import Profile
from pnyx.sandbox.profiles import query_profile, training_profile

__all__ = [
    "Confinement",
    "Profile",
    "close_descriptors",
    "confine",
    "query_profile",
    "training_profile",
]
