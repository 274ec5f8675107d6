"""The official library, in both its lines."""

import asyncio

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAI
from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

client = OpenAI(base_url=BASE_URL, api_key="none")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def ask(messages: list, **more: object) -> object:
    return client.chat.completions.create(model="librarian", messages=messages, **more)


scene("chat")
messages = [{"role": "user", "content": QUESTION}]
said = ask(messages).choices[0].message
scene("follow-up")
ask([*messages, said, {"role": "user", "content": FOLLOW_UP}])
scene("stream")
list(ask(messages, stream=True, stream_options={"include_usage": True}))
scene("tools")
messages = [{"role": "user", "content": WEATHER}]
said = ask(messages, tools=[TOOL]).choices[0].message
ask([*messages, said, {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "Rain."}], tools=[TOOL])
scene("retry")
ask([{"role": "user", "content": QUESTION}])
scene("named")
ask(
    [{"role": "user", "content": QUESTION}],
    user="ada",
    safety_identifier="ada-lovelace",
    prompt_cache_key="chat-1",
    metadata={"session_id": "session-1"},
    extra_headers={"Idempotency-Key": "key-1"},
)
scene("responses")
client.responses.create(model="librarian", input=QUESTION)


async def at_home() -> None:
    """As Home Assistant does: with a client for HTTP that has a User-Agent of its own."""
    http = DefaultAsyncHttpxClient(headers={"User-Agent": "HomeAssistant/2026.11.0 httpx/0.28.1 Python/3.14"})
    told = {"role": "system", "content": "You are a voice assistant for Home Assistant."}
    asked = {"role": "user", "content": QUESTION}
    await AsyncOpenAI(base_url=BASE_URL, api_key="none", http_client=http).chat.completions.create(
        model="librarian", user="01ARZ3NDEKTSV4RRFFQ69G5FAV", messages=[told, asked]
    )


scene("at-home")
asyncio.run(at_home())
