"""TLS: the handshake, an asyncio transport that owns hardly any buffers, and the pump to a forwarder."""
