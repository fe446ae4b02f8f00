"""byway: let chosen programs, services and destinations go around a VPN, the systemd way."""
