"""Commands that ask a running proxy: `bascule status`, `sessions`, `close`, `drain`."""
