"""uvicorn with h11, which Streamlit is served by."""

# mypy: ignore-errors
# It runs with another environment's packages, beside the module `report`.

import sys

import uvicorn

from report import report


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        part = await receive()
        body += part.get("body", b"")
        more = part.get("more_body", False)
    query = scope["query_string"].decode()
    target = scope["raw_path"].decode() + (f"?{query}" if query else "")
    said = report(scope["method"], target, body)
    fields = [(b"content-length", b"%d" % len(said))]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else said})


uvicorn.run(app, port=int(sys.argv[1]), http="h11", lifespan="off", log_level="critical")
