"""The yardstick: FastAPI and httpx handing requests on, and doing nothing else."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # httpx looks at every idle connection for each request: no workload is to pay for those of the one before
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000, keepalive_expiry=0.5)
    async with httpx.AsyncClient(base_url=os.environ["UPSTREAM"], timeout=60, limits=limits) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    client: httpx.AsyncClient = request.app.state.client
    body = await request.json()
    if not body.get("stream"):
        reply = await client.post("/chat/completions", json=body)
        return JSONResponse(reply.json(), status_code=reply.status_code)
    upstream = await client.send(client.build_request("POST", "/chat/completions", json=body), stream=True)

    async def relay() -> AsyncIterator[bytes]:
        try:
            async for read in upstream.aiter_raw():
                yield read
        finally:
            await upstream.aclose()

    return StreamingResponse(relay(), status_code=upstream.status_code, media_type="text/event-stream")
