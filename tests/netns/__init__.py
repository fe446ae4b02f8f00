"""Tests in private network namespaces: real nftables, routes, rules and packets. They need root."""
