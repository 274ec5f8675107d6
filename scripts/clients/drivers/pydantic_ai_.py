"""pydantic-ai."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

model = OpenAIChatModel("librarian", provider=OpenAIProvider(base_url=BASE_URL, api_key="none"))


def weather(city: str) -> str:
    """The weather in a city"""
    return f"Rain in {city}."


async def main() -> None:
    agent = Agent(model, instructions="Be brief.")
    scene("chat")
    said = await agent.run(QUESTION)
    scene("follow-up")
    await agent.run(FOLLOW_UP, message_history=said.all_messages())
    scene("stream")
    async with agent.run_stream(QUESTION) as stream:
        await stream.get_output()
    scene("tools")
    await Agent(model, tools=[weather]).run(WEATHER)
    scene("retry")
    await agent.run(QUESTION)


asyncio.run(main())
