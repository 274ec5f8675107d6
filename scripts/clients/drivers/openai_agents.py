"""openai-agents: Responses by default, chat completions if told."""

import asyncio

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

set_tracing_disabled(disabled=True)
client = AsyncOpenAI(base_url=BASE_URL, api_key="none")


@function_tool
def weather(city: str) -> str:
    """The weather in a city"""
    return f"Rain in {city}."


async def main() -> None:
    model = OpenAIChatCompletionsModel(model="librarian", openai_client=client)
    agent = Agent(name="Librarian", instructions="Be brief.", model=model)
    scene("chat")
    said = await Runner.run(agent, QUESTION)
    scene("follow-up")
    await Runner.run(agent, [*said.to_input_list(), {"role": "user", "content": FOLLOW_UP}])
    scene("stream")
    async for _ in Runner.run_streamed(agent, QUESTION).stream_events():
        pass
    scene("tools")
    await Runner.run(Agent(name="Librarian", model=model, tools=[weather]), WEATHER)
    scene("retry")
    await Runner.run(agent, QUESTION)
    scene("responses")
    model = OpenAIResponsesModel(model="librarian", openai_client=client)
    await Runner.run(Agent(name="Librarian", model=model, tools=[weather]), WEATHER)


asyncio.run(main())
