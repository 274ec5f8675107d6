"""autogen-ext[openai], through an agent of autogen-agentchat."""

import asyncio

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

INFO = {"vision": False, "function_calling": True, "json_output": True, "family": "unknown", "structured_output": True}


async def weather(city: str) -> str:
    """The weather in a city"""
    return f"Rain in {city}."


async def main() -> None:
    model = OpenAIChatCompletionClient(model="librarian", base_url=BASE_URL, api_key="none", model_info=INFO)
    agent = AssistantAgent("librarian", model_client=model)
    scene("chat")
    await agent.run(task=QUESTION)
    scene("follow-up")
    await agent.run(task=FOLLOW_UP)
    scene("stream")
    streaming = AssistantAgent("librarian", model_client=model, model_client_stream=True)
    async for _ in streaming.run_stream(task=QUESTION):
        pass
    scene("tools")
    await AssistantAgent("librarian", model_client=model, tools=[weather], reflect_on_tool_use=True).run(task=WEATHER)
    scene("retry")
    await AssistantAgent("librarian", model_client=model).run(task=QUESTION)


asyncio.run(main())
