"""A bare ASGI application that returns a constant: the highest rate of uvicorn itself."""

from typing import Any

BODY = b'{"prediction":"churns","probability":0.8765432109876543}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Return a constant."""
    if scope["type"] == "http":
        await send(START)
        await send({"type": "http.response.body", "body": BODY})
