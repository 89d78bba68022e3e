"""The Autobahn cases, directly and through Bascule."""
