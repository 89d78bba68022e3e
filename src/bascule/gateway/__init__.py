"""The gateway: all I/O before a session is relayed."""
