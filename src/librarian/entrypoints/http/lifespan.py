"""Opening the house, and closing what was opened, last made first."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

Step = Callable[[], Awaitable[None]]


def make_lifespan(
    opening: Sequence[Step], closing: Sequence[Step]
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """`closing` is in the order of making. All of it is run, even if opening or one of the others fails."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for close in closing:
                stack.push_async_callback(close)
            for begin in opening:
                await begin()
            yield

    return lifespan
