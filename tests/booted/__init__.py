"""Tests in a real machine: QEMU, systemd as PID 1, an internet of network namespaces."""
