"""The embedded upstream and the page of the demo command."""
