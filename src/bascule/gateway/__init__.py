"""The gateway: admits sessions, proxies plain HTTP, and pumps what has TLS."""
